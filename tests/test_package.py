"""What users get: the wheel, a README that fits the commands, and what else a release has."""

import json
import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from fdbench.commands import COMMANDS, main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
# What people write; commands.md is written from the program and has every command anyway.
PAGES = [page for page in (ROOT / "docs").glob("*.md") if page.name != "commands.md"]
WRITTEN = " ".join([README, *(page.read_text() for page in PAGES)])


def commands(group: click.Group, words: str) -> Iterator[str]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{words} {name}")
        else:
            yield f"{words} {name}"


@pytest.mark.parametrize("command", list(commands(main, "fdbench")))
def test_every_command_is_in_the_readme_or_a_page(command: str) -> None:
    assert command in " ".join(WRITTEN.split())


def test_the_readme_is_read_in_a_minute_and_has_the_first_three_lines() -> None:
    assert len(README.splitlines()) <= 110
    for line in (
        "make demo",
        "make test",
        "fdbench train --arch r152 --denoise nonlocal-gauss",
        "fdbench attack pgd --iters 100",
        "fdbench report",
    ):
        assert re.search(rf"^{line}\b", README, re.MULTILINE), line


def test_the_readmes_table_is_one_that_the_report_wrote() -> None:
    made = (ROOT / "results" / "report" / "whitebox.md").read_text().splitlines()
    table = [line for line in README.splitlines() if line.startswith("|")]
    assert len(table) >= 6
    assert set(table) <= set(made)


def test_every_option_in_the_readme_exists() -> None:
    lines = re.findall(r"^ *\$? ?fdbench (.+?)(?: +#.*)?$", README, re.MULTILINE)
    assert len(lines) >= 5
    for line in lines:
        command: click.Command = main
        words = line.split()
        while isinstance(command, click.Group) and words:
            subcommand = command.get_command(click.Context(command), words.pop(0))
            assert subcommand is not None, line
            command = subcommand
        known = {option for param in command.params for option in param.opts + param.secondary_opts}
        assert {word.split("=")[0] for word in words if word.startswith("--")} <= known, line


@pytest.mark.parametrize("command", list(commands(main, "")))
def test_every_command_has_help(command: str) -> None:
    result = CliRunner().invoke(main, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) > 4


def test_every_dependency_has_its_reason() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [name for group in project["optional-dependencies"].values() for name in group]
    reasons = (ROOT / "CONTRIBUTING.md").read_text()
    for requirement in project["dependencies"] + extras:
        name = re.split(r"[<>=]", requirement)[0]
        assert f"| {name} |" in reasons, name


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir"]
    subprocess.run([*command, str(folder), str(ROOT)], check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_has_one_top_level_name_all_recipes_and_no_weights(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"fdbench"}
    for kind in ("models", "attacks"):
        recipes = {path.name for path in (ROOT / kind).rglob("*.toml")}
        assert recipes
        assert recipes <= {Path(name).name for name in names if name.startswith(f"fdbench/{kind}/")}
    stubs = {str(path.relative_to(ROOT)) for path in (ROOT / "fdbench").rglob("*.pyi")}
    assert stubs | {"fdbench/py.typed"} <= set(names), "users' type checkers read these"
    endings = {Path(name).suffix for name in names if not name.split("/")[0].endswith(".dist-info")}
    assert endings <= {".py", ".pyi", ".toml", ".md", ".typed", ".xz", ""} | {
        ".css",
        ".html",
        ".js",
    }, "weights or worse in the wheel"
    assert wheel.stat().st_size < 4 * 2**20


def test_the_recipe_folders_hold_only_recipes() -> None:
    for kind in ("models", "attacks"):
        for path in (ROOT / kind).rglob("*"):
            assert path.is_dir() or path.suffix in (".toml", ".md"), path


def test_the_wheel_runs_in_an_environment_of_its_own(wheel: Path, tmp_path: Path) -> None:
    """Dependencies come from this environment, fdbench itself from the wheel only."""
    venv.create(tmp_path / "venv", with_pip=False)  # this environment's pip serves both
    python = tmp_path / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True)
    mine = sysconfig.get_path("purelib")
    theirs = next((tmp_path / "venv").glob("lib/python*/site-packages"))
    (theirs / "lent.pth").write_text(mine)  # a .pth's paths are not searched for further .pth files
    say = "import fdbench; print(fdbench.__file__)"
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    imported = subprocess.run(
        [python, "-c", say], capture_output=True, text=True, cwd=tmp_path, env=alone
    )
    assert imported.stdout.startswith(str(theirs)), imported.stderr

    def fdbench(line: str) -> str:
        return subprocess.run(
            [tmp_path / "venv" / "bin" / "fdbench", *line.split()],
            check=True, cwd=tmp_path, env=alone, stdout=subprocess.PIPE, text=True,
        ).stdout  # fmt: skip

    assert "fdbench 0" in " ".join(fdbench("info").split())
    fdbench("train --arch r20 --width 2 --epochs 1 --batch-size 500 --clean")
    fdbench("attack pgd --iters 2 --limit 10")
    fdbench("report")
    assert (tmp_path / "results" / "whitebox.md").is_file()
    assert "r152-nonlocal-gauss" in fdbench("list models")


def test_the_dockerfile_copies_and_starts_what_there_is() -> None:
    """It can't be built everywhere: what it names must exist."""
    import tomllib

    steps: dict[str, list[str]] = {}
    text = (ROOT / "Dockerfile").read_text()
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        steps.setdefault(word, []).append(rest)
    for copied in steps["COPY"]:
        *sources, target = copied.split()
        assert all((ROOT / source).exists() for source in sources)
        assert f"pip install --no-cache-dir {target}" in steps["RUN"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (entry,) = steps["ENTRYPOINT"]
    assert [json.loads(entry)[0]] == list(project["scripts"])
    (base,) = steps["FROM"]
    least = re.search(r">=3\.(\d+)", project["requires-python"])
    version = re.search(r"python:3\.(\d+)", base)
    assert least
    assert version
    assert int(version[1]) >= int(least[1])
    usage = re.search(r"fdbench (attack \w+ --help)", text)
    assert usage
    assert CliRunner().invoke(main, usage[1].split()).exit_code == 0


def test_the_commands_of_the_table_are_the_commands_of_the_help() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "fdbench", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for name in COMMANDS:
        assert re.search(rf"^  {name} ", shown, re.MULTILINE)
