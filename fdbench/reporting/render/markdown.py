"""Chapters as Markdown: tables, comparisons, warnings, and how to make each run again."""

from collections.abc import Sequence

from fdbench.reporting.document import Cells, Chapter, Column, Part, Report


def _table(cells: Cells) -> str:
    def line(texts: Sequence[str]) -> str:
        return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"

    def texts(column: Column) -> list[str]:
        return [f"`{text}`" if column.holds == "code" else text for text in column.texts]

    rule = ["--:" if column.holds == "numbers" else ":--" for column in cells.columns]
    lines = zip(*map(texts, cells.columns), strict=True)
    return "\n".join([line(cells.headings), line(rule), *map(line, lines)])


def _part(part: Part) -> str:
    caption = part.caption
    notes = "\n".join(f"- {note}" for note in caption) if len(caption) > 1 else "".join(caption)
    return "\n\n".join(text for text in (f"## {part.title}", notes, _table(part.cells)) if text)


def markdown_chapter(chapter: Chapter) -> str:
    """One chapter: the content of its file, which links to the figure next to it."""
    texts = [f"# {chapter.heading}", chapter.reading]
    texts += [f"![{chapter.alt}]({chapter.name}.png)"] if chapter.figure else []
    texts += [f"![Clean and adversarial images]({name})" for name in chapter.pictures]
    texts += map(_part, chapter.accuracies)
    texts += ["# Compared image by image", chapter.comparing] if chapter.comparisons else []
    texts += map(_part, chapter.comparisons)
    warnings = "\n".join(f"- {text}" for text in chapter.warnings)
    texts += ["# Warnings", warnings] if warnings else []
    texts += ["# Runs", _table(chapter.runs)] if chapter.runs.columns else []
    return "\n\n".join(texts) + "\n"


def markdown_text(report: Report) -> str:
    """The whole report, chapter by chapter."""
    return "\n".join(map(markdown_chapter, report.chapters))
