"""The part of the report that compares two runs of the comparison."""

from .blocks import Heading, Paragraph, Table
from .figures import describe
from .spread import differs
from .words import change, measured


def blocks(new, old, about_old):
    """Every ranked figure that both runs measured for a candidate, if it differs."""
    earlier = {(cell.scenario, cell.group, cell.candidate): cell for cell in old}
    rows, compared = [], 0
    for cell in new:
        before = earlier.get((cell.scenario, cell.group, cell.candidate))
        for name, found in cell.spreads.items() if before else ():
            was = before.spreads.get(name)
            if found and was and describe(name).better:
                compared += 1
                rows += [_row(cell, name, was, found)] if differs(was, found) else []
    missing = sum((cell.scenario, cell.group, cell.candidate) not in earlier for cell in new)
    return [
        Heading(2, f"Compared with {about_old['began']}"),
        Paragraph(
            f"The older run: backend {about_old['backend']}, seed {about_old['seed']}, {about_old['machine']}. "
            f"{len(rows)} of {compared} figures differ by a difference that counts. {missing} candidates are new."
        ),
        *([Table(("scenario", "candidate", "figure", "before", "now", "change"), tuple(rows))] if rows else []),
    ]


def _row(cell, name, was, found):
    figure = describe(name)
    is_better = (found.median - was.median) * figure.better > 0
    verdict = f"{change(was.median, found.median, figure.unit)}, {'better' if is_better else 'worse'}"
    values = (measured(was, figure.unit), measured(found, figure.unit))
    return (cell.scenario, f"`{cell.candidate}`", figure.label, *values, verdict)
