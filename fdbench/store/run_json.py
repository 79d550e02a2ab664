"""The description of a run, run.json. Free of torch."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fdbench.errors import BadValue, FdbenchError
from fdbench.files import contents, entry, parse_json, safe, write_atomically
from fdbench.specs import AttackSpec, Parameters, TransferParameters, check_of, digest, parsed
from fdbench.store.sealing import sealed_json, unsealed
from fdbench.store.session import command_line, now

FORMAT = 4  # of run.json and of the rows next to it
_READABLE = (1, 2, 3, FORMAT)  # 1 stores PGD's parameters next to the threat, for every attack
_LIMIT_IN_NAME = 2  # up to this format, a larger --limit began another run
_UNSEALED = 3  # up to this format, rows are not bound to their run, nor run.json to itself
_LONGEST = 100  # characters of a run's name before its hash; file systems allow 255 in all


@dataclass(frozen=True)
class ModelInfo:
    """The network that was judged; `weights` is the sha256 of its parameters, in hex."""

    name: str
    ref: str  # as given to --model
    weights: str
    spec: Mapping[str, object] | None = None  # None: not one of our networks
    train: Mapping[str, object] | None = None  # how it was trained, if its card has that
    preprocessing: str = ""  # applied to images first; not part of the hash `weights`


@dataclass(frozen=True)
class DataInfo:
    """The data set; `count` is the size of the whole split, not only of the run's images.

    `sample` is the order from which a run takes its first images (data/sampling.py).
    """

    name: str
    split: str
    fingerprint: str
    classes: int
    count: int
    sample: str = "first"
    px: int | None = None  # the side of its images; None: made by an earlier version


@dataclass(frozen=True)
class RunInfo:
    """One network under one attack on one data set: what run.json holds.

    `further` is anything else that changes a verdict, such as the sources of a transfer attack or
    the batch size of an attack that draws its random numbers per batch. `found` changes none: it
    records how an open choice (--precision auto) was settled, and why.
    """

    model: ModelInfo
    data: DataInfo
    attack: AttackSpec
    seed: int
    precision: str
    images: int  # planned
    limit: int | None
    batch_size: int | None  # None: as large as memory allowed
    environment: Mapping[str, str | int | None]
    further: Mapping[str, Any] = field(default_factory=dict)
    started: str = field(default_factory=now)  # ISO 8601, UTC
    command: str = field(default_factory=command_line)  # as it was first typed
    seconds: float = 0.0  # wall time, summed over resumes
    warnings: tuple[str, ...] = ()
    found: Mapping[str, Any] = field(default_factory=dict)  # settled before the attack
    format: int = FORMAT

    @property
    def identity(self) -> dict[str, object]:
        """Everything that can change a verdict; batch size, device and rank do not (C3).

        A run of more images of the same sample continues one of fewer.
        """
        is_ours = self.model.spec is not None or not self.model.preprocessing
        return {
            "weights": self.model.weights,
            **({} if is_ours else {"preprocessing": self.model.preprocessing}),
            "data": [self.data.name, self.data.split, self.data.fingerprint],
            **self._which,
            "attack": self.attack.identity,
            "seed": self.seed,
            "precision": self.precision,
            "further": dict(self.further),
        }

    @property
    def _which(self) -> dict[str, object]:
        """The images a run may have, as its identity holds them."""
        if self.format <= _LIMIT_IN_NAME:
            return {"limit": self.limit}
        return {"sample": self.data.sample}

    @property
    def key(self) -> str:
        """What binds a row's check to this run; empty in the formats that did not bind them."""
        return "" if self.format <= _UNSEALED else digest(self.identity)

    @property
    def name(self) -> str:
        """`r20-nonlocal-gauss-cifar10-pgd-100-u-linf-8-0123456789abcdef`."""
        parts = (safe(self.model.name), safe(self.data.name), safe(self.attack.name))
        return f"{'-'.join(parts)[:_LONGEST]}-{digest(self.identity)}"


def _wrong(reason: Exception) -> str:
    """What is wrong with a table that can't be read."""
    return f"it has no {reason}" if isinstance(reason, KeyError) else str(reason)


def read_info(path: Path) -> RunInfo:
    """The RunInfo in a run.json.

    Raises FdbenchError, naming the file, if it is malformed, SanityFailed if it was edited.
    """
    try:
        written = parse_json(contents(path))
        table = dict(written)
        version = table.pop("format")
        del table["name"]  # derived
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as reason:
        raise FdbenchError(
            f"{path} is not a run's description: {_wrong(reason)}.\n"
            f"Move {path.parent} away and run the attack again."
        ) from reason
    if version not in _READABLE:
        readable = " and ".join(map(str, _READABLE))
        raise FdbenchError(f"{path} has format {version!r}; this fdbench reads {readable}.")
    if version > _UNSEALED:
        remedy = f"Put back what fdbench wrote, or move {path.parent} away and attack again."
        unsealed(written, path, remedy, old=False)
        del table["check"]
    parts = {"model": ModelInfo, "data": DataInfo}
    for key, cls in parts.items():
        table[key] = parsed(cls, table.get(key), f"{path}, {key}")
    table["attack"] = AttackSpec.of(table.get("attack"), f"{path}, attack")
    table["format"] = version
    _check_set(path, table["attack"].parameters)
    info = parsed(RunInfo, table, str(path))
    check_found(info.found, str(path))
    return info


# What RunInfo.found may hold, by the code that records it.
_FOUND: dict[str, object] = {
    "observed": dict[str, int | float],  # evaluation/observation.py
    "network": dict[str, int | bool],  # outputs, draws; random, optimises
    "sanity": list[str],
    "behaviour": str,  # evaluation/behaviour.py, seal
    "precision": dict[str, Any],
    "save_adv": str | None,
}


def check_found(found: Mapping[str, Any], where: str) -> None:
    """Raises FdbenchError for a value in RunInfo.found that no version of fdbench writes."""
    for key, value in found.items():
        if key in _FOUND and not check_of(_FOUND[key])(value):
            raise FdbenchError(f"{where}: found, {key} can't be {value!r}.")


def _check_set(path: Path, parameters: Parameters) -> None:
    """Raises FdbenchError if a transfer run names a set that can't be in the sets' folder."""
    if isinstance(parameters, TransferParameters):
        try:
            entry(path.parent, str(parameters.set))
        except BadValue as reason:
            raise FdbenchError(f"{path} names a set that can't exist: {reason.message}") from reason


def write_info(path: Path, info: RunInfo) -> None:
    """Writes `info` to a run.json, completely or not at all."""
    table = {"name": info.name, **asdict(info), "attack": info.attack.plain}
    sealed = info.format > _UNSEALED
    write_atomically(path, sealed_json(table) if sealed else json.dumps(table, indent=2) + "\n")
