"""The documentation fits the program: commands, options, links; `python tests/test_docs.py` writes
docs/commands.md.
"""

import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import suppress
from inspect import cleandoc
from itertools import takewhile
from pathlib import Path

import click
import pytest

from fdbench.commands import main

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))
WRITTEN = {"wrong_inputs.md", "damage.md"}  # by other tests; their commands are wrong on purpose
COMMANDS = ROOT / "docs" / "commands.md"
READ = [ROOT / "README.md", *(page for page in PAGES if page.name not in WRITTEN)]
# How a command starts that is fdbench, and what of it fdbench itself gets.
STARTS = {
    r"fdbench ": "fdbench ",
    r"torchrun .*-m fdbench ": "fdbench ",
    r"sbatch \S*examples/slurm/train.sbatch ": "fdbench train ",
    r"sbatch \S*examples/slurm/evaluate.sbatch ": "fdbench attack ",
}


# Lines for an example's package that is not installed here, and the test that runs the command.
ELSEWHERE = {"fdbench attack corners": ROOT / "tests" / "test_plugin.py"}


def blocks(page: Path, *kinds: str) -> list[str]:
    """The page's blocks of these kinds; "" is a block that says none."""
    every = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    return [text for kind, text in every if kind in kinds]


def typed(text: str) -> Iterator[str]:
    """The lines of a block, continued ones in one, as fdbench gets them."""
    for line in text.replace("\\\n", " ").splitlines():
        for start, becomes in STARTS.items():
            if match := re.match(start, line.removeprefix("$ ")):
                yield becomes + line.removeprefix("$ ")[match.end() :]


def lines(page: Path) -> list[str]:
    """The command lines in a page's blocks."""
    return [line for block in blocks(page, "", "sh", "bash", "text") for line in typed(block)]


def inline(page: Path) -> list[str]:
    """The commands within sentences: `fdbench verify RUN`, or only the words of one."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return [" ".join(found.split()) for found in re.findall(r"`(fdbench [^`]+)`", text)]


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


@pytest.mark.parametrize("page", READ, ids=lambda one: one.name)
def test_every_command_line_of_a_page_is_one_that_fdbench_takes(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    for line in lines(page):
        if not line.startswith(tuple(ELSEWHERE)):
            with suppress(MissingFile):
                parse(line)


@pytest.mark.parametrize("page", READ, ids=lambda one: one.name)
def test_every_command_in_a_sentence_exists_with_its_options(page: Path) -> None:
    for text in inline(page):
        command: click.Command = main
        for word in text.split()[1:]:
            if isinstance(command, click.Group) and word in command.list_commands(CONTEXT):
                found = command.get_command(CONTEXT, word)
                assert found is not None
                command = found
            elif word.startswith("--"):
                assert word.split("=")[0] in {*options(command), *options(main)}, text
        assert command is not main or set(text.split()[1:]) & {*options(main), "COMMAND"}, text


CONTEXT = click.Context(main)


def options(command: click.Command) -> set[str]:
    flags = {flag for one in command.params for flag in one.opts + one.secondary_opts}
    return flags | {"--help", "--version"}


def test_the_lines_are_found() -> None:
    assert len(lines(ROOT / "docs" / "models.md")) >= 8
    assert len(inline(ROOT / "docs" / "attacks.md")) >= 10
    assert list(typed("torchrun --nproc-per-node 8 \\\n    -m fdbench train --arch r50\n")) == [
        "fdbench train --arch r50"
    ]
    assert list(typed("$ sbatch examples/slurm/evaluate.sbatch pgd --iters 10")) == [
        "fdbench attack pgd --iters 10"
    ]
    with pytest.raises(click.UsageError):
        parse("fdbench attack pgd --modle x")
    for line, test in ELSEWHERE.items():
        assert line.removeprefix("fdbench ") in test.read_text()


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda one: one.name)
def test_every_make_target_exists(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_page_is_in_the_navigation() -> None:
    named = set(re.findall(r"[\w-]+\.md", (ROOT / "mkdocs.yml").read_text()))
    assert named == {page.name for page in PAGES}


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda one: one.name)
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
        parts.append(f"\n## {words}\n\n{cleandoc(command.help or '')}\n")
        context = click.Context(command)
        records = [one.get_help_record(context) for one in command.params]
        rows = [record for record in records if record]
        if rows:
            parts.append("\n| option | what it does |\n|:--|:--|\n")
            parts += [f"| {_code(name)} | {_cell(text)} |\n" for name, text in rows]
    return "".join(parts)


def _code(name: str) -> str:
    """Code whose bars no reader of markdown takes for the table's."""
    return f'<code class="option">{_cell(name)}</code>'.replace("\\|", "&#124;")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def test_the_command_reference_is_the_programs() -> None:
    assert COMMANDS.read_text() == reference(), "write it: python tests/test_docs.py"


if __name__ == "__main__":
    COMMANDS.write_text(reference())
    sys.stdout.write(f"{COMMANDS}\n")
