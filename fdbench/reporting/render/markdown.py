"""Chapters as Markdown: tables, comparisons, warnings, and how to make each run again."""

import re
from collections.abc import Sequence

from fdbench.reporting.document import Cells, Chapter, Column, Part, Report

# What could be a tag, a link or a picture: `<b`, `](`, `![`, `][`. An interval, [30.9, 49.8], and a
# p-value, <0.001, are neither.
_OBEYED = re.compile(r"<(?=[A-Za-z/!?])|(?<=\])[(\[:]|!(?=\[)|`")


def _plain(text: str) -> str:
    """Text from names and messages, of which Markdown shows every character."""
    return _OBEYED.sub(lambda match: f"\\{match[0]}", text)


def _code(text: str) -> str:
    """As code, between more backticks than it has."""
    if "`" not in text:
        return f"`{text}`"
    fence = "`" * (max(map(len, re.findall("`+", text))) + 1)
    return f"{fence} {text} {fence}"


def _table(cells: Cells) -> str:
    def line(texts: Sequence[str]) -> str:
        return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"

    def texts(column: Column) -> list[str]:
        return [_code(text) if column.holds == "code" else _plain(text) for text in column.texts]

    rule = ["--:" if column.holds == "numbers" else ":--" for column in cells.columns]
    lines = zip(*map(texts, cells.columns), strict=True)
    headings = [_plain(heading) for heading in cells.headings]
    return "\n".join([line(headings), line(rule), *map(line, lines)])


def _part(part: Part) -> str:
    caption = [_plain(note) for note in part.caption]
    notes = "\n".join(f"- {note}" for note in caption) if len(caption) > 1 else "".join(caption)
    return "\n\n".join(
        text for text in (f"## {_plain(part.title)}", notes, _table(part.cells)) if text
    )


def markdown_chapter(chapter: Chapter) -> str:
    """One chapter: the content of its file, which links to the figure next to it."""
    texts = [f"# {chapter.heading}", chapter.reading]
    texts += [f"![{_plain(chapter.alt)}]({chapter.name}.png)"] if chapter.figure else []
    texts += [f"![Clean and adversarial images]({name})" for name in chapter.pictures]
    texts += map(_part, chapter.accuracies)
    texts += ["# Compared image by image", chapter.comparing] if chapter.comparisons else []
    texts += map(_part, chapter.comparisons)
    warnings = "\n".join(f"- {_plain(text)}" for text in chapter.warnings)
    texts += ["# Warnings", warnings] if warnings else []
    texts += ["# Runs", _table(chapter.runs)] if chapter.runs.columns else []
    return "\n\n".join(texts) + "\n"


def markdown_text(report: Report) -> str:
    """The whole report, chapter by chapter."""
    return "\n".join(map(markdown_chapter, report.chapters))
