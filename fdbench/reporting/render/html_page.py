"""The report as one self-contained page: figures and pictures are embedded."""

from base64 import b64encode
from html import escape
from string import Template

from fdbench.reporting.document import Cells, Chapter, Column, Part, Report

_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>fdbench</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 75rem; margin: 2rem auto;
       padding: 0 1rem }
section { overflow-x: auto } svg, img { max-width: 100%; height: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .5rem 0 1.5rem }
th, td { padding: .25rem .7rem; text-align: right; border: 0; border-bottom: 1px solid #ddd }
th.words, td.words { text-align: left } thead th { border-bottom: 2px solid #888 }
p.note { color: #666 }
</style></head><body>
$body
</body></html>
""")


def _cell(tag: str, column: Column, text: str) -> str:
    kind = "" if column.holds == "numbers" else " class=words"
    text = escape(text)
    if column.holds == "code" and tag == "td":
        text = f"<code>{text}</code>"
    return f"<{tag}{kind}>{text}</{tag}>"


def _table(cells: Cells) -> str:
    columns = cells.columns
    head = "".join(_cell("th", column, column.heading) for column in columns)
    lines = [
        "".join(_cell("td", column, text) for column, text in zip(columns, line, strict=True))
        for line in cells.lines
    ]
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"


def _section(title: str, notes: tuple[str, ...], cells: Cells) -> str:
    below = "<br>".join(map(escape, notes))
    head = f"<h2>{escape(title)}</h2>" + (f"<p class=note>{below}</p>" if below else "")
    return f"<section>{head}{_table(cells)}</section>"


def _comparison(part: Part, comparing: str) -> str:
    return _section(f"Compared: {part.title}", (comparing, *part.caption), part.cells)


def _chapter(chapter: Chapter) -> str:
    svg = chapter.figure.get("svg", b"").decode()
    body = [f"<h1>{escape(chapter.heading)}</h1>", f"<p>{escape(chapter.reading)}</p>"]
    body += [svg[svg.find("<svg") :]] if svg else []
    for picture in chapter.pictures.values():
        data = b64encode(picture).decode()
        body += [f'<img alt="Clean and adversarial images" src="data:image/png;base64,{data}">']
    body += [_section(part.title, part.caption, part.cells) for part in chapter.accuracies]
    body += [_comparison(part, chapter.comparing) for part in chapter.comparisons]
    body += [f"<p>Warning: {escape(text)}</p>" for text in chapter.warnings]
    if chapter.runs.columns:
        body.append(_section("Runs", ("How to make these numbers again.",), chapter.runs))
    return "\n".join(body)


def page_text(report: Report) -> str:
    """All chapters."""
    return _PAGE.substitute(body="\n".join(map(_chapter, report.chapters)))
