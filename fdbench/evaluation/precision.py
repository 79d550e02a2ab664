"""`--precision auto`: bfloat16 where it is faster and no weaker, tried on the run's first images.

A bfloat16 copy follows slightly other gradients. Whether that weakens the attack depends on the
network, so it is tried: both ways on the same images, judged alike.
"""

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fdbench.attacks import draw_targets, loss_named, random_start, trajectory
from fdbench.models import accelerate
from fdbench.specs import AttackSpec
from fdbench.stats import paired
from fdbench.store import write_atomically
from fdbench.threat import Threat
from fdbench.types import Batch
from fdbench.verdict import Referee

IMAGES = 128  # of the run, to try on
_ITERS = 20  # of the attack, at most: enough to converge nearly, a fraction of the run
_NOISE = 0.05  # p of McNemar's test, above which a higher robust accuracy is noise


def _timed(net: nn.Module, judged: nn.Module, batch: Batch, spec: AttackSpec, seed: int) -> Any:
    """Which images survive PGD on `net`, judged by `judged`, and the seconds it took."""
    threat = Threat(spec.norm, spec.eps)
    with torch.no_grad():
        classes = int(judged(batch.x[:1]).shape[1])
    iters = spec.iters[-1]
    start = random_start(batch.ids, batch.x, threat, "start-0", seed)

    def attack(count: int) -> torch.Tensor:
        return trajectory(
            net,
            batch.x,
            batch.label,
            threat,
            budgets=[count],
            alpha=spec.step(iters),
            start=start,
            target=draw_targets(batch, classes, seed) if spec.targeted else None,
            loss=loss_named(spec.loss),
        ).iterates[count]

    attack(1)  # the first pass chooses kernels
    began = time.perf_counter()
    adv = attack(iters)
    if adv.is_cuda:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    everything = torch.arange(len(batch.ids), device=batch.label.device)
    verdict = Referee(judged, batch, threat)(adv, everything) == batch.label
    return verdict.tolist(), seconds


def compare(net: nn.Module, batch: Batch, spec: AttackSpec, seed: int) -> dict[str, Any]:
    """What was `found`, and the precision `chosen` by it.

    bf16 is chosen if it is faster and its robust accuracy is not higher than fp32's by more than
    noise (McNemar, p < 0.05).
    """
    spec = replace(spec, iters=(min(max(spec.iters), _ITERS),), restarts=1, stop_early=False)
    verdicts, seconds = {}, {}
    for name in ("fp32", "bf16"):
        fast, _ = accelerate(net, batch.x[:16], name)
        verdicts[name], seconds[name] = _timed(fast, net, batch, spec, seed)
    test = paired(verdicts["bf16"], verdicts["fp32"])
    weaker = test.difference > 0 and test.p < _NOISE
    faster = seconds["bf16"] < seconds["fp32"]
    robust = {name: round(100 * sum(v) / len(v), 2) for name, v in verdicts.items()}
    return {
        "chosen": "bf16" if faster and not weaker else "fp32",
        "images": len(batch.ids),
        "iters": spec.iters[0],
        "robust": robust,
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "p": round(test.p, 4),
    }


def settle(folder: Path, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What was found for the run in `folder`: measured once, whichever process comes first.

    Later sessions and other processes take what is written, so that a run has one precision.
    """
    kept = folder / "precision.json"
    if not kept.is_file():
        mine = folder / f"precision.{os.getpid()}.json"
        write_atomically(mine, json.dumps(measure()))
        with suppress(FileExistsError):
            os.link(mine, kept)  # never replaces another process's
        mine.unlink()
    found: dict[str, Any] = json.loads(kept.read_text())
    return found
