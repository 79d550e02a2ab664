"""The description of a set of adversarial images, set.json. Free of torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fdbench.errors import FdbenchError
from fdbench.files import contents, parse_json, safe, write_atomically
from fdbench.specs import AttackerSpec, digest, parsed
from fdbench.store.run_json import DataInfo
from fdbench.store.sealing import sealed_json, unsealed
from fdbench.store.session import command_line, now
from fdbench.units import print_size

FORMAT = 1  # of set.json and of the index; a reader refuses any other
_LONGEST = 60  # characters of a set's name before its hash: the names of its runs carry it


@dataclass(frozen=True)
class Surrogate:
    """A network that the attackers had access to.

    `weights` is the sha256 of its parameters, `weight` its share of the ensemble.
    """

    name: str
    ref: str  # as given to --surrogate
    weights: str
    weight: float = 1.0


@dataclass(frozen=True)
class SetInfo:
    """How the images of a set were made: what set.json holds.

    `files` are the sha256 of what the attackers read besides the surrogates: a submission's folder,
    a trained generator, images made elsewhere.
    """

    title: str  # the battery, submission or folder; part of the name
    attackers: tuple[AttackerSpec, ...]
    surrogates: tuple[Surrogate, ...]
    data: DataInfo
    px: int
    eps: float
    seed: int
    images: int  # planned: the first ones of the data set
    environment: Mapping[str, str | int | None]
    norm: str = "linf"
    targets: str | None = None  # of a targeted set: "random", by its seed, or "given" and a digest
    files: Mapping[str, str] = field(default_factory=dict)
    started: str = field(default_factory=now)  # ISO 8601, UTC
    command: str = field(default_factory=command_line)  # as it was first typed
    warnings: tuple[str, ...] = ()
    format: int = FORMAT

    @property
    def identity(self) -> dict[str, object]:
        """Everything that can change a pixel.

        `images` is not part of it: a longer set continues a shorter one.
        """
        identity: dict[str, object] = {
            "attackers": [[one.name, one.method, dict(one.knobs)] for one in self.attackers],
            "surrogates": [[one.name, one.weights, one.weight] for one in self.surrogates],
            "data": [self.data.name, self.data.split, self.data.fingerprint],
            "px": self.px,
            "norm": self.norm,
            "eps": self.eps,
            "seed": self.seed,
            "files": dict(self.files),
        }
        if self.data.sample != "first":
            identity["sample"] = self.data.sample
        return identity if self.targets is None else identity | {"targets": self.targets}

    @property
    def digest(self) -> str:
        """16 hex digits, the hash of the identity."""
        return digest(self.identity)

    @property
    def name(self) -> str:
        """`caad2017-cifar10-linf-8-0123456789abcdef`, unless the user gives another."""
        size = print_size(self.eps, self.norm).split("/")[0]
        kind = [] if self.targets is None else ["t"]
        parts = (safe(self.title), safe(self.data.name), *kind, self.norm, size)
        return f"{'-'.join(parts)[:_LONGEST]}-{self.digest}"


def write_set_info(path: Path, info: SetInfo) -> None:
    """Writes a set.json, completely or not at all."""
    table = {"name": path.parent.name, "digest": info.digest, **asdict(info)}
    write_atomically(path, sealed_json(table))


def read_set_info(path: Path) -> SetInfo:
    """The SetInfo in a set.json. Raises FdbenchError if it is malformed or was edited."""
    try:
        written = dict(parse_json(contents(path)))
        derived = ("format", "name", "digest")  # the folder's name; the identity's digest
        version, _, of_identity = (written[key] for key in derived)
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as reason:
        raise FdbenchError(f"{path} is not a set's description: {reason!r}.") from reason
    if version != FORMAT:
        raise FdbenchError(f"{path} has format {version!r}; this fdbench reads format {FORMAT}.")
    where = str(path)
    remedy = f"Put back what fdbench wrote, or move {path.parent} away and make the set again."
    table = unsealed(written, path, remedy, old=True)
    table = {key: value for key, value in table.items() if key not in derived}
    table["data"] = parsed(DataInfo, table.get("data"), where)
    for key, cls in {"attackers": AttackerSpec, "surrogates": Surrogate}.items():
        rows = table.get(key) or []
        if not isinstance(rows, list):
            raise FdbenchError(f"{where}: {key} can't be {rows!r}: expected a list.")
        table[key] = [parsed(cls, row, f"{where}, {key}") for row in rows]
    info = parsed(SetInfo, table, where)
    if info.digest != of_identity:
        raise FdbenchError(f"{path} was edited: its digest no longer matches its content.")
    return info
