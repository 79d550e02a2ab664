"""`--precision auto`: bfloat16 where it is faster and no weaker, tried on the run's first images.

A bfloat16 copy has slightly different gradients. Whether that weakens the attack depends on the
network, so both precisions are tried on the same images and judged alike.
"""

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fdbench.attacks import Attack, NoScratch, Subject, draw_targets
from fdbench.files import write_atomically
from fdbench.machine import has_bf16
from fdbench.models import accelerate
from fdbench.specs import AttackSpec
from fdbench.stats import paired
from fdbench.threat import Threat
from fdbench.types import Batch
from fdbench.verdict import Referee

IMAGES = 128  # of the run, for the trial
_NOISE = 0.05  # p of McNemar's test, above which a higher robust accuracy is noise


def emulated(chosen: str, device: torch.device) -> str:
    """A line for a precision that the device has no arithmetic for; "" if it has."""
    if chosen != "bf16" or has_bf16(device):
        return ""
    return (
        "this processor has no bf16 arithmetic and emulates it, slower than fp32: use --precision "
        "fp32, or auto"
    )


def _ignored(share: float = 1.0, stage: str = "") -> None:
    """Shows no progress for a trial."""


def _survivors(attack: Attack, spec: AttackSpec, subject: Subject) -> list[bool]:
    """Returns which images survive every reading of the attack."""
    label = subject.batch.label
    everything = torch.arange(len(label), device=label.device)
    survived = torch.ones_like(label, dtype=torch.bool)
    for reading in attack.run(subject, spec):
        survived &= subject.judge(reading.adv, everything) == label
    return [bool(one) for one in survived]


def compare(
    net: nn.Module, batch: Batch, attack: Attack, spec: AttackSpec, seed: int
) -> dict[str, Any]:
    """Compares both precisions on a short form of the attack, and returns the one `chosen`.

    bf16 is chosen if it is faster and its robust accuracy is not higher than fp32's by more than
    noise (McNemar, p < 0.05).
    """
    spec, threat = attack.trial(spec), Threat(spec.norm, spec.eps)
    with torch.no_grad():
        classes = int(net(batch.x[:1]).shape[1])
    target = draw_targets(batch, classes, seed) if spec.targeted else None
    judge = Referee(net, batch, threat)
    verdicts, seconds = {}, {}
    for name in ("fp32", "bf16"):
        fast, _ = accelerate(net, batch.x[:16], name)
        fast(batch.x)  # the first pass chooses kernels
        subject = Subject(
            fast, batch, target, threat, seed, judge, _ignored, classes, NoScratch(),
            len(batch.ids),
        )  # fmt: skip
        began = time.perf_counter()
        verdicts[name] = _survivors(attack, spec, subject)
        seconds[name] = time.perf_counter() - began  # judging waits for the device
    test = paired(verdicts["bf16"], verdicts["fp32"])
    weaker = test.difference > 0 and test.p < _NOISE
    faster = seconds["bf16"] < seconds["fp32"]
    return {
        "chosen": "bf16" if faster and not weaker else "fp32",
        "images": len(batch.ids),
        "iters": max(spec.parameters.budgets, default=None),
        "robust": {name: round(100 * sum(v) / len(v), 2) for name, v in verdicts.items()},
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "p": round(test.p, 4),
    }


def settle(folder: Path, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Returns the comparison for the run in `folder`, made once by whichever process is first.

    Later sessions and other processes read it, so that a run has one precision.
    """
    kept = folder / "precision.json"
    if not kept.is_file():
        mine = folder / f"precision.{os.getpid()}.json"
        write_atomically(mine, json.dumps(measure()))
        with suppress(FileExistsError):
            os.link(mine, kept)  # never replaces another process's
        mine.unlink()
    known: dict[str, Any] = json.loads(kept.read_text())
    return known
