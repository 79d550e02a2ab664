"""`--precision auto`: bfloat16 where it is faster and shown to be no weaker on the run's images.

A bfloat16 copy has slightly different gradients. Whether that weakens the attack depends on the
network, so both precisions are tried on the same images and judged alike: a test of non-inferiority
with a margin, since a difference that is not significant on few images shows nothing.
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fdbench.attacks import Attack, NoScratch, Subject, draw_targets
from fdbench.files import parse_json, write_once
from fdbench.machine import has_bf16
from fdbench.models import accelerate
from fdbench.specs import AttackSpec
from fdbench.stats import paired
from fdbench.threat import Threat
from fdbench.types import Batch
from fdbench.verdict import Referee

MARGIN = 0.005  # robust accuracy that bf16 may leave above fp32's, as a share: half a point
# How many images the test looks at, one look after the other. 600 are the fewest that can show the
# margin: without a single image on which the two differ, the limit is 0.4 points there.
LOOKS = (600, 1200, 2400)
_ERROR = 0.05  # one-sided, over all looks
_LEVEL = 1 - 2 * _ERROR / len(LOOKS)  # of the two-sided interval at each
PART = 100  # images at a time
_SHARE = 0.25  # of the run's gradients that the trial may cost


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


@dataclass
class _Trial:
    """Both precisions on the same images: verdicts and seconds so far, by precision."""

    attack: Attack
    spec: AttackSpec
    seed: int
    nets: Mapping[str, nn.Module]
    judged: nn.Module
    survived: dict[str, list[bool]] = field(default_factory=lambda: {"fp32": [], "bf16": []})
    seconds: dict[str, float] = field(default_factory=lambda: {"fp32": 0.0, "bf16": 0.0})

    def look(self, batch: Batch, classes: int) -> None:
        """Attacks a part in both precisions."""
        threat = Threat(self.spec.norm, self.spec.eps)
        target = draw_targets(batch, classes, self.seed) if self.spec.targeted else None
        judge = Referee(self.judged, batch, threat)
        for name, net in self.nets.items():
            if not self.survived[name]:
                net(batch.x)  # the first pass chooses kernels
            subject = Subject(
                net, batch, target, threat, self.seed, judge, _ignored, classes, NoScratch(),
                len(batch.ids),
            )  # fmt: skip
            began = time.perf_counter()
            self.survived[name] += _survivors(self.attack, self.spec, subject)
            self.seconds[name] += time.perf_counter() - began  # judging waits for the device

    def verdict(self, *, last: bool = False) -> tuple[str, str]:
        """The precision to take and why; "" while more images may decide: these are not `last`."""
        if self.seconds["bf16"] >= self.seconds["fp32"]:
            return "fp32", "bf16 is not faster"
        if len(self.survived["fp32"]) not in LOOKS and not last:
            return "", ""
        limits = paired(self.survived["bf16"], self.survived["fp32"], _LEVEL).interval
        if limits.high <= MARGIN:
            return "bf16", f"faster, and at most {100 * limits.high:.2f} points weaker"
        if last or limits.low > MARGIN:
            return "fp32", f"bf16 may be up to {100 * limits.high:.2f} points weaker"
        return "", ""

    def record(self, chosen: str, why: str) -> dict[str, Any]:
        """What run.json keeps of the trial."""
        n = len(self.survived["fp32"])
        robust = (
            {name: round(100 * sum(v) / n, 2) for name, v in self.survived.items()} if n else {}
        )
        return {
            "chosen": chosen,
            "why": why,
            "margin": 100 * MARGIN,
            "images": n,
            "iters": max(self.spec.parameters.budgets, default=None),
            "robust": robust,
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
        }


def compare(
    net: nn.Module, parts: Iterable[Batch], images: int, attack: Attack, spec: AttackSpec, seed: int
) -> dict[str, Any]:
    """Compares both precisions on a short form of the attack; returns the one `chosen`, and why.

    bf16 is chosen if it is faster and the upper limit of its robust accuracy less fp32's is within
    MARGIN, on as many images as that takes; else fp32.

    Args:
        parts: the first of the run's images, PART at a time.
        images: how many the run has.
    """
    short = attack.trial(spec)
    trial = _Trial(attack, short, seed, {}, net)
    whole = LOOKS[0] * 2 * attack.cost(short)
    if images < LOOKS[0] or whole > _SHARE * images * attack.cost(spec):
        return trial.record("fp32", "the run is too short for a trial that could show a difference")
    for batch in parts:
        if not trial.nets:
            low, why = accelerate(net, batch.x[:16], "bf16")
            if not any(one.dtype == torch.bfloat16 for one in low.parameters()):
                return trial.record("fp32", why or "the network has no parameters")
            trial.nets = {"fp32": accelerate(net, batch.x[:16])[0], "bf16": low}
            with torch.no_grad():
                classes = int(net(batch.x[:1]).shape[1])
        trial.look(batch, classes)
        chosen, why = trial.verdict()
        if chosen:
            return trial.record(chosen, why)
    return trial.record(*trial.verdict(last=True))


def settle(folder: Path, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Returns the comparison for the run in `folder`, made once by whichever process is first.

    Later sessions and other processes read it, so that a run has one precision.
    """
    kept = folder / "precision.json"
    if not kept.is_file():
        write_once(kept, json.dumps(measure()))  # never replaces another process's
    known: dict[str, Any] = parse_json(kept.read_bytes())
    return known
