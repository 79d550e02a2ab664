"""Find and read models/*.toml and attacks/*.toml. Recipes are read, never written, by commands.

The packaged ones come first; a `models/` or `attacks/` folder in the working directory adds to them
(and may not repeat a name: a row that silently means something else is worse than an error).
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fdbench.errors import BadValue, FdbenchError, unknown
from fdbench.specs import AttackSpec, ModelSpec, pick, strict

_PACKAGE = Path(__file__).parent


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
    weights: str = ""  # where somebody else's trained weights are, if they are anywhere


@dataclass(frozen=True)
class Battery:
    """A file of attacks/: attacks that are run together."""

    name: str
    summary: str
    attacks: tuple[AttackSpec, ...]


def _folders(kind: str) -> list[Path]:
    packaged = _PACKAGE / kind  # in a wheel, recipes lie beside their code
    checkout = _PACKAGE.parent / kind
    home = checkout if (_PACKAGE.parent / "pyproject.toml").is_file() else packaged
    here = Path.cwd() / kind
    return [home] + ([here] if here.is_dir() and here.resolve() != home.resolve() else [])


def files(kind: str) -> dict[str, Path]:
    """Recipe files of `kind` ("models" or "attacks") by name."""
    found: dict[str, Path] = {}
    for folder in _folders(kind):
        for path in sorted(folder.glob("*.toml")):
            if path.stem in found:
                raise FdbenchError(
                    f"two recipes are named {path.stem!r}: {found[path.stem]}, {path}"
                )
            found[path.stem] = path
    return found


def _read(kind: str, noun: str, name: str) -> tuple[dict[str, Any], Path]:
    known = files(kind)
    if name not in known:
        hint = f"Rows live in {kind}/; `fdbench list {kind}` shows all {len(known)}."
        raise unknown(noun, name, known, hint)
    try:
        return tomllib.loads(known[name].read_text()), known[name]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as reason:
        raise FdbenchError(f"{known[name]} is not a recipe: {reason}") from reason


def _take(table: dict[str, Any], key: str, where: Path) -> Any:
    if key not in table:
        raise FdbenchError(f"{where} lacks {key!r}: see {where.parent.name}/README.md")
    return table.pop(key)


def model(name: str) -> ModelRecipe:
    """The model row of that name. Raises FdbenchError for an unknown or malformed one."""
    table, path = _read("models", "model", name)
    where = str(path)
    spec = ModelSpec.of(_take(table, "model", path), where)
    published = tuple(
        Published(**strict(Published, row, where)) for row in table.pop("published", [])
    )
    return ModelRecipe(name, spec, published=published, **strict(ModelRecipe, table, where))


def battery(name: str) -> Battery:
    """The battery of that name. Raises FdbenchError for an unknown or malformed one."""
    table, path = _read("attacks", "battery", name)
    attacks = tuple(AttackSpec.of(row, str(path)) for row in _take(table, "attack", path))
    return Battery(name, attacks=attacks, **strict(Battery, table, str(path)))
