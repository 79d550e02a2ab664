"""Random signs of size eps: the baseline that every attacker must beat."""

from fdbench.attacks.transfer.draws import dense
from fdbench.attacks.transfer.ensemble import Task
from fdbench.attacks.transfer.method import Method
from fdbench.specs import Knobs
from fdbench.types import Images


def once(knobs: Knobs, nets: int) -> int:
    """Returns 1: it ticks once."""
    return 1


def noise(task: Task) -> Images:
    """Moves each value by eps, up or down at random; queries no network."""
    coin = dense(task.seed, "transfer-noise", task.ids, task.x) - 0.5
    task.tick()
    return task.threat.project(task.threat.move(task.x, coin, task.threat.eps), task.x)


NOISE = Method(noise, once, {}, l2=False, targeted=False)
