"""Where things lie under results/: the only module that spells these paths. Free of torch.

results/checkpoints/NAME.safetensors, NAME.json   weights and their card
results/checkpoints/NAME.resume                   a training that is not finished
results/attackers/NAME.safetensors, .json, .resume   the same for feed-forward attackers
results/runs/RUN/                                 one network under one attack (store/runs.py)
results/sets/SET/                                 adversarial images made once (store/setfolder.py)
results/doctor/*.json                             the doctor's findings
results/*.md, *.csv, *.png, ...                   tables and figures
"""

from dataclasses import dataclass
from pathlib import Path

WEIGHTS = ".safetensors"
UNFINISHED = ".resume"


@dataclass(frozen=True)
class Workspace:
    """A results folder; nothing in it needs to exist."""

    root: Path

    @property
    def runs(self) -> Path:
        """The folder with one folder a run."""
        return self.root / "runs"

    @property
    def sets(self) -> Path:
        """The folder with one folder a set of adversarial images."""
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
        """The weights of a network; its card lies beside them."""
        return self.checkpoints / f"{name}{WEIGHTS}"

    def unfinished(self, name: str) -> Path:
        """What an unfinished training continues from."""
        return self.checkpoints / f"{name}{UNFINISHED}"

    def attacker(self, name: str) -> Path:
        """The weights of a feed-forward attacker."""
        return self.attackers / f"{name}{WEIGHTS}"

    def unfinished_attacker(self, name: str) -> Path:
        """What an unfinished training of a feed-forward attacker continues from."""
        return self.attackers / f"{name}{UNFINISHED}"

    def run(self, name: str) -> Path:
        """The folder of a run."""
        return self.runs / name

    def adversarial_set(self, name: str) -> Path:
        """The folder of a set of adversarial images."""
        return self.sets / name

    def table(self, name: str) -> Path:
        """A table or figure of the report."""
        return self.root / name

    def weights(self) -> dict[str, Path]:
        """The weights of all networks here, by name."""
        return {path.stem: path for path in sorted(self.checkpoints.glob(f"*{WEIGHTS}"))}
