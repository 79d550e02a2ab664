"""The layout of results/: the only module of the store that spells these paths.

    results/checkpoints/NAME.safetensors, NAME.json       weights and their card
    results/checkpoints/NAME.resume                       an unfinished training
    results/attackers/NAME.safetensors, .json, .resume    the same for feed-forward attackers
    results/runs/RUN/                                     one model under one attack
        run.json, rows-RANK.jsonl                         its description, one line per image
        adv/SHARD.safetensors, png/READING/IMAGE.png      the adversarial images, if saved
        behaviour.safetensors                             what the network answers on some images
        scratch-RANK                                      the batch in progress
    results/archive/RUN/                                  a run that no report shows
    results/sets/SET/                                     adversarial images made once
        set.json, index-RANK.jsonl, adv/SHARD.safetensors
    results/doctor/*.json, .resume                        the doctor's findings; some of them
    results/*.md, *.csv, *.png, ...                       tables and figures

Free of torch.
"""

from dataclasses import dataclass
from pathlib import Path

from fdbench.files import below, entry

WEIGHTS = ".safetensors"
UNFINISHED = ".resume"


@dataclass(frozen=True)
class RunPaths:
    """The files of one run; none needs to exist."""

    folder: Path

    @property
    def description(self) -> Path:
        """The RunInfo (store/run_json.py)."""
        return self.folder / "run.json"

    def rows(self, rank: int) -> Path:
        """The rows of one process (store/rows.py)."""
        return self.folder / f"rows-{rank}.jsonl"

    def all_rows(self) -> list[Path]:
        """The existing rows files of all processes."""
        return sorted(self.folder.glob("rows-*.jsonl"))

    def rows_beyond(self, world: int) -> list[Path]:
        """The existing rows files that none of `world` processes writes."""
        return [path for path in self.all_rows() if path not in map(self.rows, range(world))]

    def notes(self, rank: int) -> Path:
        """What a process other than the first notes; the first one writes run.json."""
        return self.folder / f"notes-{rank}.json"

    def all_notes(self) -> list[Path]:
        """The existing notes of all processes but the first."""
        return sorted(self.folder.glob("notes-*.json"))

    @property
    def images(self) -> Path:
        """The folder of the shards of adversarial images (store/images.py)."""
        return self.folder / "adv"

    @property
    def pngs(self) -> Path:
        """The folder of the same images in whole pixels."""
        return self.folder / "png"

    def png(self, reading: str, image: int | str) -> Path:
        """One adversarial image in whole pixels; an id may name folders: `class/photo`."""
        return below(entry(self.pngs, reading), f"{image}.png")

    @property
    def behaviour(self) -> Path:
        """What the run's network answers on some images (evaluation/behaviour.py)."""
        return self.folder / f"behaviour{WEIGHTS}"

    @property
    def targets(self) -> Path:
        """The targets of a run that took them from a file (store/targets.py)."""
        return self.folder / "targets.json"

    def scratch(self, rank: int) -> Path:
        """One process's intermediate results of its current batch (store/scratch.py)."""
        return self.folder / f"scratch-{rank}"

    def all_scratch(self) -> list[Path]:
        """The existing intermediate results of all processes."""
        return sorted(self.folder.glob("scratch-*"))


@dataclass(frozen=True)
class SetPaths:
    """The files of one set of adversarial images; none needs to exist."""

    folder: Path

    @property
    def description(self) -> Path:
        """The SetInfo (store/set_json.py)."""
        return self.folder / "set.json"

    def index(self, rank: int) -> Path:
        """The index lines of one process (store/set_index.py)."""
        return self.folder / f"index-{rank}.jsonl"

    def all_indices(self) -> list[Path]:
        """The existing index files of all processes."""
        return sorted(self.folder.glob("index-*.jsonl"))

    def indices_beyond(self, world: int) -> list[Path]:
        """The existing index files that none of `world` processes writes."""
        return [path for path in self.all_indices() if path not in map(self.index, range(world))]

    @property
    def images(self) -> Path:
        """The folder of the shards of images (store/images.py)."""
        return self.folder / "adv"


@dataclass(frozen=True)
class Workspace:
    """A results folder; nothing in it needs to exist."""

    root: Path

    @classmethod
    def of(cls, where: "Workspace | Path") -> "Workspace":
        """The workspace, given as such or as its folder."""
        return where if isinstance(where, Workspace) else cls(where)

    @property
    def runs(self) -> Path:
        """The folder with one folder per run."""
        return self.root / "runs"

    @property
    def sets(self) -> Path:
        """The folder with one folder per set of adversarial images."""
        return self.root / "sets"

    @property
    def doctor(self) -> Path:
        """The folder with the doctor's findings."""
        return self.root / "doctor"

    @property
    def checkpoints(self) -> Path:
        """The folder with networks trained or imported here."""
        return self.root / "checkpoints"

    @property
    def attackers(self) -> Path:
        """The folder with feed-forward attackers trained here."""
        return self.root / "attackers"

    def checkpoint(self, name: str) -> Path:
        """The weights of a network; its card is next to them."""
        return entry(self.checkpoints, f"{name}{WEIGHTS}")

    def unfinished(self, name: str) -> Path:
        """The state that an unfinished training continues from."""
        return entry(self.checkpoints, f"{name}{UNFINISHED}")

    def attacker(self, name: str) -> Path:
        """The weights of a feed-forward attacker."""
        return entry(self.attackers, f"{name}{WEIGHTS}")

    def unfinished_attacker(self, name: str) -> Path:
        """The state that an unfinished training of a feed-forward attacker continues from."""
        return entry(self.attackers, f"{name}{UNFINISHED}")

    def run(self, name: str) -> Path:
        """The folder of a run; RunPaths names the files in it."""
        return entry(self.runs, name)

    def archived(self, name: str) -> Path:
        """The folder of a run that no report shows."""
        return entry(self.root / "archive", name)

    def adversarial_set(self, name: str) -> Path:
        """The folder of a set of adversarial images; SetPaths names the files in it."""
        return entry(self.sets, name)

    def findings(self, name: str) -> Path:
        """The doctor's findings about one network on one data set under one threat."""
        return entry(self.doctor, f"{name}.json")

    def unfinished_findings(self, name: str) -> Path:
        """The checks that an unfinished examination has done."""
        return entry(self.doctor, f"{name}{UNFINISHED}")

    def table(self, name: str) -> Path:
        """A table or figure of the report."""
        return below(self.root, name)

    def weights(self) -> dict[str, Path]:
        """The weights of all networks in this workspace, by name."""
        return {path.stem: path for path in sorted(self.checkpoints.glob(f"*{WEIGHTS}"))}

    def cards(self) -> list[Path]:
        """The cards of networks trained or imported here, also of those whose weights are gone."""
        return sorted(self.checkpoints.glob("*.json"))

    def all_runs(self) -> list[Path]:
        """The folders of all runs, by name; a new one may not have a run.json yet."""
        return sorted(path for path in self.runs.glob("*/"))

    def described_runs(self) -> list[str]:
        """The names of all runs that have a run.json."""
        return sorted(path.parent.name for path in self.runs.glob("*/run.json"))

    def described_sets(self) -> list[str]:
        """The names of all sets that have a set.json."""
        return sorted(path.parent.name for path in self.sets.glob("*/set.json"))

    def all_findings(self) -> list[Path]:
        """All findings of the doctor, by file name."""
        return sorted(self.doctor.glob("*.json"))
