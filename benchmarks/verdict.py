"""The fast verdict beside AutoAttack and PGD: robust accuracy, verdicts, passes, seconds.

    python benchmarks/verdict.py --model r20 --model net.py:load=2/255 --data npz:cifar10 \
        [--limit 200] [--contestants fast autoattack package ...] [--results FOLDER]

Each contestant is a process of its own with one thread, one after the other on each network; a
stopped benchmark continues. `package` is pyautoattack's own run, `pma` a quick attack of others
(rivals.py), both without fdbench's records. Verdicts are compared image by image with AutoAttack's
(`autoattack`), and with --base also with the fast verdict on another network, such as the one that
a masked network was made of. Passes are forward and backward passes of one image in the attacked
network, each counted once, divided by the images that were right before; seconds are those of the
run, with the judge, without the start of the process.
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from pandas import DataFrame
from rivals import pma_alone
from table import TABLES, show, write
from torch import nn

from fdbench.console import say
from fdbench.data import Dataset, open_data
from fdbench.errors import FdbenchError
from fdbench.evaluation import Watched
from fdbench.models import Model, open_model
from fdbench.stats import paired, wilson
from fdbench.store import Workspace, read_run
from fdbench.types import Batch, Images
from fdbench.units import parse_size

Line = dict[str, str | int | float]
REFERENCE = "autoattack"
CONTESTANTS = {  # the words after `fdbench attack`
    "fast": ("fast",),
    "fast without guard": ("fast", "--no-guard"),
    REFERENCE: ("autoattack",),
    "autoattack reference": ("autoattack", "--reference"),
    "pgd-100x10": ("pgd", "--iters", "100", "--restarts", "10", "--stop-early"),
    "apgd-t": ("apgd", "--classes", "9", "--loss", "dlr"),
}


@dataclass(frozen=True)
class Task:
    """One network under one radius."""

    model: str
    eps: str
    data: str
    limit: int
    results: Path

    @property
    def options(self) -> list[str]:
        """The options that every contestant shares."""
        return [
            *("--model", self.model, "--eps", self.eps, "--data", self.data, "--untargeted"),
            *("--limit", str(self.limit), "--results", str(self.results), "--threads", "1"),
        ]

    def opened(self) -> tuple[Model, Dataset]:
        """The network and the images."""
        return open_model(self.model, Workspace(self.results)), open_data(self.data, "test")


@dataclass(frozen=True)
class Outcome:
    """What a contestant found: whether each image is robust, right at first, and at what cost."""

    robust: dict[int | str, bool]
    right: int
    passes: int | None
    seconds: float
    model: str = ""


def by_fdbench(task: Task, words: tuple[str, ...]) -> Outcome:
    """Runs a contestant as a user would, or continues it."""
    options = [one for one in task.options if words[0] == "pgd" or one != "--untargeted"]
    command = [sys.executable, "-m", "fdbench", "attack", *words, *options, "--json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    run = read_run(task.results / "runs" / json.loads(done.stdout)[0]["name"])
    robust = {
        row["image"]: all(pred == row["label"] for pred in row["pred"].values()) for row in run.rows
    }
    right = sum(row["clean"] == row["label"] for row in run.rows)
    info = run.info
    passes = info.found["observed"].get("passes")
    return Outcome(robust, right, passes, info.seconds, info.model.name)


def package_alone(net: nn.Module, batch: Batch, eps: float) -> Images:
    """pyautoattack's standard evaluation, without fdbench."""
    from pyautoattack import AutoAttack

    attack = AutoAttack(net, norm="Linf", eps=eps, seed=0)
    adv: Images
    adv, _ = attack.run_standard_evaluation(batch.x, batch.label, batch_size=250)
    return adv


# Contestants that run in this process, without fdbench's records.
ALONE = {"package": package_alone, "pma": pma_alone}


def alone(task: Task, name: str) -> Outcome:
    """Runs a contestant in this process; its outcome is kept, as it can't be continued."""
    file = f"{name}-{Path(task.model).stem}-{task.eps.replace('/', '-')}-{task.limit}.json"
    kept = task.results / file
    if not kept.is_file():
        model, images = task.opened()
        batch, net = images.fetch(range(task.limit)), Watched(model.net.requires_grad_(False))
        torch.set_num_threads(1)
        began = time.perf_counter()
        adv = ALONE[name](net, batch, parse_size(task.eps, "linf"))
        seconds, passes = time.perf_counter() - began, net.facts()["passes"]
        robust = (model.net(adv).argmax(1) == batch.label).tolist()
        right = int((model.net(batch.x).argmax(1) == batch.label).sum())
        found = {"ids": list(batch.ids), "robust": robust, "right": right}
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps({**found, "passes": passes, "seconds": round(seconds, 1)}))
    found = json.loads(kept.read_text())
    robust = dict(zip(found["ids"], found["robust"], strict=True))
    return Outcome(robust, found["right"], found["passes"], found["seconds"])


def above(one: Outcome, base: Outcome) -> dict[str, str | int | float]:
    """How far a network's robust accuracy lies above another's, in points, with its interval."""
    pair = paired(list(one.robust.values()), [base.robust[image] for image in one.robust])
    values = (pair.difference, pair.interval.low, pair.interval.high)
    named = dict(zip(("above_base", "above_low", "above_high"), values, strict=True))
    return {name: round(100 * value, 2) for name, value in named.items()}


def line(task: Task, name: str, one: Outcome, reference: Outcome) -> Line:
    """A line of the table."""
    n, robust = len(one.robust), sum(one.robust.values())
    low, high = wilson(robust, n)
    pairs = [(one.robust[image], right) for image, right in reference.robust.items()]
    return {
        "model": reference.model,
        "eps": task.eps,
        "n": n,
        "clean": round(100 * one.right / n, 2),
        "attack": name,
        "robust": round(100 * robust / n, 2),
        "low": round(100 * low, 2),
        "high": round(100 * high, 2),
        "equal": round(100 * sum(mine == theirs for mine, theirs in pairs) / n, 2),
        "only_here_broken": sum(theirs and not mine for mine, theirs in pairs),
        "only_there_broken": sum(mine and not theirs for mine, theirs in pairs),
        "passes": "" if one.passes is None else round(one.passes / max(one.right, 1)),
        "seconds": round(one.seconds, 1),
        "times_faster": round(reference.seconds / max(one.seconds, 0.1), 2),
    }


def compared(task: Task, names: list[str], base: str | None) -> list[Line]:
    """The lines of one network."""
    outcomes = {}
    for name in dict.fromkeys([REFERENCE, *names]):
        say(f"{task.model} at {task.eps}: {name}")
        outcomes[name] = alone(task, name) if name in ALONE else by_fdbench(task, CONTESTANTS[name])
    lines = [line(task, name, outcomes[name], outcomes[REFERENCE]) for name in outcomes]
    if base is not None:
        known = by_fdbench(replace(task, model=base), CONTESTANTS["fast"])
        lines = [one | above(outcomes[str(one["attack"])], known) for one in lines]
    for one in lines:
        show(one)
    return lines


def main() -> None:
    """Prints the table and writes it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", action="append", required=True, metavar="MODEL[=EPS]")
    parser.add_argument("--data", required=True)
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument(
        "--contestants", nargs="+", default=["fast", "package", "pma", "pgd-100x10"]
    )
    parser.add_argument("--base", help="a network whose fast verdict the others are paired with")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--table", type=Path, default=TABLES / "verdict.csv")
    given = parser.parse_args()
    if unknown := set(given.contestants) - {*CONTESTANTS, *ALONE}:
        known = ", ".join([*CONTESTANTS, *ALONE])
        raise FdbenchError(f"no contestant {', '.join(unknown)}: {known}")
    lines: list[Line] = []
    for text in given.model:
        model, _, eps = text.rpartition("=") if "=" in text else (text, "", "")
        task = Task(model, eps or "8/255", given.data, given.limit, given.results)
        lines += compared(task, given.contestants, given.base)
        write(DataFrame(lines), given.table, "cpu")


if __name__ == "__main__":
    main()
