"""What the sanity gate costs: whole PGD runs with it and without it, in turn.

    python benchmarks/gate.py [--model r20] [--data fashion-mini] [--limit 500] [--rounds 7]
    python benchmarks/gate.py --sound A B C --data npz:cifar10 --limit 200

Without the gate, the network is not watched, no facts are counted and nothing is judged; all else
of a run stays, its rows and its behaviour fingerprint included. The two sides take turns in one
process; the ratio is of medians, beside the spread of the sides themselves. `--sound` runs PGD-20
on sound networks instead and writes what the gate says of each: nothing, if it is right.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from pandas import DataFrame
from table import TABLES, show, write
from torch import nn

from fdbench.attacks import ATTACKS
from fdbench.data import Dataset, open_data
from fdbench.evaluation import Evaluation, evaluate, loop, session
from fdbench.machine import keep_freed, start_torch
from fdbench.models import Model, build, in_memory_model, open_model
from fdbench.specs import AttackSpec, ModelSpec, PGDParameters
from fdbench.store import Workspace, read_run
from fdbench.types import Labels

Line = dict[str, str | int | float]
SPEC = AttackSpec("pgd", "linf", 8 / 255, parameters=PGDParameters(iters=(20,)))


class Unwatched(nn.Module):
    """The attacked network, as it is."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.forward = net.forward

    def begin(self, label: Labels) -> None:
        """Nothing to forget."""


def _nothing(*_: Any) -> None:
    return None


def _without_gate(run: Callable[[Path], Path], results: Path) -> Path:
    with ExitStack() as stack:
        stack.enter_context(patch.object(loop, "Watched", Unwatched))
        stack.enter_context(patch.object(session, "facts_of", lambda *_: {}))
        stack.enter_context(patch.object(session.Session, "_observe", _nothing))
        stack.enter_context(patch.object(loop, "_show_findings", lambda *_: []))
        return run(results)


def attacked(model: Model, data: Dataset, limit: int, device: torch.device, results: Path) -> Path:
    """Runs PGD-20 in batches of 125, and returns the run's folder."""
    job = Evaluation(
        model, data, ATTACKS["pgd"], SPEC, Workspace(results), device, limit=limit, batch_size=125
    )
    return evaluate(job, lambda text: None)


def _seconds(run: Callable[[Path], Path]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        run(Path(folder))
        return time.perf_counter() - began


def cost(model: Model, data: Dataset, limit: int, device: torch.device, rounds: int) -> Line:
    """The line of the table."""
    run = partial(attacked, model, data, limit, device)
    sides = {"without": partial(_without_gate, run), "with": run}
    for side in sides.values():
        _seconds(side)  # chooses kernels
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            taken[name].append(_seconds(side))
    medians = {name: median(times) for name, times in taken.items()}
    return {
        "network": model.name,
        "data": data.name,
        "images": limit,
        "iters": SPEC.parameters.plain["iters"][0],
        "rounds": rounds,
        **{f"{name} s": round(value, 3) for name, value in medians.items()},
        **{f"{name} spread s": round(max(times) - min(times), 3) for name, times in taken.items()},
        "ratio": round(medians["with"] / medians["without"], 4),
    }


def verdict(model: Model, data: Dataset, limit: int, device: torch.device) -> Line:
    """What the gate says of a network."""
    with tempfile.TemporaryDirectory() as folder:
        run = read_run(attacked(model, data, limit, device, Path(folder)))
        said = run.info.found["sanity"]
        right = sum(row["pred"]["20"] == row["label"] for row in run.rows)
    return {
        "network": model.name,
        "data": data.name,
        "images": limit,
        "robust": right,
        "warnings": len(said),
        "gate": "; ".join(said),
    }


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="PGD runs with and without the sanity gate.")
    parser.add_argument("--model", help="as for fdbench [default: r20, untrained]")
    parser.add_argument("--sound", nargs="+", metavar="MODEL", help="networks to judge instead")
    parser.add_argument("--data", default="fashion-mini")
    parser.add_argument("--limit", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--results", type=Path, default=Path("results"), help="for named models")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--output", type=Path)
    return parser.parse_args()


def main() -> None:
    """Writes the cost, or a line for each sound network."""
    given = options()
    keep_freed()  # as every command does
    device, workspace = start_torch(given.device, None), Workspace(given.results)
    data = open_data(given.data)
    if given.sound:
        models = [open_model(ref, workspace) for ref in given.sound]
        lines = [verdict(model, data, given.limit, device) for model in models]
    else:
        lines = [
            cost(_model(given.model, data, workspace), data, given.limit, device, given.rounds)
        ]
    for line in lines:
        show(line)
    path = TABLES / ("gate-sound.csv" if given.sound else "gate.csv")
    write(DataFrame(lines), given.output or path, device)


def _model(ref: str | None, data: Dataset, workspace: Workspace) -> Model:
    if ref:
        return open_model(ref, workspace)
    return in_memory_model(build(ModelSpec("r20", classes=data.classes, px=data.px)).eval())


if __name__ == "__main__":
    main()
