"""Security curves in l2 and l0 beside attacks that search for the smallest perturbation.

    python benchmarks/smallest.py --model r20 --data npz:cifar10 [--norms l2 l0] [--limit 100]

Ours attack at eight radii in one run: the fast verdict in l2, sigma-zero in l0. The others are
Foolbox's (Rauber et al. 2020), DDN and FMN, each with a hundred and a thousand iterations; at a
radius, they leave the images whose smallest perturbation is longer. Foolbox 3.3.4's l2 FMN never
projects (its factor divides a length by itself); `FMN` is the same with the projection that the
paper describes. All judge in float32. Passes are forward and backward passes of one image, each
counted once, divided by the images that were right before; seconds are CPU seconds of one thread.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pandas import DataFrame
from table import TABLES, show, write

import fdbench
from fdbench.evaluation import Watched
from fdbench.models import Model, open_model
from fdbench.reporting.security import median_perturbation
from fdbench.store import Workspace
from fdbench.threat import Threat
from fdbench.types import Batch
from fdbench.verdict import predict

RADII = {
    "l2": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0),
    "l0": (3.0, 6.0, 12.0, 18.0, 24.0, 36.0, 48.0, 72.0),
}
STEPS = (100, 1000)
RIVALS = {"l2": ("DDNAttack", "L2FMNAttack", "FMN"), "l0": ("L0FMNAttack",)}


@dataclass(frozen=True)
class Outcome:
    """Robust images at each radius, and the cost of all of them."""

    robust: tuple[int, ...]
    passes: float
    seconds: float


def projecting_fmn() -> type[Any]:
    """Foolbox's FMN in l2 with a projection onto the ball (Pintor et al. 2021, Algorithm 1)."""
    from foolbox.attacks import L2FMNAttack

    class FMN(L2FMNAttack):
        def project(self, x: Any, x0: Any, epsilon: Any) -> Any:
            delta = (x - x0).raw
            length = delta.flatten(1).norm(dim=1).clamp(min=1e-12)
            factor = (epsilon.raw / length).clamp(max=1)[:, None, None, None]
            return type(x0)(x0.raw + factor * delta)

    return FMN


@dataclass(frozen=True)
class Case:
    """A network and its images."""

    model: Model
    data: str
    limit: int

    def batch(self) -> Batch:
        """The images that the network gets right."""
        images = fdbench.open_data(self.data)
        batch = images.fetch(range(self.limit))
        right = (predict(self.model.net, batch.x) == batch.label).nonzero()[:, 0]
        return images.fetch(right.tolist())

    def ours(self, norm: str, **parameters: Any) -> Outcome:
        """A security curve, as a user has it."""
        began = time.process_time()
        with tempfile.TemporaryDirectory() as results:
            runs = fdbench.security_curve(
                self.model.net, self.data, RADII[norm], norm=norm, limit=self.limit,
                results=results, device="cpu", **parameters,
            )  # fmt: skip
            rows = [run.rows for run in runs]  # read while the folder is there
        robust = tuple(
            sum(all(pred == row["label"] for pred in row["pred"].values()) for row in some)
            for some in rows
        )
        passes = sum(row["passes"] for some in rows for row in some)
        right = sum(row["clean"] == row["label"] for row in rows[0])
        return Outcome(robust, passes / right, time.process_time() - began)

    def rival(self, norm: str, name: str, steps: int) -> Outcome:
        """One search of Foolbox's, whose lengths are held against every radius."""
        import foolbox

        net, batch = Watched(self.model.net.requires_grad_(False)).eval(), self.batch()
        kinds = {"FMN": projecting_fmn()}
        attack = (kinds.get(name) or getattr(foolbox.attacks, name))(steps=steps)
        wrong = foolbox.criteria.Misclassification(batch.label)
        began = time.process_time()
        found = attack(foolbox.PyTorchModel(net, bounds=(0, 1)), batch.x, wrong, epsilons=None)[1]
        seconds = time.process_time() - began
        broken = predict(self.model.net, found) != batch.label
        length = torch.where(broken, Threat(norm, 1.0).distance(found, batch.x), torch.inf)
        robust = tuple(int((length > radius).sum()) for radius in RADII[norm])
        passes = net.facts()["passes"]
        assert isinstance(passes, int)
        return Outcome(robust, passes / len(batch.ids), seconds)


def lines(case: Case, norm: str) -> list[dict[str, str | int | float]]:
    """A line for each attack: its robust accuracy at each radius."""
    sides = {
        "fast": partial(case.ours, norm),
        "fast without guard": partial(case.ours, norm, guard=False),
    }
    if norm == "l0":
        sides = {f"sigma-zero-{steps}": partial(case.ours, norm, iters=steps) for steps in STEPS}
    for name in RIVALS[norm]:
        sides |= {f"{name}-{steps}": partial(case.rival, norm, name, steps) for steps in STEPS}
    right, table = len(case.batch().ids), []
    for name, run in sides.items():
        one = run()
        median = median_perturbation(RADII[norm], one.robust, right)[0]
        line: dict[str, str | int | float] = {
            "model": case.model.name,
            "norm": norm,
            "attack": name,
            "n": case.limit,
            "clean": right,
            "passes": round(one.passes),
            "seconds": round(one.seconds, 1),
            "median": "" if median is None else round(median, 3),
            "robust": " ".join(map(str, one.robust)),
            "radii": " ".join(f"{radius:g}" for radius in RADII[norm]),
        }
        show(line)
        table.append(line)
    return table


def main() -> None:
    """Prints the table and writes it."""
    parser = argparse.ArgumentParser(description="Curves beside searches for the smallest.")
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--norms", nargs="+", choices=RADII, default=list(RADII))
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--output", type=Path, default=TABLES / "smallest.csv")
    given = parser.parse_args()
    torch.set_num_threads(1)
    model = open_model(given.model, Workspace(given.results))
    case = Case(model, given.data, given.limit)
    table = [line for norm in given.norms for line in lines(case, norm)]
    write(DataFrame(table), given.output, "cpu")


if __name__ == "__main__":
    main()
