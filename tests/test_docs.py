"""The documentation fits the program: commands, options, links; `python tests/test_docs.py` writes
docs/commands.md.
"""

import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import takewhile
from pathlib import Path

import click
import pytest

from fdbench.commands import main

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))
WRITTEN = {"wrong_inputs.md", "damage.md"}  # by other tests; their commands are wrong on purpose
COMMANDS = ROOT / "docs" / "commands.md"


def lines(page: Path) -> list[str]:
    """The command lines in a page's blocks."""
    blocks = re.findall(
        r"^```(?:sh|bash|text)?\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE
    )
    return [
        line.removeprefix("$ ")
        for block in blocks
        for line in block.splitlines()
        if line.removeprefix("$ ").startswith("fdbench ")
    ]


class MissingFile(Exception):
    """A file of the reader's, which this folder has not."""


def parse(line: str) -> None:
    """Parses a command line as it would be typed, and runs nothing."""
    command: click.Command = main
    words = shlex.split(re.sub(r"\$\([^)]*\)", "RUN", line), comments=True)[1:]
    words = list(takewhile(lambda word: word not in ("|", ">", "&&"), words))
    context = click.Context(main)
    while words[0].startswith("--"):  # the group's own options
        words = words[2:] if words[0] == "--config" else words[1:]
    while isinstance(command, click.Group):
        _, found, words = command.resolve_command(context, words)
        assert found is not None, line
        command = found
    try:
        command.make_context(line, words)
    except click.BadParameter as reason:
        if "does not exist" in reason.format_message():
            raise MissingFile from reason
        raise


@pytest.mark.parametrize(
    "page", [one for one in PAGES if one.name not in WRITTEN], ids=lambda one: one.name
)
def test_every_command_line_of_a_page_is_one_that_fdbench_takes(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    for line in lines(page):
        with suppress(MissingFile):
            parse(line)


def test_the_lines_are_found() -> None:
    assert len(lines(ROOT / "docs" / "models.md")) >= 8
    with pytest.raises(click.UsageError):
        parse("fdbench attack pgd --modle x")


@pytest.mark.parametrize("page", PAGES, ids=lambda one: one.name)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), target


def leaves(command: click.Command, words: str) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield words, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        assert below is not None
        yield from leaves(below, f"{words} {name}")


def reference() -> str:
    """Every command with its options, as markdown."""
    parts = ["# Commands\n\nWritten from the program; `fdbench COMMAND --help` prints the same.\n"]
    for words, command in leaves(main, "fdbench"):
        parts.append(f"\n## {words}\n\n{(command.help or '').strip()}\n")
        context = click.Context(command)
        records = [one.get_help_record(context) for one in command.params]
        rows = [record for record in records if record]
        if rows:
            parts.append("\n| option | what it does |\n|:--|:--|\n")
            parts += [f"| `{_cell(name)}` | {_cell(text)} |\n" for name, text in rows]
    return "".join(parts)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def test_the_command_reference_is_the_programs() -> None:
    assert COMMANDS.read_text() == reference(), "write it: python tests/test_docs.py"


if __name__ == "__main__":
    COMMANDS.write_text(reference())
    sys.stdout.write(f"{COMMANDS}\n")
