"""The part of the report that puts predictions of a simulation next to the measurements."""

from .blocks import Heading, Paragraph, Table
from .figures import describe
from .words import amount, change, measured


def blocks(found):
    """Each predicted figure, with its error. Nothing if the document has no predictions."""
    rows = [
        _row(cell, name, predicted, cell.spreads[name])
        for cell in found
        for name, predicted in cell.simulated.items()
        if cell.spreads.get(name)
    ]
    if not rows:
        return []
    header = ("scenario", "candidate", "figure", "simulated", "measured", "error")
    return [
        Heading(2, "Predicted and measured"),
        Paragraph("`sluice simulate` predicts these figures without load. The error is that of the prediction."),
        Table(header, tuple(rows)),
    ]


def _row(cell, name, predicted, found):
    figure = describe(name)
    values = (amount(predicted, figure.unit), measured(found, figure.unit))
    return (cell.scenario, f"`{cell.candidate}`", figure.label, *values, change(found.median, predicted, figure.unit))
