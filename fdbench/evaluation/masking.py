"""The doctor's checks for masked gradients: other ways to an adversary, and what a gradient tells.

Carlini et al. 2019, "On Evaluating Adversarial Robustness", Sec. 5; Athalye et al. 2018; Tramer et
al. 2020, "On Adaptive Attacks". The attacks try only what gradients leave: what they add counts.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from fdbench import randomness
from fdbench.attacks import (
    Ensemble,
    craft,
    cross_entropy,
    gradient,
    identity_back,
    margin,
    masking_operations,
    square_alone,
)
from fdbench.errors import NoGradient
from fdbench.evaluation.comparing import Finding, beyond, excess
from fdbench.evaluation.patient import STEPS, Patient
from fdbench.types import Batch, Images, Labels

# Rates of a sound network, measured on those of benchmarks/doctor.py (results/benchmarks).
AGAINST_GRADIENT = 0.1  # images on which a short step does not do what the gradient says
HIDDEN = 0.1  # images that are right at the end of a step and wrong before
LOSSES = 0.25  # of what cross-entropy leaves: images that the better of two other losses breaks
WITHOUT_GRADIENT = 0.02  # of what all losses leave
OTHER_GRADIENT = 0.05  # of the same: another gradient is as strong, and finds a few more

SHORT = 1 / 32  # of eps
PROMISE = 2.0  # a change within a factor of two of the predicted one is as the gradient says
WAY = (0.0, 1 / 8, 1 / 4, 1 / 2)  # of eps: where a step is looked at before its end
QUERIES = 1000  # of Square, where AutoAttack uses 5000: enough to beat a masked gradient
DRAWS = 300  # of noise, half of them corners: what 1 % of the ball breaks is found with 95 %
EXAMPLES = 16  # images on which masking operations are looked for
BLURS, BLURRED_STEPS = 8, 30  # passes that a smoothed gradient averages, and its steps

MASKED = "the network masks its gradients: quote no robust accuracy from gradients alone"


def _moved(patient: Patient, batch: Batch, grad: Images, length: float) -> Images:
    threat = patient.threat
    return threat.project(threat.move(batch.x, grad, length * threat.eps), batch.x)


def _margins(patient: Patient, x: Images, label: Labels) -> Tensor:
    return margin(patient.logits(x), label, None)


def gradient_and_steps(patient: Patient) -> Finding:
    """A gradient is right where a short step changes the loss by what it predicts."""
    if patient.randomness:
        return "skipped", "the network draws random numbers"
    batch = patient.some(patient.right)
    grad, _ = gradient(patient.net, batch.x, batch.label, None, margin, patient.eot)
    moved = _moved(patient, batch, grad, SHORT)
    predicted = (grad * (moved - batch.x)).flatten(1).sum(1)
    change = _margins(patient, moved, batch.label) - _margins(patient, batch.x, batch.label)
    holds = (change >= predicted / PROMISE) & (change <= PROMISE * predicted)
    has = predicted != 0
    n, off = int(has.sum()), int((has & ~holds).sum())
    ratio = float((change / predicted)[has].nanmedian()) if n else 0.0
    text = (
        f"a step of eps/{1 / SHORT:g} along the gradient changes the margin by {ratio:.2g} times "
        f"what it predicts (median), and on {off} of {n} images by less than half or more than "
        "twice that"
    )
    failed, test = excess(off, n, AGAINST_GRADIENT)
    if failed:
        return "fail", (
            f"{text} ({test}): the gradient is not the slope of what the network computes; try "
            "fdbench attack fast, whose guard does without it, or the identity in place of the "
            "operation (BPDA)"
        )
    return "pass", f"{text} ({test})"


def one_step(patient: Patient) -> Finding:
    """Single-step training collapses to networks that only the end of that step does not break.

    Kim et al. 2021, "Understanding Catastrophic Overfitting in Single-step Adversarial Training";
    the step then even puts right what was wrong ("label leaking", Kurakin et al. 2017).
    """
    batch = patient.batch
    grad, _ = gradient(patient.net, batch.x, batch.label, None, cross_entropy, patient.eot)

    def right_at(length: float) -> Tensor:
        return patient.logits(_moved(patient, batch, grad, length)).argmax(1) == batch.label

    ends = right_at(1.0)
    hidden = ends & ~torch.stack([right_at(length) for length in WAY]).all(0)
    n, count = len(batch.ids), int(hidden.sum())
    text = (
        f"a single step of eps leaves {int(ends.sum())} of {n} images right, {count} of them wrong "
        "before or on its way"
    )
    failed, test = excess(count, n, HIDDEN)
    if failed:
        return "fail", (
            f"{text} ({test}): the network is fitted to one step; quote no FGSM, and PGD with "
            "steps of eps/4 or less"
        )
    return "pass", f"{text} ({test})"


def _noises(patient: Patient, batch: Batch) -> Iterator[Images]:
    """Random points of the ball; every other one is the corner next to it, in linf."""
    size, threat = (batch.x[0].numel() + 1,), patient.threat
    for draw in range(DRAWS):
        unit = randomness.uniform(patient.seed, f"doctor-noise-{draw}", batch.ids, size)
        point = threat.start(batch.x, torch.from_numpy(unit).to(batch.x.device))
        if draw % 2 and threat.norm == "linf":
            point = batch.x + threat.eps * (point - batch.x).sign()
        yield threat.project(point, batch.x)


def noise(patient: Patient) -> Finding:
    standing = patient.standing
    batch = patient.some(standing)
    survived = torch.ones_like(standing, dtype=torch.bool)
    if len(standing):
        for noisy in _noises(patient, batch):
            survived &= patient.logits(noisy).argmax(1) == batch.label
    broken, other = int((~survived).sum()), f"the worst of {DRAWS} random noises"
    return beyond(patient, standing, broken, other, WITHOUT_GRADIENT, MASKED)


def losses(patient: Patient) -> Finding:
    """Bounded outputs saturate cross-entropy (sigmoid, tanh): other losses still see the gap."""
    left = patient.other_losses
    best = min(left, key=lambda name: len(left[name]))
    broken = len(patient.left) - len(left[best])
    other = f"PGD-{STEPS} on the {best} loss"
    return beyond(
        patient, patient.left, broken, other, LOSSES, f"cross-entropy is blind here: --loss {best}"
    )


def square_attack(patient: Patient) -> Finding:
    standing = patient.standing
    left = standing
    if len(standing):
        batch = patient.some(standing)
        threat, seed = patient.threat, patient.seed
        adv = square_alone(patient.net, batch.x, batch.label, threat, seed, QUERIES)
        left = patient.stand(adv, standing)
    broken, other = len(standing) - len(left), f"Square with {QUERIES} queries"
    return beyond(patient, standing, broken, other, WITHOUT_GRADIENT, MASKED)


class Blurred(nn.Module):
    """The network at random points around each image; the gradient of their mean is a smooth one.

    Of batches whose images left, the points are those of the first images.
    """

    def __init__(self, net: nn.Module, eps: float, seed: int) -> None:
        super().__init__()
        self.net, self.eps, self.seed, self.passes = net, eps, seed, 0

    def forward(self, x: Images) -> Tensor:
        self.passes += 1
        unit = randomness.uniform(self.seed, f"blur-{self.passes}", range(len(x)), x.shape[1:])
        logits: Tensor = self.net(x + self.eps * (2 * torch.from_numpy(unit).to(x.device) - 1))
        return logits


def smoothed(patient: Patient) -> Finding:
    """What shatters a gradient, or cuts it in steps, has a slope again on average."""
    if patient.threat.norm != "linf":
        return "skipped", f"points around an image are drawn in linf, not in {patient.threat.norm}"
    blurred = Blurred(patient.net, patient.threat.eps / 2, patient.seed)
    left = patient.survivors(
        patient.standing, BLURRED_STEPS, loss=margin, net=blurred, eot=BLURS * patient.eot
    )
    broken = len(patient.standing) - len(left)
    other = f"PGD-{BLURRED_STEPS} on gradients averaged over {BLURS} points around the image"
    return beyond(
        patient,
        patient.standing,
        broken,
        other,
        OTHER_GRADIENT,
        f"{MASKED}; try --eot on noisy copies",
    )


def way_back(patient: Patient) -> Finding:
    """An operation that removes small activations or rounds hides where the loss rises."""
    operations = masking_operations(patient.net, patient.batch.x[:EXAMPLES])
    if not operations:
        return "pass", "no operation of the network's own turns the gradient that passes it"
    names = ", ".join(dict.fromkeys(type(one).__name__ for one in operations))
    other = f"PGD-{STEPS} with the identity as the gradient of {names}"

    def left_of(places: Labels) -> int:
        with identity_back(operations):
            return len(patient.survivors(places, STEPS, loss=margin))

    try:
        standing = patient.standing
    except NoGradient:
        left, n = left_of(patient.right), len(patient.right)
        return "fail", f"{names} cuts the gradient: {other} leaves {left} of {n} images"
    broken = len(standing) - left_of(standing)
    do = f"{names} masks the gradient: fdbench attack fast does this in its guard"
    return beyond(patient, standing, broken, other, OTHER_GRADIENT, do)


def transfer(patient: Patient) -> Finding:
    if not patient.surrogates:
        return "skipped", "no other network to transfer from: give --surrogate M"
    if patient.threat.norm != "linf":
        return "skipped", f"the transfer attack does not support {patient.threat.norm}"
    standing = patient.standing
    left = standing
    if len(standing):
        ensemble = Ensemble(patient.surrogates, (1.0,) * len(patient.surrogates))
        batch = patient.some(standing)
        adv = craft("momentum", ensemble, batch, patient.threat, {}, seed=patient.seed)
        left = patient.stand(adv, standing)
    broken = len(standing) - len(left)
    return beyond(patient, standing, broken, "momentum transfer", WITHOUT_GRADIENT, MASKED)
