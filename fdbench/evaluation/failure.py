"""The doctor's checks that an attack did its work: the indicators of attack failure.

Source: Pintor et al. 2022, "Indicators of Attack Failure", Sec. 3: unavailable gradients, unstable
predictions, silent success, incomplete optimisation, transfer failure, unconstrained failure. Each
is about the images that stood the attack, where the paper averages over all.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from fdbench import randomness
from fdbench.attacks import cross_entropy, gradient, margin
from fdbench.evaluation.comparing import Finding, excess, within
from fdbench.evaluation.patient import STEPS, Patient
from fdbench.models import accelerate
from fdbench.reporting import INDICATORS
from fdbench.types import Images

GREY = 0.5  # linf: every image can become the same grey one, where no network beats chance
BOX, POINTS = 4 / 255, 10  # random points around an image: half the side of their box (Sec. 3)
UNSTABLE = 0.4  # mean relative change of the margin; sound networks of benchmarks/doctor.py: 0.26
NOISES = 10  # that a loss must exceed
NO_RISE = 0.1  # share of a sound network's images: those that are wrong for sure already


def gradients(patient: Patient) -> Finding:
    batch = patient.batch
    grad, _ = gradient(patient.net, batch.x, batch.label, None, cross_entropy)
    flat = grad.flatten(1)
    if not torch.isfinite(flat).all():
        return "fail", "the loss's gradient is not finite on clean images"
    share = float((flat.abs().amax(1) == 0).float().mean())
    rate, fix = INDICATORS["unavailable gradients"].rate, INDICATORS["unavailable gradients"].fix
    zero = f"zero on {100 * share:.0f} % of the images, limit {100 * rate:.0f} %"
    return ("pass", zero) if share <= rate else ("fail", f"{zero}: {fix}")


def _indicated(name: str, count: int, n: int, text: str) -> Finding:
    """Judges an indicator by its rate on a sound network."""
    failed, test = excess(count, n, INDICATORS[name].rate)
    if failed:
        return "fail", f"{text} ({test}): {INDICATORS[name].fix}"
    return "pass", f"{text} ({test})"


def stability(patient: Patient) -> Finding:
    """The mean relative change of the margin near an image, at most 1 each (second indicator).

    The paper's loss is the cross-entropy, whose relative change says nothing where it is near zero.
    """
    batch = patient.some(patient.right)
    clean = patient.margins[patient.right].abs().clamp(min=1e-12)
    size, total = batch.x.shape[1:], torch.zeros_like(clean)
    for point in range(POINTS):
        unit = randomness.uniform(patient.seed, f"doctor-box-{point}", batch.ids, size)
        near = batch.x + BOX * (2 * torch.from_numpy(unit).to(batch.x.device) - 1)
        there = margin(patient.logits(near.clamp(0, 1)), batch.label, None).abs()
        total += ((there - clean).abs() / clean).clamp(max=1) / POINTS
    mean = float(total.mean()) if len(total) else 0.0
    text = (
        f"the margin changes by {mean:.2g} of itself within {255 * BOX:g}/255, limit {UNSTABLE:g}"
    )
    if mean <= UNSTABLE:
        return "pass", text
    return "fail", f"{text}: predictions are unstable; average gradients over noise (--eot 20)"


def loss_rises(patient: Patient) -> Finding:
    """An attack must do more than the best of a few random points, image by image."""
    batch = patient.some(patient.right)

    def loss(x: Images) -> Tensor:
        return F.cross_entropy(patient.logits(x), batch.label, reduction="none")

    before, after = loss(batch.x), loss(patient.pgd.iterates[STEPS])
    best, threat = before, patient.threat
    for draw in range(NOISES):
        unit = randomness.uniform(
            patient.seed, f"doctor-start-{draw}", batch.ids, (batch.x[0].numel() + 1,)
        )
        start = threat.start(batch.x, torch.from_numpy(unit).to(batch.x.device))
        best = torch.maximum(best, loss(threat.project(start, batch.x)))
    low, n = int((after <= best).sum()), len(batch.ids)
    text = (
        f"mean cross entropy {before.mean():.3g} before, {after.mean():.3g} after PGD-{STEPS}, "
        f"and on {low} of {n} images no higher than the best of {NOISES} random points"
    )
    failed, test = excess(low, n, NO_RISE)
    if failed:
        return "fail", f"{text} ({test}): the gradient leads nowhere; see the checks below"
    return "pass", f"{text} ({test})"


def silent_success(patient: Patient) -> Finding:
    left = set(patient.left.tolist())
    broken = set(patient.right[patient.pgd.first_wrong > 0].tolist())
    silent = len(broken & left)
    text = f"{silent} of the {len(left)} images that PGD-{STEPS} leaves were wrong on the way"
    return _indicated("silent success", silent, len(left), text)


def convergence(patient: Patient) -> Finding:
    left = set(patient.left.tolist())
    climbing = set(patient.right[patient.pgd.course.incomplete].tolist())
    unfinished = len(left & climbing)
    text = (
        f"the loss of {unfinished} of the {len(left)} images that PGD-{STEPS} leaves still rose in "
        "its last tenth"
    )
    return _indicated("incomplete optimisation", unfinished, len(left), text)


def fast_copy(patient: Patient) -> Finding:
    """Attacks follow a folded copy of the network; the network itself judges (fifth indicator)."""
    if patient.randomness:
        return "skipped", "the network draws random numbers"
    adv = patient.pgd.iterates[STEPS]
    copy, _ = accelerate(patient.net, patient.batch.x)
    with torch.no_grad():
        differ = copy(adv).argmax(1) != patient.logits(adv).argmax(1)
    n, count = len(adv), int(differ.sum())
    text = f"the attacked copy and the network disagree on {count} of {n} adversarial images"
    return _indicated("transfer failure", count, n, text)


def large_eps(patient: Patient) -> Finding:
    left = patient.survivors(patient.right, 50, eps=GREY)
    chance = 100 / patient.classes
    wanted = f"at or below chance, {chance:.3g} %"
    verdict, text = within(patient.listed(left), 0.0, chance, wanted)
    text = f"PGD-50 at linf {GREY} leaves {text}"
    if verdict == "fail":
        text += ": an attack without limits must succeed; another --loss, --eot, or no gradients"
    return verdict, text
