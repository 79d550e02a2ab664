"""Finds and reads models/*.toml and attacks/*.toml. Commands read recipes and never write them.

Other installed packages and the working directory add theirs to fdbench's own, in folders of the
same names. No two may share a name: a row that silently means something else is worse than an
error.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from fdbench.errors import BadValue, FdbenchError, unknown
from fdbench.files import contents
from fdbench.registry import Registry
from fdbench.specs.attack import AttackerSpec, AttackSpec
from fdbench.specs.model import ModelSpec
from fdbench.specs.parsing import parsed
from fdbench.specs.plain import pick
from fdbench.specs.training import TrainSpec, settled

_PACKAGE = Path(__file__).parent.parent

# Packages whose folders models/ and attacks/ hold recipes.
RECIPES: Registry[ModuleType] = Registry(
    kind="package of recipes",
    group="fdbench.recipes",
    built_in={},
    fits=lambda offered: isinstance(offered, ModuleType) and hasattr(offered, "__path__"),
    wanted="a package with the folders models/ or attacks/",
)


@dataclass(frozen=True)
class Published:
    """One published number and the exact conditions it was measured under.

    A table shows it beside a measurement only where all of them agree. `accuracy` and `success` are
    in percent; `iters` 0 is the clean image, None an attack without a budget. `trained` says on
    what images the network was: "adversarial" or "clean".
    """

    data: str
    accuracy: float
    source: str
    iters: int | None = None
    success: float | None = None
    attack: str = "pgd"
    norm: str = "linf"
    eps: str = "16/255"
    targeted: bool = True
    trained: str = "adversarial"

    def __post_init__(self) -> None:
        pick("training", self.trained, ("adversarial", "clean"))
        if self.attack == "pgd" and self.iters is None:
            raise BadValue(f"a published number of PGD needs its iters: {self.source}.")


@dataclass(frozen=True)
class ModelRecipe:
    """A row of models/: a network, how it is trained on each data set, what was published."""

    name: str
    spec: ModelSpec
    summary: str
    train: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # data set -> settings
    published: tuple[Published, ...] = ()
    weights: str = ""  # where trained weights are published, if anywhere


@dataclass(frozen=True)
class TrainingRecipe:
    """A file of models/training/: settings of a training, and where they come from."""

    name: str
    summary: str
    sources: tuple[str, ...]
    train: Mapping[str, Any]


@dataclass(frozen=True)
class Battery:
    """A file of attacks/: attacks that are run together."""

    name: str
    summary: str
    attacks: tuple[AttackSpec, ...]


@dataclass(frozen=True)
class AttackerBattery:
    """A file of attacks/ for the black box: attackers that are scored together."""

    name: str
    summary: str
    attackers: tuple[AttackerSpec, ...]


def _folders(kind: str) -> list[Path]:
    in_checkout = (_PACKAGE.parent / "pyproject.toml").is_file()
    home = (_PACKAGE.parent if in_checkout else _PACKAGE) / kind  # a wheel has them inside
    offered = [Path(folder) / kind for name in RECIPES for folder in RECIPES[name].__path__]
    local = Path.cwd() / kind
    return [home, *offered] + ([local] if local.resolve() != home.resolve() else [])


def recipe_files(kind: str) -> dict[str, Path]:
    """Recipe files of `kind` ("models" or "attacks") by name."""
    files: dict[str, Path] = {}
    for folder in _folders(kind):
        for path in sorted(folder.glob("*.toml")):
            if path.stem in files:
                raise FdbenchError(
                    f"two recipes are named {path.stem!r}: {files[path.stem]}, {path}"
                )
            files[path.stem] = path
    return files


def _read(kind: str, noun: str, name: str) -> tuple[dict[str, Any], Path]:
    known = recipe_files(kind)
    if name not in known:
        hint = f"Rows live in {kind}/; `fdbench list {kind}` shows all {len(known)}."
        raise unknown(noun, name, known, hint)
    try:
        return tomllib.loads(contents(known[name]).decode()), known[name]
    except (OSError, ValueError, RecursionError) as reason:
        raise FdbenchError(f"{known[name]} is not a recipe: {reason}") from reason


def _take(table: dict[str, Any], key: str, where: Path) -> Any:
    if key not in table:
        raise FdbenchError(f"{where} lacks {key!r}: see {where.parent.name}/README.md")
    return table.pop(key)


def _take_list(table: dict[str, Any], key: str, where: Path) -> list[Any]:
    rows = _take(table, key, where)
    if not isinstance(rows, list):
        raise FdbenchError(f"{where}: {key} must be a list of tables, [[{key}]], not {rows!r}.")
    return rows


def model_recipe(name: str) -> ModelRecipe:
    """The model row of that name. Raises FdbenchError for an unknown or malformed one."""
    table, path = _read("models", "model", name)
    where = str(path)
    spec = ModelSpec.of(_take(table, "model", path), where)
    rows = _take_list({"published": [], **table}, "published", path)
    table.pop("published", None)
    published = [parsed(Published, row, f"{where}, published") for row in rows]
    parts = {"name": name, "spec": spec, "published": published}
    recipe = parsed(ModelRecipe, {**table, **parts}, where)
    for data, settings in recipe.train.items():  # refused here, not when it is used
        TrainSpec.of({"data": data, **settings}, f"{where}, train.{data}")
    return recipe


_TRAINING = "models/training"


def training_recipes() -> tuple[str, ...]:
    """The names of the recipes that `--recipe` takes."""
    return tuple(sorted(recipe_files(_TRAINING)))


def training_recipe(name: str) -> TrainingRecipe:
    """The training recipe of that name. Raises FdbenchError for an unknown or malformed one."""
    table, path = _read(_TRAINING, "recipe", name)
    recipe = parsed(TrainingRecipe, {**table, "name": name}, str(path))
    TrainSpec.of(settled(recipe.train, "fp32"), f"{path}, train")
    return recipe


_KINDS = {  # what a battery's tables are called: the command that runs it
    "attack": "fdbench attack suite",
    "attacker": "fdbench attack transfer --attackers",
}


def _kind(table: Mapping[str, Any], path: Path) -> str:
    for kind in _KINDS:
        if kind in table:
            return kind
    raise FdbenchError(f"{path} has neither [[attack]] nor [[attacker]]: see attacks/README.md")


def _battery(name: str, kind: str) -> tuple[dict[str, Any], Path]:
    """The battery's table, if it is of that kind; else an error that names the right command."""
    table, path = _read("attacks", "battery", name)
    actual = _kind(table, path)
    if actual != kind:
        raise BadValue(f"{name} is another kind of battery.\nRun it: {_KINDS[actual]} {name}")
    return table, path


def batteries() -> list[tuple[str, str, str]]:
    """Name, summary and command of every battery."""
    tables = [(name, *_read("attacks", "battery", name)) for name in recipe_files("attacks")]
    return [
        (name, str(table.get("summary", "")), f"{_KINDS[_kind(table, path)]} {name}")
        for name, table, path in tables
    ]


def battery(name: str) -> Battery:
    """The battery of that name. Raises FdbenchError for an unknown or malformed one."""
    table, path = _battery(name, "attack")
    attacks = [AttackSpec.of(row, str(path)) for row in _take_list(table, "attack", path)]
    return parsed(Battery, {**table, "name": name, "attacks": attacks}, str(path))


def attacker_battery(name: str) -> AttackerBattery:
    """The battery of black-box attackers of that name. Raises FdbenchError as `battery` does."""
    table, path = _battery(name, "attacker")
    rows = [AttackerSpec.of(row, str(path)) for row in _take_list(table, "attacker", path)]
    names = [one.name for one in rows]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise FdbenchError(f"{path} names an attacker twice: {', '.join(twice)}.")
    return parsed(AttackerBattery, {**table, "name": name, "attackers": rows}, str(path))
