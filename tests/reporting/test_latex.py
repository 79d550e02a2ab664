"""LaTeX that compiles whatever names say, with every number of the tables."""

import re
from pathlib import Path

import pytest
from madeup import decaying
from test_hostile_text import HOSTILE

from fdbench.reporting.document import Cells, Column, Part
from fdbench.reporting.render.latex import compact, escaped, latex_text
from fdbench.reporting.render.terminal import halved
from fdbench.reporting.report import write_report

# What LaTeX obeys, unless a backslash stands before it.
OBEYED = re.compile(r"(?<!\\)(?:\\\\)*[&%$#_{}]")
WORDS = re.compile(r"\\text(?:backslash|ascii\w+|less|greater|bar|quotedbl)\{\}")


@pytest.mark.parametrize("text", [*HOSTILE, r"\input{/etc/passwd}", "100% & more_#1", "[1ex]"])
def test_no_character_of_a_name_is_obeyed(text: str) -> None:
    plain = WORDS.sub("", escaped(text)).removeprefix("{}")
    assert not OBEYED.search(plain)
    assert not re.search(r"\\(?![&%$#_{}])", plain)
    assert not escaped(text).startswith("["), "after a line's end it would be a length"


def test_an_interval_is_compact_and_the_longer_half_in_a_narrow_terminal() -> None:
    assert compact("54.0 [50.9, 57.1]") == "$54.0^{+3.1}_{-3.1}$"
    assert compact("0.0 [0.0, 0.4]") == "$0.0^{+0.4}_{-0.0}$"
    assert compact("-") == "-"
    assert (compact("-3.1"), compact("<0.001")) == ("$-3.1$", "$<0.001$")
    assert halved("0.0 [0.0, 0.4]") == "0.0 ±0.4"
    assert halved("pgd [0.0, 0.4]") == "pgd [0.0, 0.4]"


def test_the_file_has_each_table_with_rules_and_as_many_cells_as_columns(tmp_path: Path) -> None:
    for model in ("r20_a&b", "r20-mean"):
        decaying(tmp_path, model, {0: 90, 10: 60, 100: 40})
    report = write_report(tmp_path, None)
    text = (tmp_path / "whitebox.tex").read_text()
    assert r"r20\_a\&b" in text
    assert "$40.0^{+9.8}_{-9.1}$" in text
    parts = sum(len(one.accuracies) + len(one.comparisons) for one in report.chapters)
    whole = latex_text(report)
    for word in (r"\begin{table}", r"\end{table}", r"\toprule", r"\midrule", r"\bottomrule"):
        assert whole.count(word) == parts
    for sides, body in re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end", whole, re.DOTALL):
        for line in (one for one in body.splitlines() if one.endswith(r"\\")):
            assert len(re.findall(r"(?<!\\)&", line)) == len(sides) - 1


def test_a_part_of_hostile_cells_keeps_its_form() -> None:
    cells = Cells((Column("a_b", tuple(HOSTILE), "words"), Column("n", ("1",) * len(HOSTILE))))
    part = Part("whitebox", "title {", cells, "same }", ("note %",))
    assert part.cells.headings == ["a_b", "n"]
    assert escaped(part.title) == r"title \{"
