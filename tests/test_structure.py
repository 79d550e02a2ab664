"""The rules of the house that a machine can hold."""

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

import fdbench
from fdbench.attacks import ATTACKS, LOSSES, METHODS
from fdbench.commands import COMMANDS
from fdbench.data import DATA
from fdbench.errors import FdbenchError
from fdbench.models import DENOISERS, ZOO
from fdbench.models.resnet import build
from fdbench.registry import Registry
from fdbench.specs.recipes import attacker_battery, batteries, battery, model_recipe, recipe_files
from fdbench.specs.training import TrainSpec
from fdbench.threat import NORMS

PACKAGE = Path(fdbench.__file__).parent

# From the ground up: a module imports from lower floors, and within its own folder.
FLOORS = [
    {"printable"},
    {"errors", "randomness", "stats", "console"},
    {"registry", "units", "types", "files"},
    {"specs", "threat", "data", "machine"},
    {"verdict", "store", "submission"},
    {"models", "reporting"},
    {"attacks"},
    {"evaluation", "training", "blackbox"},
    {"api"},
    {"commands"},
    {"__main__", "__init__"},
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    """The file or folder of fdbench/ that a source file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """The rooms that a file imports from, wherever in it the import stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "fdbench":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fdbench."):
            yield str(node.module).split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (a.name.split(".")[1] for a in node.names if a.name.startswith("fdbench."))


PACKAGES = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.pyi"))


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_of_a_package_can_be_imported(package: str) -> None:
    module = import_module(f"fdbench.{package}")
    assert module.__all__
    for name in module.__all__:
        assert getattr(module, name) is not None


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_other_packages_are_entered_by_their_door(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fdbench."):
            _, package, *private = str(node.module).split(".")
            inside = package == room(path) or package not in PACKAGES
            assert inside or not private, f"{node.module} is private to fdbench/{package}/"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    mine = room(path)
    for other in imported(path):
        assert other == mine or FLOOR[other] < FLOOR[mine], f"{mine} imports {other}"


# What a command may use besides the Python face: names to choose from, paths, messages, text.
COMMANDS_USE = {"api", "commands", "console", "errors", "reporting", "specs", "store"}
COMMANDS_USE |= {"files", "submission", "units"}


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("commands/*.py")), ids=lambda path: path.stem)
def test_commands_are_a_thin_layer_over_the_python_face(path: Path) -> None:
    assert set(imported(path)) <= COMMANDS_USE
    modules = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module]
        )
        if name
    }
    assert not modules & {"torch", "torchvision", "numpy", "pandas", "safetensors"}


def functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            options = len(node.decorator_list) > 3  # a command: its options are a table, not code
            size = node.end_lineno - (node.lineno if options else first) + 1
            yield node.name, size - len((ast.get_docstring(node) or "").splitlines())


def test_functions_and_files_are_short() -> None:
    sizes = {(path.name, name): size for path in FILES for name, size in functions(path)}
    longest = max(sizes, key=lambda key: sizes[key])
    assert sizes[longest] <= 40, f"{longest} has {sizes[longest]} lines"
    assert sum(size <= 30 for size in sizes.values()) >= 0.9 * len(sizes)
    for path in FILES:
        assert len(path.read_text().splitlines()) <= 350, path.name


def test_no_file_of_odds_and_ends() -> None:
    odd = {"utils", "helpers", "common", "base", "misc"}
    assert not odd & {path.stem for path in FILES}


REGISTRIES: list[Registry[Any]] = [ATTACKS, DATA, DENOISERS, LOSSES, METHODS, NORMS, ZOO]


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.kind)
def test_every_registered_object_exists_and_is_what_its_registry_asks_for(
    registry: Registry[Any],
) -> None:
    assert registry.names
    for name in registry:
        assert registry.fits(registry[name]), f"{name} is not {registry.wanted}"


def test_every_command_of_the_table_exists() -> None:
    for name, load in COMMANDS.items():
        assert load().name == name


@pytest.mark.parametrize("name", recipe_files("models"))
def test_every_model_recipe_builds(name: str) -> None:
    recipe = model_recipe(name)
    net = build(recipe.spec, device=torch.device("meta"))
    x = torch.empty((2, 3, recipe.spec.px, recipe.spec.px), device="meta")
    assert net.eval()(x).shape == (2, recipe.spec.classes)
    assert recipe.spec.name == name, "a row is named by its flags"
    for data, settings in recipe.train.items():
        TrainSpec.of({"data": data, **settings}, name)


@pytest.mark.parametrize("name", recipe_files("attacks"))
def test_every_battery_parses(name: str) -> None:
    _, summary, command = next(row for row in batteries() if row[0] == name)
    assert summary
    if "transfer" in command:
        assert attacker_battery(name).attackers
    else:
        assert battery(name).attacks


def test_a_misspelt_key_in_a_recipe_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    row = tmp_path / "models" / "mine.toml"
    row.write_text('summary = "x"\n[model]\narch = "r20"\ndenoiser = "mean"\n')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FdbenchError, match=r"no key .* 'denoiser'. Did you mean 'denoise'"):
        model_recipe("mine")
    row.write_text("summary = \n")
    with pytest.raises(FdbenchError, match="is not a recipe"):
        model_recipe("mine")


def test_a_recipe_may_not_hide_another_of_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "r152.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FdbenchError, match="two recipes are named 'r152'"):
        recipe_files("models")
