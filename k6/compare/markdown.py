"""The report as Markdown. Charts of medians are Mermaid, which GitHub draws; charts over time are left out."""

from .blocks import Bullets, Heading, Paragraph, Ranges, Table


def render(blocks):
    return "\n\n".join(text for block in blocks if (text := _text(block))) + "\n"


def _text(block):
    if isinstance(block, Heading):
        return f"{'#' * block.level} {block.text}"
    if isinstance(block, Paragraph):
        return block.text
    if isinstance(block, Bullets):
        return "\n".join(f"- {line}" for line in block.lines)
    if isinstance(block, Table):
        rule = tuple("---" for _ in block.header)
        return "\n".join(f"| {' | '.join(row)} |" for row in (block.header, rule, *block.rows))
    if isinstance(block, Ranges):
        return _bars(block)
    return ""


def _bars(chart):
    names = ", ".join(f'"{label}"' for label in chart.labels)
    medians = [round(median, 2) for _, median, _ in chart.ranges]
    lines = (
        "```mermaid",
        "xychart-beta",
        f'    title "{chart.title} (median)"',
        f"    x-axis [{names}]",
        f'    y-axis "{chart.unit}" 0 --> {max(medians)}',
        f"    bar {medians}",
        "```",
    )
    return "\n".join(lines)
