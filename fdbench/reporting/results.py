"""The results of single runs, for the end of the command that made them. Free of torch."""

from typing import Any

from fdbench.randomness import ImageId
from fdbench.reporting.attack_columns import attack_columns, stages
from fdbench.reporting.outcomes import WORST, RunAtBudget, at_budgets, broken_by, right
from fdbench.reporting.scoring import percent, rounded
from fdbench.store import Run

Record = dict[str, Any]


def _after_stages(run: Run) -> dict[str, float]:
    """Accuracy in percent on clean images, and after each of the attacks that run in turn."""
    broken, count = broken_by(run.columns), len(run.columns)
    left, after = count, {}
    if not broken:
        return {}
    for stage in ("clean", *stages(run.info.attack)):
        left -= broken[stage]
        after[stage] = rounded(left / count)
    return after


def _record(one: RunAtBudget) -> Record:
    info, n = one.run.info, one.n
    spec = info.attack
    return {
        "model": info.model.name,
        "data": info.data.name,
        "attack": attack_columns(spec, one.budget, one.iters)["attack"],
        "iters": one.iters,
        "norm": spec.norm,
        "eps": spec.eps,
        "targeted": spec.targeted,
        "n": n,
        "planned": info.images,
        **percent("clean", one.clean_verdicts.total, n),
        **percent("robust", one.verdicts.total, n),
        **percent("success", one.hits if spec.targeted else None, n),
        "stages": _after_stages(one.run),
    }


def result_records(run: Run) -> list[Record]:
    """A record for each budget or attacker of a run: scores in percent with 95 % intervals.

    `stages` holds AutoAttack's accuracy after each of its attacks.
    """
    return [_record(one) for one in at_budgets(run)]


def answers(run: Run) -> dict[ImageId, bool]:
    """Whether the network is right on each image of a run under every reading of its attack."""
    columns = run.columns
    return dict(zip(columns.images.tolist(), right(columns, WORST).tolist(), strict=True))
