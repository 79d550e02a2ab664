"""What one trajectory read at every budget saves over a separate run for each budget.

    python benchmarks/trajectory.py --model r20 --data npz:cifar10 --eps 8/255 --limit 100

The same attack twice: once with all budgets on one trajectory, as fdbench does, once in runs of one
budget each, as other tools do. Every image's verdict at every budget must be the same, else an
error names the images. Of the runs, only the times are kept.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from pandas import DataFrame
from table import TABLES, show, write

from fdbench.attacks import PGD
from fdbench.console import say
from fdbench.data import open_data
from fdbench.errors import FdbenchError
from fdbench.evaluation import Evaluation, evaluate
from fdbench.models import open_model
from fdbench.randomness import ImageId
from fdbench.specs import AttackSpec
from fdbench.store import Workspace, read_run
from fdbench.units import parse_size

BUDGETS = (20, 50, 100, 200, 500, 1000, 2000)

Verdicts = dict[int, dict[ImageId, tuple[int, int]]]  # by budget: clean and attacked answer


def attack(job: Evaluation, budgets: tuple[int, ...]) -> tuple[Verdicts, float]:
    """The verdicts of a run that reads `budgets` on one trajectory, and its seconds."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        spec = job.spec.with_parameters(iters=budgets)
        run = evaluate(replace(job, spec=spec, workspace=Workspace(Path(folder))), say)
        rows = read_run(run).rows
    taken = time.perf_counter() - began
    verdicts = {
        budget: {row["image"]: (row["clean"], row["pred"][str(budget)]) for row in rows}
        for budget in budgets
    }
    return verdicts, taken


def compare(job: Evaluation, budgets: tuple[int, ...]) -> dict[str, str | int | float]:
    """The line of the table. Raises FdbenchError if a verdict differs."""
    together, once = attack(job, budgets)
    apart, each = zip(*(attack(job, (budget,)) for budget in budgets), strict=True)
    for budget, alone in zip(budgets, apart, strict=True):
        other = [i for i, verdict in alone[budget].items() if verdict != together[budget][i]]
        if other:
            raise FdbenchError(f"after {budget} iterations these images differ: {other}")
    robust = [sum(pred == clean for clean, pred in together[budget].values()) for budget in budgets]
    return {
        "model": job.model.name,
        "images": len(job.positions),
        "iters": " ".join(map(str, budgets)),
        "unchanged": " ".join(map(str, robust)),  # images whose answer is the clean image's
        "trajectory s": round(once, 1),
        "separate s": round(sum(each), 1),
        "ratio": round(sum(each) / once, 2),
    }


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="One trajectory against a run for each budget.")
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--eps", default="8/255")
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--budgets", type=int, nargs="+", default=BUDGETS)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--output", type=Path, default=TABLES / "trajectory.csv")
    return parser.parse_args()


def main() -> None:
    """Writes the table of one line."""
    given = options()
    workspace = Workspace(given.results)
    model, data = open_model(given.model, workspace), open_data(given.data, "test")
    spec = AttackSpec("pgd", eps=parse_size(given.eps, "linf"))
    device = torch.device(given.device)
    job = Evaluation(model, data, PGD(), spec, workspace, device, limit=given.limit)
    line = compare(job, tuple(given.budgets))
    show(line)
    write(DataFrame([line]), given.output, device)


if __name__ == "__main__":
    main()
