"""Names and messages of strangers in every format of the report, in messages and in errors."""

import csv
import io
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from madeup import examined, info, row, store

from fdbench import console
from fdbench.commands import main
from fdbench.errors import FdbenchError
from fdbench.printable import one_line, shown
from fdbench.reporting.render.formats import RENDERERS
from fdbench.reporting.report import write_report
from fdbench.store import Check, Workspace
from fdbench.store.findings import write_findings

HOSTILE = (
    "\x1b[2J\x1b[31mred\x1b]8;;http://x\x07link", "a\r\nError: forged",
    "nul\x00bell\x07\x08\x9b31m",
    "abc\u202egpj.exe\u2066\u200b", "$x_{1}$ and $", "[red]rich[/red]", "<script>alert(1)</script>",
    "[x](javascript:alert(1))", "![x](http://x/y.png)", "| a | b `code` ``", "\u2028\u2029\ufeff",
    "ordinary-name_1.5", "Größe 名", "\x1b[31m<b onclick=x>\u202e$#&\\input{x}" + "n" * 300,
)  # fmt: skip
TEXT = {".md", ".csv", ".tex", ".svg", ".html", ".json"}
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_that_a_terminal_obeys_is_shown_as_it_is(text: str) -> None:
    assert not OBEYED.search(shown(text))
    assert one_line(text).isprintable()


@pytest.mark.parametrize("text", ["r20-nonlocal-gauss", "Größe 名", "50.0 [40.4, 59.6]", "a\\x1b"])
def test_plain_text_is_shown_as_it_is(text: str) -> None:
    assert shown(text) == one_line(text) == text


def test_line_breaks_stay_in_messages_and_are_visible_in_names() -> None:
    assert shown("a\n\tb") == "a\n\tb"
    assert one_line("a\n\tb") == "a\\x0a\\x09b"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A run for each text, which is the name of its network, in its warnings and findings."""
    for number, text in enumerate(HOSTILE):
        plain = info(images=4)
        model = replace(plain.model, name=text, ref=text, weights=f"{number:02d}" * 32)
        run = replace(plain, model=model, warnings=(f"warned of {text}",), command=f"fd {text}")
        rows = [row(image, 20, (10, 100), clean=image > 0) for image in range(4)]
        store(tmp_path, run, rows)
        write_findings(Workspace(tmp_path), examined(run, Check("noise", "fail", text)))
    return tmp_path


@pytest.mark.parametrize("form", RENDERERS)
def test_no_format_prints_what_a_terminal_obeys(results: Path, form: str) -> None:
    done = CliRunner().invoke(main, ["report", "--results", str(results), "--format", form])
    assert done.exit_code == 0, done.output
    assert not OBEYED.search(done.output)


def test_no_file_of_a_report_holds_what_a_terminal_obeys(results: Path) -> None:
    write_report(results, None)
    files = {path.name: path.read_text() for path in results.iterdir() if path.suffix in TEXT}
    assert {Path(name).suffix for name in files} == TEXT
    assert [name for name, text in files.items() if OBEYED.search(text.replace("\r\n", "\n"))] == []
    ElementTree.fromstring(files["whitebox.svg"])  # well-formed, whatever names say
    assert "<script" not in files["whitebox.svg"]
    assert not re.search(r"(?<!\\)\\input|(?<!\\)\$x", files["whitebox.tex"])
    names = [line["model"] for line in csv.DictReader(io.StringIO(files["headline.csv"]))]
    assert sorted(set(names)) == sorted(map(shown, HOSTILE))


def test_files_have_no_tags_links_or_lines_from_names(results: Path) -> None:
    assert CliRunner().invoke(main, ["report", "--results", str(results)]).exit_code == 0
    markdown = (results / "whitebox.md").read_text()
    page = (results / "report.html").read_text()
    assert not OBEYED.search(markdown + page)
    outside_code = re.sub("(`+) ?.*?\\1", "", markdown.replace("\\`", ""))
    assert "\\<script>" in outside_code
    assert not re.search(r"(?<!\\)<script", outside_code)
    assert not re.search(r"\](?<!\\)\((?:javascript|http)", outside_code)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert "\\u003cscript>alert" in page, "in the data of the page's script"
    assert "\nError: forged" not in markdown
    assert (results / "whitebox.png").stat().st_size > 0


@pytest.mark.parametrize("text", HOSTILE)
def test_messages_and_errors_show_what_they_quote(
    text: str, capfd: pytest.CaptureFixture[str]
) -> None:
    console.say(text)
    console.warn(text)
    with console.progress(text, 2, "images") as advance:
        advance(1, stage=text)
    FdbenchError(f"{text} is wrong").show()
    assert not OBEYED.search(capfd.readouterr().err)
