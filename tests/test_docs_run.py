"""The documentation's Python blocks and quick command lines, run as they stand.

In a folder with two networks of two channels under the names that the pages use, on the embedded
images. What needs more is only parsed (test_docs.py): NOT_RUN says why.
"""

import ast
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner
from madeup import decaying
from test_docs import READ, ROOT, blocks, lines

from fdbench.commands import main
from fdbench.models import resnet
from fdbench.models.checkpoint import Card, save_card, weights_hash
from fdbench.specs import ModelSpec

NETWORKS = {"r20": "none", "r20-nonlocal-gauss": "nonlocal-gauss"}
# Lines that are not run, by what stands in them.
NOT_RUN = {
    r"fdbench (train|train-attacker|eval|doctor|figures) ": "minutes",
    r"fdbench attack (autoattack|foolbox|suite) |--until-decided": "minutes",
    r"fdbench attack transfer |submission new defense |classify |import ": "its reader's networks",
    r"fdbench (verify|runs) ": "its reader's runs",
    r"fdbench view": "serves until it is stopped",
    r"--(claims|config) ": "its reader's files",
    r"--data (?!fashion-mini)|--model (?!r20)|--attack pgd": "its reader's network or data",
    r"--arch (timm|tv):": "an extra, or seconds",
    r"fdbench attack corners": "the example's package; tests/test_plugin.py runs it",
    r"(COMMAND|RUN|NAME)\b": "a place for a name",
}
# Lines that are run at a size of their own.
SMALL = {f"FDBENCH_ATTACK_{name}_LIMIT": "2" for name in ("PGD", "FAST", "APGD")}
PYTHON = [(page.name, block) for page in READ for block in blocks(page, "python")]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a reader who has trained two networks, and attacked them."""
    folder = tmp_path_factory.mktemp("home")
    for last, (name, denoise) in enumerate(NETWORKS.items()):
        spec = ModelSpec(arch="r20", denoise=denoise, width=2, classes=10, px=28)
        state = resnet.build(spec).state_dict()
        card = Card(name, spec, data={"name": "fashion-mini"}, weights=weights_hash(state))
        save_card(folder / "results" / "checkpoints" / f"{name}.safetensors", state, card)
        decaying(folder / "results", name, {0: 90, 10: 60, 100: 40 + last})
    return folder


@pytest.fixture
def home(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained)
    for name, value in SMALL.items():
        monkeypatch.setenv(name, value)


def runnable() -> list[str]:
    """The lines that a test can run, each once, with a small limit of images."""
    every = [line for page in READ if page.name != "sessions.md" for line in lines(page)]
    chosen = [line for line in every if not any(re.search(rule, line + " ") for rule in NOT_RUN)]
    return list(dict.fromkeys(re.sub(r"--limit \d+", "--limit 2", line) for line in chosen))


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("line", runnable())
def test_a_quick_line_runs(line: str) -> None:
    done = CliRunner().invoke(main, shlex.split(line, comments=True)[1:])
    assert done.exit_code == 0, done.output


def test_most_kinds_of_lines_are_run() -> None:
    every = " ".join(runnable())
    for command in ("attack pgd", "attack fast", "attack apgd", "report", "compare", "export csv"):
        assert f"fdbench {command}" in every, command
    for rule in NOT_RUN:
        assert any(re.search(rule, line + " ") for page in READ for line in lines(page)), rule


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    "block",
    [block for _, block in PYTHON],
    ids=[f"{name}-{i}" for i, (name, _) in enumerate(PYTHON)],
)
def test_every_python_block_runs(block: str) -> None:
    exec(compile(block, "block", "exec"), {"__name__": "block"})


def test_the_plug_ins_page_shows_the_example() -> None:
    """What its page says of an attack is, statement by statement, what the example's file does."""
    shown = ast.parse(next(block for _, block in PYTHON if "class Corners(Attack)" in block))
    file = ROOT / "examples" / "plugin" / "fdbench_extras" / "attack.py"
    names = {ast.dump(node) for node in ast.parse(file.read_text()).body}
    parameters = next(n for n in shown.body if isinstance(n, ast.ClassDef))
    assert ast.dump(parameters) in names
