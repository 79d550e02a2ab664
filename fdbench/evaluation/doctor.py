"""Checks whether a network's robust accuracy can be trusted, for each usual reason why not.

The checks are those of Carlini et al. 2019, "On Evaluating Adversarial Robustness" (Sec. 3 to 5),
and of AutoAttack (Croce and Hein 2020). Each looks for an attack that fails where it should
succeed: then the network masks its gradient, or the evaluation is broken.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F

from fdbench import randomness
from fdbench.attacks import (
    Ensemble,
    craft,
    cross_entropy,
    dlr,
    gradient,
    identity_back,
    margin,
    masking_operations,
    square,
)
from fdbench.errors import NoGradient
from fdbench.evaluation.observation import spied
from fdbench.evaluation.patient import Patient
from fdbench.stats import paired, wilson
from fdbench.store import Check
from fdbench.types import Images
from fdbench.verdict import relative_difference

P = 0.01  # of McNemar's test; below it a difference is not noise
DIFFERING = 8  # images that only one side gets right: with fewer, no p is below P
SEEN = 3  # of them, from which on a difference is no accident of one or two images
POWER = 200  # images on which a difference of 4 points is seen; on fewer the test may be blind
GREY = 0.5  # linf: every image can become the same grey one, where no network beats chance
QUERIES = 1000  # of Square, where AutoAttack uses 5000: enough to beat a masked gradient
DRAWS = 10  # of random noise; the worst counts for each image
# Clean accuracy wanted of a network without an expected one, in multiples of chance; half-way from
# chance to 1 where there are few classes. Wrong preprocessing often leaves more than chance.
LEAST = 3
EXAMPLES = 16  # images on which masking operations are looked for
ZERO = 0.1  # largest share of images with a zero gradient
# Tolerance for logits of the same image in another batch: kernels sum in another order.
RELATIVE = 1e-4
SUMS = 1e-4  # tolerance for the sum of a row of probabilities, in float32


Finding = tuple[str, str]  # a verdict, and the comparison that it comes from in words
Examination = Callable[[Patient], Finding]


def _percent(verdicts: Sequence[bool]) -> str:
    return f"{100 * sum(verdicts) / len(verdicts):.1f} %"


def _against_pgd(patient: Patient, other: str, verdicts: Sequence[bool]) -> Finding:
    """Compares PGD-100 with another attack on the same images; `verdicts` are the other's."""
    test = paired(patient.pgd100, verdicts)
    left = f"PGD-100 leaves {_percent(patient.pgd100)}, {other} {_percent(verdicts)}"
    if test.difference <= 0:
        return "pass", f"{left}: PGD-100 is {'as strong' if not test.difference else 'stronger'}"
    chance = f"McNemar p {test.p:.2g}, limit {P}"
    if test.p < P:
        return "fail", f"{left}: PGD-100 is weaker ({chance})"
    differ = test.only_first + test.only_second
    if test.n < POWER and SEEN <= differ < DIFFERING:
        return "skipped", (
            f"{left}: {test.n} images are too few to tell ({chance}, needs {DIFFERING} images that "
            f"differ): --limit {POWER}"
        )
    return "pass", f"{left}: on {test.n} images within chance ({chance})"


def _within(verdicts: Sequence[bool], low: float, high: float, wanted: str) -> Finding:
    """Compares an accuracy with a range, all in percent; its interval must reach the range."""
    measured = 100 * sum(verdicts) / len(verdicts)
    ends = [100 * end for end in wilson(sum(verdicts), len(verdicts))]
    text = f"{measured:.1f} % [{ends[0]:.1f}, {ends[1]:.1f}]"
    if low <= measured <= high:
        return "pass", f"{text}: {wanted}"
    if ends[0] <= high and ends[1] >= low:
        return "pass", f"{text}: not {wanted}, but the 95 % interval reaches that"
    return "fail", f"{text}: not {wanted}"


def inference_mode(patient: Patient) -> Finding:
    patient.logits(patient.batch.x[:2])
    training = [
        name or "the network" for name, part in patient.net.named_modules() if part.training
    ]
    if training:
        return "fail", f"in training mode: {', '.join(training[:3])}; call net.eval()"
    return "pass", "no module is in training mode"


def clean_accuracy(patient: Patient) -> Finding:
    if patient.expected is not None:
        wanted, give = patient.expected
        return _within(patient.clean, wanted - give, wanted + give, f"{wanted:g} +- {give:g} %")
    chance = 1 / patient.classes
    least = min(LEAST * chance, (1 + chance) / 2)
    text = f"{_percent(patient.clean)}, chance {100 * chance:.3g} %"
    if sum(patient.clean) >= least * len(patient.clean):
        return "pass", f"{text}: {100 * least:.3g} % or more"
    return "fail", f"{text}: below {100 * least:.3g} %; if it should be so low, give --expect-clean"


def randomness_of(patient: Patient) -> Finding:
    off = patient.randomness
    if off == 0:
        return "pass", "none: the same images twice give the same logits"
    differs = f"logits of the same images differ by up to {off:.3g}"
    if patient.eot > 1:
        return "pass", f"{differs}; attacks average over {patient.eot} passes"
    return "fail", f"{differs}, and attacks do not average over them: try --eot 20"


def batch_independent(patient: Patient) -> Finding:
    if patient.randomness:
        return "skipped", "the network draws random numbers"
    x = patient.batch.x[:64]
    whole = patient.logits(x)
    for size in (1, 8):
        parts = torch.cat([patient.logits(x[i : i + size]) for i in range(0, len(x), size)])
        off = relative_difference(parts, whole)
        if not off <= RELATIVE:
            return "fail", (
                f"in batches of {size} the logits differ from those in a batch of {len(x)} by "
                f"{off:.2g} of their size, limit {RELATIVE:g}"
            )
    return "pass", f"logits in batches of 1, 8 and {len(x)} agree to {RELATIVE:g} of their size"


def output(patient: Patient) -> Finding:
    out = patient.logits(patient.batch.x)
    sums = (out.sum(1) - 1).abs().max() < SUMS
    if bool((out >= 0).all() and sums):
        return (
            "fail",
            f"probabilities: none is negative, each row sums to 1 to {SUMS:g}: give logits",
        )
    return "pass", f"logits from {float(out.min()):.3g} to {float(out.max()):.3g}"


def no_optimisation(patient: Patient) -> Finding:
    calls: list[str] = []
    with spied(calls):
        patient.logits(patient.batch.x[:2])
    if calls:
        return "fail", f"the forward pass differentiates ({calls[0]}): attack it adaptively"
    return "pass", "the forward pass does not optimise"


def gradients(patient: Patient) -> Finding:
    label = patient.batch.label
    grad, _ = gradient(patient.net, patient.batch.x, label, None, cross_entropy)
    flat = grad.flatten(1)
    if not torch.isfinite(flat).all():
        return "fail", "the loss's gradient is not finite on clean images"
    share = float((flat.abs().amax(1) == 0).float().mean())
    zero = f"zero on {100 * share:.0f} % of the images, limit {100 * ZERO:.0f} %"
    return ("pass" if share <= ZERO else "fail"), zero


def loss_rises(patient: Patient) -> Finding:
    def loss(x: Images) -> torch.Tensor:
        return F.cross_entropy(patient.logits(x), patient.batch.label, reduction="none")

    before, after = loss(patient.batch.x), loss(patient.adv100)
    rose = (after > before).float().mean().item()
    change = f"mean cross entropy {before.mean():.3g} before, {after.mean():.3g} after PGD-100"
    wanted = "it must rise, and on more than half"
    holds = bool(after.mean() > before.mean()) and rose > 0.5
    text = f"{change}, higher on {100 * rose:.0f} % of the images"
    return ("pass", text) if holds else ("fail", f"{text}: {wanted}")


def noise(patient: Patient) -> Finding:
    x, threat = patient.batch.x, patient.threat
    survived = torch.ones_like(patient.batch.label, dtype=torch.bool)
    for draw in range(DRAWS):
        unit = randomness.uniform(
            patient.seed, f"doctor-noise-{draw}", patient.batch.ids, (x[0].numel() + 1,)
        )
        noisy = threat.project(threat.start(x, torch.from_numpy(unit).to(x.device)), x)
        survived &= torch.tensor(patient.right(noisy), device=x.device)
    return _against_pgd(patient, f"the worst of {DRAWS} random noises", survived.tolist())


def iterations(patient: Patient) -> Finding:
    return _against_pgd(patient, "PGD-10", patient.pgd10)


def losses(patient: Patient) -> Finding:
    """Bounded outputs saturate cross-entropy (sigmoid, tanh): other losses still see the gap."""
    left = {
        name: patient.right(patient.attacked(100, loss=loss))
        for name, loss in {"margin": margin, "dlr": dlr}.items()
        if name != "dlr" or patient.classes > 2
    }
    best = min(left, key=lambda name: sum(left[name]))
    return _against_pgd(patient, f"PGD-100 on the {best} loss", left[best])


def large_eps(patient: Patient) -> Finding:
    verdicts = patient.right(patient.attacked(50, GREY))
    chance = 100 / patient.classes
    verdict, text = _within(verdicts, 0.0, chance, f"at or below chance, {chance:.3g} %")
    return verdict, f"PGD-50 at linf {GREY} leaves {text}"


def square_attack(patient: Patient) -> Finding:
    adv = square(
        patient.net, patient.batch.x, patient.batch.label, patient.threat, patient.seed, QUERIES
    )
    return _against_pgd(patient, f"Square with {QUERIES} queries", patient.right(adv))


def way_back(patient: Patient) -> Finding:
    """An operation that removes small activations or rounds hides where the loss rises."""
    operations = masking_operations(patient.net, patient.batch.x[:EXAMPLES])
    if not operations:
        return "pass", "no operation of the network's own turns the gradient that passes it"
    names = ", ".join(dict.fromkeys(type(one).__name__ for one in operations))
    with identity_back(operations):
        verdicts = patient.right(patient.attacked(100))
    other = f"PGD-100 with the identity as the gradient of {names}"
    try:
        return _against_pgd(patient, other, verdicts)
    except NoGradient:
        return "fail", f"{names} cuts the gradient: {other} leaves {_percent(verdicts)}"


def transfer(patient: Patient) -> Finding:
    if not patient.surrogates:
        return "skipped", "no other network to transfer from: give --surrogate M"
    if patient.threat.norm != "linf":
        return "skipped", f"the transfer attack does not support {patient.threat.norm}"
    weights = (1.0,) * len(patient.surrogates)
    ensemble = Ensemble(patient.surrogates, weights)
    adv = craft("momentum", ensemble, patient.batch, patient.threat, {}, seed=patient.seed)
    return _against_pgd(patient, "momentum transfer", patient.right(adv))


# Names say what is looked at, not how it comes out: that is the finding.
CHECKS: dict[str, Examination] = {
    "inference mode": inference_mode,
    "clean accuracy": clean_accuracy,
    "randomness": randomness_of,
    "batch size": batch_independent,
    "output": output,
    "optimisation": no_optimisation,
    "gradients": gradients,
    "loss": loss_rises,
    "noise against PGD": noise,
    "10 against 100 iterations": iterations,
    "other losses": losses,
    "large eps": large_eps,
    "Square against PGD": square_attack,
    "another way back": way_back,
    "transfer against PGD": transfer,
}


def gradients_per_image(eot: int = 1) -> float:
    """Roughly what all checks but transfer take; a forward pass is a third of a gradient.

    Without the PGD-100 of networks that have masking operations.
    """
    pgd10_and_100, margin_and_dlr, large_eps_50 = 10 + 100, 200, 50
    return eot * (pgd10_and_100 + margin_and_dlr + large_eps_50) + (QUERIES + DRAWS) / 3


def examine(patient: Patient, done: Sequence[Check] = ()) -> Iterator[Check]:
    """Yields every check, in the order of CHECKS; those that are `done` are not repeated."""
    known = {check.check: check for check in done}
    for name, examination in CHECKS.items():
        yield known.get(name) or _checked(name, examination, patient)


def _checked(name: str, examination: Examination, patient: Patient) -> Check:
    """A network without a gradient fails the check about gradients; others can't be made."""
    try:
        return Check(name, *examination(patient))
    except NoGradient as reason:
        if name == "gradients":
            return Check(name, "fail", reason.message)
        return Check(name, "skipped", "there is no gradient to attack with")
