"""The report, as blocks: the answer in words first, then what it rests on."""

from . import answer, figures, order, predictions, versus
from .blocks import Bullets, Heading, Lines, Paragraph, Ranges, Table
from .results import cells
from .spread import spread
from .words import amount, measured

GROUP_TITLES = {
    "pickers": "Shard pickers",
    "shapers": "Rate shapers",
    "limits": "User limits",
    "changes": "Changes during the run",
}
HOW_TO_READ = (
    "A cell is the median of the repetitions, with the lowest and the highest in parentheses.",
    "**difference** names the best candidates of a row, and by how much the worst is behind. `none` means that no "
    "candidate is behind the best by a difference that counts.",
    "The **response** is the 202 or the refusal. The **outcome** is what a client learns that waits at the "
    "`statusUrl`, as a sample does. A percentile is only given if there are enough requests for it.",
    "A bar of a chart reaches from the lowest to the highest repetition; the line across it is the median.",
    "The load generator, the gateways and the servers share one machine: compare columns, not machines.",
    "CPU time and memory are those of the gateways and servers, without the load generator.",
    "`dashboards/` has the dashboard of k6 for every run.",
)


def build(document, old=None):
    """All blocks of the report, and of the comparison with an older document if there is one."""
    found = cells(document)
    return [
        Heading(1, "Policies compared"),
        Heading(2, "The answer"),
        Bullets(tuple(answer_lines(found))),
        Paragraph(answer.confidence(found)),
        *_about(document["about"]),
        *(versus.blocks(found, cells(old), old["about"]) if old else []),
        *order.blocks(found, document["scenarios"]),
        *predictions.blocks(found),
        *(block for name in document["scenarios"] for block in _scenario(name, document["scenarios"][name], found)),
        Heading(2, "How to read this report"),
        Bullets(HOW_TO_READ),
    ]


def answer_lines(found):
    """The answer: a line for each scenario and hook, one about the order of arrival, and what to
    know before believing them."""
    lines = []
    for scenario in dict.fromkeys(cell.scenario for cell in found):
        for group in answer.QUESTION:
            group_cells = _select(found, scenario, group)
            if len(group_cells) > 1:
                lines.append(answer.sentence(group_cells, scenario, group))
        lines += answer.about_changes(_select(found, scenario, "changes"), _still(found, scenario))
    return [*lines, answer.about_order(found), *answer.about_control(found), *answer.about_generator(found)]


def _select(found, scenario, group):
    return [cell for cell in found if cell.scenario == scenario and cell.group == group]


def _still(found, scenario):
    """The first shard picker: a run of the same scenario in which the pipeline does not change."""
    return next(iter(_select(found, scenario, "pickers")), None)


def _about(about):
    runs = str(about["runs"]) if about["runs"] == about["planned"] else f"{about['runs']} of {about['planned']}"
    minutes, seconds = divmod(about["seconds"], 60)
    load, requests = amount(100 * about["scale"], "%"), amount(about["requests"], "")
    return [
        Paragraph(
            f"{runs} runs in {minutes} min {seconds} s on {about['began']}. Backend: {about['backend']}. {load} of "
            f"the scenarios' load. Seed {about['seed']}, commit {about['commit']}, {about['machine']}. The gateways "
            "ran all the time; candidates were activated through the admin API. After each run an audit passed: of "
            f"{requests} requests in all, no accepted one was lost, no coupon was issued twice, and no user exceeded "
            "the limit."
        )
    ]


def _scenario(name, scenario, found):
    blocks = [Heading(2, f"Scenario {name}"), Paragraph(scenario["about"])]
    for group, title in GROUP_TITLES.items():
        group_cells = _select(found, name, group)
        if group_cells:
            blocks += [Heading(3, title), _table(group_cells), *_charts(group_cells, title)]
    return blocks


def _table(group_cells):
    names = dict.fromkeys(name for cell in group_cells for name in cell.spreads)
    header = ("", *(f"`{cell.candidate}`" for cell in group_cells), "difference")
    return Table(header, tuple(_row(name, group_cells) for name in names))


def _row(name, group_cells):
    figure = figures.describe(name)
    values = (_value(cell, name, figure) for cell in group_cells)
    return (figure.label, *values, answer.difference(group_cells, name))


def _value(cell, name, figure):
    found = cell.spreads.get(name, spread([figures.unmentioned(name)]))
    return measured(found, figure.unit) if found else figure.absent


def _charts(group_cells, title):
    for label, unit, name in (
        ("p99 of the response", "ms", "response_p99_ms"),
        ("p99 of the outcome", "ms", "outcome_p99_ms"),
        ("users without a coupon, although a later one got one", "users", "inverted_users"),
    ):
        known = [cell for cell in group_cells if cell.spreads.get(name)]
        ranges = tuple((found.low, found.median, found.high) for found in (cell.spreads[name] for cell in known))
        if known:
            yield Ranges(f"{title}: {label}", unit, tuple(cell.candidate for cell in known), ranges)
    for label, unit, key in (
        ("p95 of the response over time", "ms", "response_p95_ms"),
        ("most picked shard above the mean, over time", "%", "skew_percent"),
        ("lag over time", "records", "lag_records"),
    ):
        points = {cell.candidate: cell.series[0][key] for cell in group_cells if cell.series}
        yield Lines(f"{title}: {label} (first repetition)", unit, points)
