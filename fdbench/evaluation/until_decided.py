"""Two networks under one attack, on further images until a test decides which is more robust.

The runs are ordinary ones, of the first images of the sample; each step extends both by a larger
limit. What is killed continues, and what was attacked before counts.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from jaxtyping import Bool

from fdbench.console import progress
from fdbench.errors import BadValue, FdbenchError
from fdbench.evaluation.evaluation import Evaluation, run_info
from fdbench.evaluation.loop import evaluate
from fdbench.machine import rank_and_world
from fdbench.reporting import answers
from fdbench.stats import Evidence, gathered
from fdbench.store import RunPaths, read_run

Say = Callable[[str], None]
Pair = tuple[Evaluation, Evaluation]
Right = Bool[np.ndarray, " n"]

# A step is a tenth of the images so far, at least a batch: opening a run costs seconds.
_GROWTH = 10


def check_pair(pair: Pair) -> None:
    """Raises BadValue if the two can't be compared, or not image after image."""
    first, second = pair
    if first.folder == second.folder:
        raise BadValue(f"{first.model.ref} and {second.model.ref} are the same network.")
    if first.draws != "image":
        raise BadValue(
            f"{first.attack.name} draws its random numbers per {first.draws}: a run of it can't be "
            "extended.\nTake an attack that draws per image: --attack fast, apgd or pgd."
        )
    data = [(one.data.fingerprint, one.data.split, one.data.sample) for one in pair]
    if data[0] != data[1]:
        raise BadValue("the two networks come with different images: give --data.")
    if first.spec != second.spec:
        raise BadValue(
            f"the two networks come with different threats ({_threat(first)}; {_threat(second)}): "
            "give --eps."
        )
    if rank_and_world()[1] > 1:
        raise BadValue("--until-decided runs in one process.")


def _threat(evaluation: Evaluation) -> str:
    spec = evaluation.spec
    return f"{spec.norm} {spec.eps_text}, {'targeted' if spec.targeted else 'untargeted'}"


def _right(evaluation: Evaluation) -> Right:
    """Whether the network survives on each image in turn, up to the first not attacked yet."""
    paths = RunPaths(evaluation.folder)
    if not paths.description.is_file():
        return np.zeros(0, bool)
    known = answers(read_run(evaluation.folder))
    ids = [evaluation.data.ids[position] for position in evaluation.positions]
    count = next((place for place, image in enumerate(ids) if image not in known), len(ids))
    return np.array([known[image] for image in ids[:count]], bool)


def evidence_so_far(pair: Pair) -> tuple[Evidence, int]:
    """What the rows say, and how many images both have."""
    first, second = map(_right, pair)
    both = min(len(first), len(second))
    return gathered(first[:both], second[:both]), both


def _next(both: int, batch: int, total: int) -> int:
    """How many images to have attacked after the next step: whole batches."""
    step = max(batch, both // _GROWTH)
    return min(total, -(-(both + step) // batch) * batch)


def _quiet(text: str) -> None:
    """Leaves out what every step would repeat."""


def until_decided(pair: Pair, say: Say) -> Evidence:
    """Attacks both on further images until the test decides or the images end.

    Raises BadValue for a pair that can't be compared, and what `evaluate` raises.
    """
    check_pair(pair)
    total, batch = len(pair[0].positions), pair[0].most
    found, both = evidence_so_far(pair)
    names = " and ".join(one.model.name for one in pair)
    say(f"{names}: {both} of {total} images are known, {run_info(pair[0]).attack.title}")
    if found.verdict != "undecided" or both >= total:
        _tidied(pair, both)
    with progress("compared", total, "images", both) as advance:
        while found.verdict == "undecided" and both < total:
            limit = _next(both, batch, total)
            for one in pair:
                evaluate(replace(one, limit=limit), _quiet)
            found, now = evidence_so_far(pair)
            if now <= both:
                raise FdbenchError(
                    f"{pair[0].folder.name} did not grow: is another job writing it?"
                )
            advance(now - both, **_status(found))
            say(f"{now} images: " + ", ".join(f"{k} {v}" for k, v in _status(found).items()))
            both = now
    return found


def _tidied(pair: Pair, both: int) -> None:
    """Opens the runs of a comparison that is over: a kill may have left their last write undone."""
    for one in pair:
        evaluate(replace(one, limit=both), _quiet)


def _status(found: Evidence) -> dict[str, str]:
    return {
        "difference": f"{100 * found.difference:+.1f} points",
        "evidence": f"{found.e:.3g} of 20",
    }
