"""What the checks of stored results cost: of a row that is written, of a run that is verified.

    python benchmarks/checks.py [--model r20] [--data fashion-mini] [--limit 1000] [--rounds 3]

Writing: the seconds of rows with their checks, encoded, on the disk, beside those of the PGD-20
that they belong to. Verifying: `fdbench verify` of a run that kept its images, beside the bare
forward passes of the same network on as many images, in turn; the ratio is of medians.
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from pandas import DataFrame
from table import TABLES, show, write

from fdbench.attacks import ATTACKS
from fdbench.data import Dataset, open_data
from fdbench.evaluation import Evaluation, audit, evaluate, read_run
from fdbench.machine import keep_freed, start_torch
from fdbench.models import Model, build, in_memory_model, open_model
from fdbench.specs import AttackSpec, ModelSpec, PGDParameters
from fdbench.store import RunFolder, Workspace
from fdbench.store import read_run as read_stored

SPEC = AttackSpec("pgd", "linf", 8 / 255, parameters=PGDParameters(iters=(20,)))
BATCH = 250


def network(ref: str | None, data: Dataset, results: Path) -> Model:
    """The network named, or an untrained r20 of the data's size."""
    if ref is not None:
        return open_model(ref, Workspace(results))
    net = build(ModelSpec("r20", classes=data.classes, px=data.px), seed=0)
    return in_memory_model(net.eval().requires_grad_(False))


@torch.no_grad()
def bare(model: Model, data: Dataset, limit: int) -> float:
    """Seconds of the network's passes on as many images as a verification judges."""
    batches = [data.fetch(range(i, min(i + BATCH, limit))).x for i in range(0, limit, BATCH)]
    began = time.perf_counter()
    for x in batches:
        model.net(x)  # the clean images
        model.net(x)  # as many adversarial ones
    return time.perf_counter() - began


def written(run: Path, place: Path) -> float:
    """Seconds to write the run's rows again, a batch at a time, with their checks."""
    stored = read_stored(run)
    rows = [{key: row[key] for key in row if key != "check"} for row in stored.rows]  # type: ignore[literal-required]
    with RunFolder.open(Workspace(place), stored.info) as folder:
        began = time.perf_counter()
        for i in range(0, len(rows), BATCH):
            folder.append(rows[i : i + BATCH])  # type: ignore[arg-type]
        return time.perf_counter() - began


def main() -> None:
    """Prints both lines and writes them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model")
    parser.add_argument("--data", default="fashion-mini")
    parser.add_argument("--limit", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--table", type=Path, default=TABLES / "checks.csv")
    given = parser.parse_args()
    keep_freed()
    device = start_torch("cpu", None)
    data = open_data(given.data, "test")
    model = network(given.model, data, given.results)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        job = Evaluation(
            model, data, ATTACKS["pgd"], SPEC, Workspace(place / "run"), device,
            limit=given.limit, batch_size=BATCH, save_adv="float",
        )  # fmt: skip
        began = time.perf_counter()
        run = evaluate(job, lambda text: None)
        attacking = time.perf_counter() - began
        writing = median(written(run, place / f"again-{i}") for i in range(given.rounds))
        verifying, passing = [], []
        for _ in range(given.rounds):
            passing.append(bare(model, data, given.limit))
            began = time.perf_counter()
            checks = audit(read_run(run), model, data, device)
            verifying.append(time.perf_counter() - began)
        assert not [check for check in checks if check.verdict == "fail"], checks
    pairs = {
        "rows with checks, beside PGD-20": (writing, attacking),
        "verify, beside bare passes": (median(verifying), median(passing)),
    }
    table = [
        {
            "what": what,
            "images": given.limit,
            "seconds": round(mine, 4),
            "beside": round(theirs, 2),
            "ratio": round(mine / theirs, 4),
        }
        for what, (mine, theirs) in pairs.items()
    ]
    for one in table:
        show(one)
    write(DataFrame(table), given.table, "cpu")


if __name__ == "__main__":
    main()
