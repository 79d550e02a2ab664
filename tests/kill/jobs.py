"""The long jobs of fdbench, each small enough to be run hundreds of times."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import nn

Pixels = npt.NDArray[np.uint8]

PX, CLASSES = 16, 5
_NETS = "from jobs import load\n"
_ONE = """summary = "One method, or two"
[[attacker]]
name = "coin"
method = "noise"
"""
_GENERATOR = """[[attacker]]
name = "painted"
method = "generator"
"""
_ENTRY = """#!/bin/sh
cp "$1"/*.png "$2"/
"""


@dataclass(frozen=True)
class Job:
    """A command line, what has to be there before, and whether several processes share it."""

    words: str
    prepare: Callable[[Path], None] | None = None  # besides networks and data
    first: tuple[str, ...] = ()  # command lines that come before
    shared: bool = False


class Linear(nn.Module):
    """Logits are products with a pattern of -1 and 1 for each class, in pixels."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.px = PX
        noise = torch.randn((CLASSES, 3 * PX * PX), generator=torch.Generator().manual_seed(seed))
        # Without noise gradients would cancel, and their signs depend on rounding.
        self.weight = nn.Parameter(255 * (patterns() + 0.3 * noise) / (3 * PX * PX))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - 0.5).flatten(1) @ self.weight.T


def patterns() -> torch.Tensor:
    """The pattern of each class."""
    rng = torch.Generator().manual_seed(0)
    return torch.randint(0, 2, (CLASSES, 3 * PX * PX), generator=rng).float() * 2 - 1


def load(seed: str = "0") -> nn.Module:
    """The network of nets.py; another seed adds noise to its weights."""
    return Linear(int(seed)).eval().requires_grad_(False)


def _images(count: int) -> Pixels:
    """Images of the classes in turn, in fainter and fainter patterns: half withstand 8/255."""
    size = np.linspace(24, 3, count)[:, None]
    x = 128 + size * patterns()[torch.arange(count) % CLASSES].numpy()
    return x.reshape(count, 3, PX, PX).transpose(0, 2, 3, 1).astype(np.uint8)


def _entries(folder: Path) -> None:
    """A submission, and two batteries."""
    (folder / "copier").mkdir()
    (folder / "copier" / "metadata.json").write_text(json.dumps({"type": "attack"}))
    script = folder / "copier" / "run_attack.sh"
    script.write_text(_ENTRY)
    script.chmod(0o755)
    (folder / "attacks").mkdir()
    (folder / "attacks" / "one.toml").write_text(_ONE)
    (folder / "attacks" / "two.toml").write_text(f"{_ONE}\n{_GENERATOR}")


def _photos(folder: Path) -> None:
    (folder / "in").mkdir()
    for i, one in enumerate(_images(6)):
        Image.fromarray(one).save(folder / "in" / f"{i}.png")


def furnish(folder: Path, job: Job) -> None:
    """Puts a network, a data set and the job's own files into an empty folder."""
    (folder / "nets.py").write_text(_NETS)
    (folder / "data").mkdir()
    for part, count in (("train", 24), ("test", 8)):
        labels = np.arange(count) % CLASSES
        np.savez(folder / "data" / f"{part}.npz", x=_images(count), y=labels)
    if job.prepare:
        job.prepare(folder)


_HERE = "--device cpu --threads 1"
_ON = f"--data npz:data {_HERE}"
_ATTACK = f"--model nets.py:load {_ON} --eps 8/255 --batch-size 3 --limit 6"
JOBS = {
    "pgd": Job(f"attack pgd --iters 1,2 --untargeted --save-adv png {_ATTACK}", shared=True),
    "autoattack": Job(f"attack autoattack --only apgd-ce,fab,square {_ATTACK}", shared=True),
    "sigma-zero": Job(
        "attack sigma-zero --iters 3 --model nets.py:load --eps 4,9 --batch-size 3 --limit 6 "
        f"{_ON}",
        shared=True,
    ),
    "foolbox": Job(
        "attack foolbox --attack LinfProjectedGradientDescentAttack --set steps=2 --save-adv "
        f"float {_ATTACK}",
        shared=True,
    ),
    "transfer": Job(
        "attack transfer --surrogate nets.py:load?seed=1 --attackers two --submission copier "
        f"--make S {_ATTACK} --limit 4",
        _entries,
    ),
    "compare": Job(
        "compare nets.py:load nets.py:load?seed=1 --until-decided --attack pgd --set iters=2 "
        f"--eps 8/255 --batch-size 3 --limit 6 {_ON}"
    ),
    "set": Job(
        f"attack transfer --surrogate nets.py:load?seed=1 --attackers one --make S {_ATTACK}",
        _entries,
        shared=True,
    ),
    "train": Job(
        "train --arch r20 --width 2 --epochs 2 --batch-size 12 --attack-iters 1 --probe-iters 1 "
        f"--eps 8/255 --name n {_ON}"
    ),
    "train-pieces": Job(
        "train --arch r20 --width 2 --epochs 1 --batch-size 12 --accumulate 3 --attack-iters 1 "
        f"--probe-iters 1 --eps 8/255 --name n {_ON}"
    ),
    "train-attacker": Job(
        "train-attacker --surrogate nets.py:load --epochs 2 --batch-size 12 --name g "
        f"--eps 8/255 {_ON}"
    ),
    "classify": Job(f"classify --model nets.py:load in out.csv --batch-size 2 {_HERE}", _photos),
    "report": Job(
        "report",
        first=(
            f"attack pgd --iters 1,2 --untargeted --save-adv float {_ATTACK}",
            f"attack autoattack --only apgd-ce {_ATTACK}",
        ),
    ),
}
