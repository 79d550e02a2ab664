"""Every format renders the same report, and the command offers exactly these formats."""

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from madeup import decaying, info, store
from test_all_or_nothing import rows, run_info
from test_gallery import stored

from fdbench import console
from fdbench.commands.report import report as command
from fdbench.reporting.chapters import build
from fdbench.reporting.document import Cells, Column, Report
from fdbench.reporting.render import formats
from fdbench.reporting.render.formats import RENDERERS, Renderer
from fdbench.reporting.render.html_page import page_text
from fdbench.reporting.render.markdown import markdown_text
from fdbench.store.runs import read_runs

ROBUST = {0: 90, 10: 60, 100: 40}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for model in ("r20", "r20-mean"):
        decaying(tmp_path, model, ROBUST)
    return tmp_path


@pytest.fixture
def report(results: Path) -> Report:
    return build(results, read_runs(results))


def test_the_command_offers_every_format() -> None:
    (option,) = (one for one in command.params if one.name == "fmt")
    assert isinstance(option.type, click.Choice)
    assert list(option.type.choices) == list(RENDERERS)


def test_offering_the_formats_loads_neither_pandas_nor_any_renderer() -> None:
    heavy = "{'torch', 'pandas', 'matplotlib', 'fdbench.reporting.render.markdown'}"
    code = f"import sys, fdbench.commands.report; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("fmt", RENDERERS)
def test_every_renderer_shows_the_numbers_of_the_one_report(report: Report, fmt: str) -> None:
    text = RENDERERS[fmt].load()(report)
    assert text.endswith("\n")
    for word in ("r20", "r20-mean", "60.0", "40.0"):
        assert word in text


@pytest.mark.parametrize("fmt", ["table", "md", "html"])
def test_renderers_of_cells_show_the_text_of_every_part(
    report: Report, fmt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console.out, "width", 200)  # a narrow terminal gets half-widths
    text = RENDERERS[fmt].load()(report)
    for chapter in report.chapters:
        assert chapter.reading.split(". ")[0] in " ".join(text.split())
        for part in (*chapter.accuracies, *chapter.comparisons):
            assert part.title in text
            assert all(cell in text for line in part.cells.lines for cell in line)


def summary(report: Report) -> str:
    return "".join(f"{chapter.heading}\n" for chapter in report.chapters)


def test_a_new_format_is_one_line_of_the_table(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    renderer = Renderer(lambda: summary)
    monkeypatch.setitem(formats.RENDERERS, "summary", renderer)
    (option,) = (one for one in command.params if one.name == "fmt")
    monkeypatch.setattr(option, "type", click.Choice(list(RENDERERS)))
    result = CliRunner().invoke(command, ["--format", "summary", "--results", str(results)])
    assert result.stdout == "Robust accuracy\nAs in the paper\nHeadline\n"


def test_a_renderer_with_a_file_prints_its_path(results: Path) -> None:
    result = CliRunner().invoke(command, ["--format", "html", "--results", str(results)])
    assert result.stdout == f"{results / 'report.html'}\n"
    assert "Robust accuracy" in (results / "report.html").read_text()


def test_words_align_left_numbers_right_and_commands_are_code(report: Report) -> None:
    page, text = page_text(report), markdown_text(report)
    assert info("r20").command in page
    assert f"<code>{info('r20').command}</code>" in page
    assert f"| `{info('r20').command}` |" in text
    assert "<th scope=row>r20-mean<td>10<td>" in page
    assert "| :-- | --: |" in text


def test_cells_can_drop_columns_and_lines() -> None:
    cells = Cells((Column("model", ("a", "b"), "words"), Column("n", ("1", "2"))))
    assert cells["n"] == ("1", "2")
    assert cells.lines == [("a", "1"), ("b", "2")]
    assert cells.without(["model"]).headings == ["n"]
    assert cells.where([False, True]).lines == [("b", "2")]


def test_pictures_are_embedded_in_the_page(tmp_path: Path) -> None:
    store(tmp_path, run_info(), rows())
    stored(tmp_path / "sets" / "madeup")
    page = page_text(build(tmp_path, read_runs(tmp_path)))
    clean, adversarial, difference = 1, 4, 4  # of each of four images
    assert page.count('src="data:image/png;base64,') == 4 * (clean + adversarial + difference)


def test_json_has_the_white_box_tables_even_where_they_are_empty(tmp_path: Path) -> None:
    text = RENDERERS["json"].load()(Report(tmp_path, (), (), ()))
    assert json.loads(text) == {
        "whitebox": [],
        "paired": [],
        "zoo": [],
        "warnings": [],
        "doctor": [],
    }
