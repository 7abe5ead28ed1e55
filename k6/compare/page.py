"""The report as one HTML file that needs no network: styles, script, chart library and data are inside."""

import html
import json
import re
from dataclasses import asdict
from pathlib import Path
from string import Template

from .blocks import Bullets, Heading, Paragraph, Table

FOLDER = Path(__file__).parent / "page"


def render(blocks, chart_library):
    """The page. `chart_library` is the source of Chart.js."""
    charts = []
    body = "\n".join(_element(block, charts) for block in blocks)
    template = Template((FOLDER / "page.html").read_text())
    return template.substitute(
        style=(FOLDER / "page.css").read_text(),
        body=body,
        library=chart_library,
        # Within a script element, only `</` could end it.
        charts=json.dumps(charts).replace("</", "<\\/"),
        script=(FOLDER / "page.js").read_text(),
    )


def _element(block, charts):
    if isinstance(block, Heading):
        return f"<h{block.level}>{_inline(block.text)}</h{block.level}>"
    if isinstance(block, Paragraph):
        return f"<p>{_inline(block.text)}</p>"
    if isinstance(block, Bullets):
        return "<ul>" + "".join(f"<li>{_inline(line)}</li>" for line in block.lines) + "</ul>"
    if isinstance(block, Table):
        rows = "".join(_row("td", row) for row in block.rows)
        return f"<div class=wide><table><thead>{_row('th', block.header)}</thead><tbody>{rows}</tbody></table></div>"
    charts.append({"kind": type(block).__name__, **asdict(block)})
    return f"<figure><figcaption>{_inline(block.title)}</figcaption><canvas></canvas></figure>"


def _row(tag, cells):
    return "<tr>" + "".join(f"<{tag}>{_inline(cell)}</{tag}>" for cell in cells) + "</tr>"


def _inline(text):
    escaped = html.escape(text)
    code = re.sub(r"`(.+?)`", r"<code>\1</code>", escaped)
    return re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", code)
