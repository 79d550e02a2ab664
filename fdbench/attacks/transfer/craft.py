"""Crafts adversarial images from surrogates alone, by any method in the table."""

from collections.abc import Callable

from fdbench.attacks.transfer.catalogue import METHODS, complete
from fdbench.attacks.transfer.ensemble import Ensemble, Task
from fdbench.errors import BadValue
from fdbench.specs import Knobs
from fdbench.threat import Threat
from fdbench.types import Batch, Images, Labels


def craft(
    method: str,
    ensemble: Ensemble,
    batch: Batch,
    threat: Threat,
    knobs: Knobs,
    *,
    seed: int,
    tick: Callable[[], None] = lambda: None,
    target: Labels | None = None,
) -> Images:
    """Returns images inside the ball and the box, made against the surrogates to fool the victim.

    They move away from the ensemble's own prediction on the clean image: `batch.label` is not
    used, as the competition gave none. `target` gives classes to reach instead. Each image's result
    depends on `seed` and its id, not on its batch. Raises BadValue for an unknown method or knob,
    and for a norm or target that the method does not support.
    """
    full = complete(method, knobs)
    entry = METHODS[method]
    if threat.norm != "linf" and not entry.l2:
        able = ", ".join(name for name in METHODS if METHODS[name].l2)
        raise BadValue(f"{method} works in linf only, not {threat.norm}. In l2: {able}.")
    if target is not None and not entry.targeted:
        able = ", ".join(name for name in METHODS if METHODS[name].targeted)
        raise BadValue(f"{method} can't aim at a class. Targeted: {able}.")
    task = Task(ensemble, batch, threat, full, seed, tick, target)
    return entry.run(task)
