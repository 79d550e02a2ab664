"""Checks whether a network's robust accuracy can be trusted, for each usual reason why not.

The checks are those of Carlini et al. 2019, "On Evaluating Adversarial Robustness" (Sec. 3 to 5),
and of AutoAttack (Croce and Hein 2020). Each looks for an attack that fails where it should
succeed: then the network masks its gradient, or the evaluation is broken.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from fdbench import randomness
from fdbench.attacks import Ensemble, craft, cross_entropy, gradient, last_iterate, square
from fdbench.stats import paired, wilson
from fdbench.store import Check
from fdbench.threat import Threat
from fdbench.types import Batch, Images, Logits

P = 0.01  # of McNemar's test; below it a difference is not noise
GREY = 0.5  # linf: every image can become the same grey one, where no network beats chance
QUERIES = 1000  # of Square, where AutoAttack uses 5000: enough to beat a masked gradient
DRAWS = 10  # of random noise; the worst counts for each image
ZERO = 0.1  # largest share of images with a zero gradient
# Tolerance for logits of the same image in another batch: kernels sum in another order.
RELATIVE = 1e-4


@dataclass
class Patient:
    """A network in inference mode, the images to test it on, and the threat it should resist."""

    net: nn.Module
    batch: Batch
    threat: Threat
    classes: int
    seed: int = 0
    eot: int = 1  # above 1: the network draws random numbers, and attacks average over N passes
    expected: tuple[float, float] | None = None  # clean accuracy and its tolerance, in percent
    surrogates: tuple[nn.Module, ...] = ()

    @torch.no_grad()
    def logits(self, x: Images) -> Logits:
        logits: Logits = self.net(x)
        return logits

    def right(self, adv: Images) -> list[bool]:
        """Returns which images are classified correctly."""
        verdict: list[bool] = (self.logits(adv).argmax(1) == self.batch.label).tolist()
        return verdict

    def attacked(self, iters: int, eps: float | None = None) -> Images:
        """Returns the last iterate of untargeted PGD in this threat, or in linf at `eps`."""
        threat = self.threat if eps is None else Threat("linf", eps)
        return last_iterate(
            self.net,
            self.batch,
            threat,
            iters=iters,
            alpha=threat.eps / 4,
            stream="doctor",
            seed=self.seed,
            eot=self.eot,
        )

    @cached_property
    def randomness(self) -> float:
        """The largest difference of logits between two passes over the same images."""
        x = self.batch.x
        return float((self.logits(x) - self.logits(x)).abs().max())

    @cached_property
    def clean(self) -> list[bool]:
        return self.right(self.batch.x)

    @cached_property
    def pgd10(self) -> list[bool]:
        return self.right(self.attacked(10))

    @cached_property
    def adv100(self) -> Images:
        return self.attacked(100)

    @cached_property
    def pgd100(self) -> list[bool]:
        return self.right(self.adv100)


Found = tuple[str, str]  # verdict and finding
Examination = Callable[[Patient], Found]


def _accuracy(verdicts: Sequence[bool]) -> str:
    return f"{100 * sum(verdicts) / len(verdicts):.1f} %"


def _verdict(holds: bool) -> str:
    return "pass" if holds else "fail"


def _not_above(lower: Sequence[bool], upper: Sequence[bool]) -> bool:
    """Returns whether the first accuracy is above the second by no more than noise."""
    test = paired(lower, upper)
    return not (test.difference > 0 and test.p < P)


def inference_mode(patient: Patient) -> Found:
    patient.logits(patient.batch.x[:2])
    training = [
        name or "the network" for name, part in patient.net.named_modules() if part.training
    ]
    if training:
        return "fail", f"in training mode: {', '.join(training[:3])}; call net.eval()"
    return "pass", "no module is in training mode"


def clean_accuracy(patient: Patient) -> Found:
    low, high = (100 * end for end in wilson(sum(patient.clean), len(patient.clean)))
    measured = f"{_accuracy(patient.clean)} [{low:.1f}, {high:.1f}]"
    if patient.expected is None:
        least = 300 / patient.classes if patient.classes > 3 else 100 / patient.classes
        holds = high > least
        return _verdict(holds), f"{measured}; expected above {least:.3g} %"
    wanted, give = patient.expected
    holds = low - give <= wanted <= high + give
    return _verdict(holds), f"{measured}; expected {wanted:g} +- {give:g}"


def deterministic(patient: Patient) -> Found:
    off = patient.randomness
    if off == 0:
        return "pass", "the same images twice give the same logits"
    if patient.eot > 1:
        return "pass", f"random (logits differ by {off:.3g}); attacks average over {patient.eot}"
    return "fail", f"random: the same images give logits that differ by {off:.3g}; try --eot 20"


def batch_independent(patient: Patient) -> Found:
    if patient.randomness:
        return "skipped", "the network draws random numbers"
    x = patient.batch.x[:64]
    whole = patient.logits(x)
    for size in (1, 8):
        parts = torch.cat([patient.logits(x[i : i + size]) for i in range(0, len(x), size)])
        off = float((parts - whole).abs().max() / whole.abs().max().clamp(min=1e-12))
        if off > RELATIVE or (parts.argmax(1) != whole.argmax(1)).any():
            return "fail", f"in batches of {size} the logits differ by {off:.2g} of the largest"
    return "pass", f"the same logits in batches of 1, 8 and {len(x)}"


def gives_logits(patient: Patient) -> Found:
    out = patient.logits(patient.batch.x)
    sums = (out.sum(1) - 1).abs().max() < 1e-4
    if bool((out >= 0).all() and sums):
        return "fail", "probabilities: each row lies in [0, 1] and sums to 1; return logits"
    return "pass", f"logits from {float(out.min()):.3g} to {float(out.max()):.3g}"


@contextmanager
def _spied(calls: list[str]) -> Iterator[None]:
    """Records the name of each differentiation inside."""
    kept: dict[str, Callable[..., Any]] = {
        "grad": torch.autograd.grad,
        "backward": torch.autograd.backward,
    }

    def spy(name: str) -> Callable[..., Any]:
        def recording(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            return kept[name](*args, **kwargs)

        return recording

    try:
        for name in kept:
            setattr(torch.autograd, name, spy(name))
        yield
    finally:
        for name, function in kept.items():
            setattr(torch.autograd, name, function)


def no_optimisation(patient: Patient) -> Found:
    calls: list[str] = []
    with _spied(calls):
        patient.logits(patient.batch.x[:2])
    if calls:
        return "fail", f"the forward pass differentiates ({calls[0]}): attack it adaptively"
    return "pass", "the forward pass does not optimise"


def gradients(patient: Patient) -> Found:
    label = patient.batch.label
    grad, _ = gradient(patient.net, patient.batch.x, label, None, cross_entropy)
    flat = grad.flatten(1)
    if not torch.isfinite(flat).all():
        return "fail", "the loss's gradient is not finite on clean images"
    share = float((flat.abs().amax(1) == 0).float().mean())
    return _verdict(share <= ZERO), f"zero on {100 * share:.0f} % of the images, finite on all"


def loss_rises(patient: Patient) -> Found:
    def loss(x: Images) -> torch.Tensor:
        return F.cross_entropy(patient.logits(x), patient.batch.label, reduction="none")

    before, after = loss(patient.batch.x), loss(patient.adv100)
    rose = (after > before).float().mean().item()
    holds = bool(after.mean() > before.mean()) and rose > 0.5
    change = f"cross entropy {before.mean():.3g} -> {after.mean():.3g}, up on {100 * rose:.0f} %"
    return _verdict(holds), f"{change} of the images"


def noise_is_weaker(patient: Patient) -> Found:
    x, threat = patient.batch.x, patient.threat
    survived = torch.ones_like(patient.batch.label, dtype=torch.bool)
    for draw in range(DRAWS):
        unit = randomness.uniform(
            patient.seed, f"doctor-noise-{draw}", patient.batch.ids, (x[0].numel() + 1,)
        )
        noisy = threat.project(threat.start(x, torch.from_numpy(unit).to(x.device)), x)
        survived &= torch.tensor(patient.right(noisy), device=x.device)
    noise = survived.tolist()
    finding = f"noise {_accuracy(noise)}, PGD-100 {_accuracy(patient.pgd100)}"
    return _verdict(_not_above(patient.pgd100, noise)), finding


def iterations_help(patient: Patient) -> Found:
    finding = f"PGD-10 {_accuracy(patient.pgd10)}, PGD-100 {_accuracy(patient.pgd100)}"
    return _verdict(_not_above(patient.pgd100, patient.pgd10)), finding


def reaches_chance(patient: Patient) -> Found:
    verdicts = patient.right(patient.attacked(50, GREY))
    chance = 1 / patient.classes
    holds = wilson(sum(verdicts), len(verdicts)).low <= chance
    finding = f"{_accuracy(verdicts)} under PGD-50 at linf {GREY}; chance {100 * chance:.3g} %"
    return _verdict(holds), finding


def square_is_weaker(patient: Patient) -> Found:
    adv = square(
        patient.net, patient.batch.x, patient.batch.label, patient.threat, patient.seed, QUERIES
    )
    verdicts = patient.right(adv)
    finding = f"Square-{QUERIES} {_accuracy(verdicts)}, PGD-100 {_accuracy(patient.pgd100)}"
    return _verdict(_not_above(patient.pgd100, verdicts)), finding


def transfer_is_weaker(patient: Patient) -> Found:
    if not patient.surrogates:
        return "skipped", "no other network to transfer from: give --surrogate M"
    if patient.threat.norm != "linf":
        return "skipped", f"the transfer attack does not support {patient.threat.norm}"
    weights = (1.0,) * len(patient.surrogates)
    ensemble = Ensemble(patient.surrogates, weights)
    adv = craft("momentum", ensemble, patient.batch, patient.threat, {}, seed=patient.seed)
    verdicts = patient.right(adv)
    finding = f"momentum transfer {_accuracy(verdicts)}, PGD-100 {_accuracy(patient.pgd100)}"
    return _verdict(_not_above(patient.pgd100, verdicts)), finding


CHECKS: dict[str, Examination] = {
    "inference mode": inference_mode,
    "clean accuracy": clean_accuracy,
    "deterministic": deterministic,
    "batch size changes nothing": batch_independent,
    "logits": gives_logits,
    "no optimisation": no_optimisation,
    "gradients": gradients,
    "loss rises": loss_rises,
    "noise is weaker than PGD": noise_is_weaker,
    "iterations never help the network": iterations_help,
    "chance at a large eps": reaches_chance,
    "Square never beats PGD": square_is_weaker,
    "transfer never beats PGD": transfer_is_weaker,
}


def examine(patient: Patient, tick: Callable[[], None] = lambda: None) -> list[Check]:
    """Runs every check, in the order of CHECKS; `tick` is called after each."""
    checks = []
    for name, examination in CHECKS.items():
        verdict, finding = examination(patient)
        checks.append(Check(name, verdict, finding))
        tick()
    return checks
