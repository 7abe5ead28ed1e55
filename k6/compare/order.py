"""The part of the report about the order of arrival."""

from .blocks import Heading, Paragraph, Table
from .fairness import TOLERANCE_MS
from .words import measured

COLUMNS = {
    "refused_users": "",
    "inverted_users": "",
    "inversion_median_ms": "ms",
    "inversion_max_ms": "ms",
    "displaced_coupons": "",
}
METHOD = (
    "A user arrives when the client begins its first request. Two arrivals less than "
    f"{TOLERANCE_MS} ms apart count as simultaneous, because network and threads may exchange them. A user is inverted "
    "if it got no coupon although one who arrived later got one; the time says how much later the last such user came. "
    "A coupon is displaced if its user arrived after all those whom a single queue in the order of arrival would have "
    "served. Such a queue has 0 of both, so 0 is the best achievable."
)


def blocks(found, scenarios):
    """Fairness by picker and number of shards, for the scenarios in which somebody got nothing."""
    rows = [
        (cell.scenario, str(scenarios[cell.scenario]["shards"]), f"`{cell.candidate}`", *_values(cell))
        for cell in found
        if cell.median("refused_users")
    ]
    if not rows:
        return []
    header = (
        "scenario",
        "shards",
        "candidate",
        "users without a coupon",
        "inverted users",
        "by, median",
        "by, max",
        "displaced coupons",
    )
    best = ("best achievable", "", "a single queue", "", "0", "–", "–", "0")
    return [Heading(2, "First come, first served?"), Paragraph(METHOD), Table(header, (best, *rows))]


def _values(cell):
    for name, unit in COLUMNS.items():
        found = cell.spreads[name]
        yield measured(found, unit) if found else "–"
