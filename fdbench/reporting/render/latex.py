"""Tables for a paper: LaTeX with booktabs, every text escaped, intervals as superscripts.

Needs `\\usepackage{booktabs}` and UTF-8, as every LaTeX since 2018 has it.
"""

import re

from fdbench.reporting.document import Cells, Chapter, Column, Part, Report

_SPECIAL = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}", **{one: f"\\{one}" for one in "&%$#_{}"},
}  # fmt: skip
_INTERVAL = re.compile(r"(\d+\.\d) \[(\d+\.\d), (\d+\.\d)\]")

_NUMBER = re.compile(r"[+<-]\d+\.\d+")  # in text, a minus would be a hyphen


def escaped(text: str) -> str:
    """Text of which LaTeX prints every character."""
    plain = "".join(_SPECIAL.get(one, one) for one in text)
    return f"{{}}{plain}" if plain.startswith("[") else plain  # after \\ it would be a length


def compact(text: str) -> str:
    """`$54.0^{+3.1}_{-3.1}$`, of `54.0 [50.9, 57.1]`; other text escaped."""
    match = _INTERVAL.fullmatch(text)
    if match is None:
        return f"${text}$" if _NUMBER.fullmatch(text) else escaped(text)
    value, low, high = map(float, match.groups())
    return f"${value:.1f}^{{+{high - value:.1f}}}_{{-{value - low:.1f}}}$"


def _texts(column: Column) -> list[str]:
    if column.holds == "code":
        return [rf"\texttt{{{escaped(text)}}}" for text in column.texts]
    return [compact(text) for text in column.texts]


def _tabular(cells: Cells) -> str:
    sides = "".join("r" if one.holds == "numbers" else "l" for one in cells.columns)
    lines = zip(*map(_texts, cells.columns), strict=True)
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{sides}}}",
            r"\toprule",
            " & ".join(map(escaped, cells.headings)) + r" \\",
            r"\midrule",
            *(" & ".join(line) + r" \\" for line in lines),
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def _table(part: Part) -> str:
    caption = ". ".join([part.title, *(note.rstrip(".") for note in part.caption)])
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escaped(caption)}.}}",
            _tabular(part.cells),
            r"\end{table}",
        ]
    )


def latex_chapter(chapter: Chapter) -> str:
    """One chapter: the content of its file, a table environment for each of its tables."""
    parts = [*chapter.accuracies, *chapter.comparisons]
    reading = [f"% {line}" for line in (chapter.reading, chapter.comparing) if line]
    return "\n\n".join([r"% \usepackage{booktabs}", *reading, *map(_table, parts)]) + "\n"


def latex_text(report: Report) -> str:
    """All chapters."""
    return "\n".join(map(latex_chapter, report.chapters))
