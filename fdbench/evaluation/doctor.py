"""Checks whether a network's robust accuracy can be trusted, for each usual reason why not.

The checks are those of Carlini et al. 2019, "On Evaluating Adversarial Robustness" (Sec. 3 to 5),
of AutoAttack (Croce and Hein 2020), and of Pintor et al. 2022, "Indicators of Attack Failure". Each
looks for an attack that fails where it should succeed: then the network masks its gradient, or the
evaluation is broken.
"""

from collections.abc import Callable, Iterator, Sequence

import torch

from fdbench.errors import NoGradient
from fdbench.evaluation import failure, masking
from fdbench.evaluation.comparing import Finding, from_few_to_many_steps, percent, within
from fdbench.evaluation.observation import spied
from fdbench.evaluation.patient import STEPS, Patient
from fdbench.store import Check
from fdbench.verdict import relative_difference

# Clean accuracy wanted of a network without an expected one, in multiples of chance; half-way from
# chance to 1 where there are few classes. Wrong preprocessing often leaves more than chance.
LEAST = 3
# Tolerance for logits of the same image in another batch: kernels sum in another order.
RELATIVE = 1e-4
SUMS = 1e-4  # tolerance for the sum of a row of probabilities, in float32

Examination = Callable[[Patient], Finding]


def inference_mode(patient: Patient) -> Finding:
    patient.logits(patient.batch.x[:2])
    training = [
        name or "the network" for name, part in patient.net.named_modules() if part.training
    ]
    if training:
        return "fail", f"in training mode: {', '.join(training[:3])}; call net.eval()"
    return "pass", "no module is in training mode"


def clean_accuracy(patient: Patient) -> Finding:
    count, images = len(patient.right), len(patient.batch.ids)
    if patient.expected is not None:
        wanted, give = patient.expected
        clean = patient.listed(patient.right)
        return within(clean, wanted - give, wanted + give, f"{wanted:g} +- {give:g} %")
    chance = 1 / patient.classes
    least = min(LEAST * chance, (1 + chance) / 2)
    text = f"{percent(count, images)}, chance {100 * chance:.3g} %"
    if count >= least * images:
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


# Names say what is looked at, not how it comes out: that is the finding. Pintor's six indicators in
# the paper's order: gradients, stability, silent success, convergence, attacked copy, large eps.
CHECKS: dict[str, Examination] = {
    "inference mode": inference_mode,
    "clean accuracy": clean_accuracy,
    "randomness": randomness_of,
    "batch size": batch_independent,
    "output": output,
    "optimisation": no_optimisation,
    "gradients": failure.gradients,
    "gradient against steps": masking.gradient_and_steps,
    "one step": masking.one_step,
    "stability": failure.stability,
    "loss": failure.loss_rises,
    "silent success": failure.silent_success,
    "convergence": failure.convergence,
    "attacked copy": failure.fast_copy,
    "10 against 100 iterations": from_few_to_many_steps,
    "large eps": failure.large_eps,
    "other losses": masking.losses,
    "noise against PGD": masking.noise,
    "smoothed gradient": masking.smoothed,
    "another way back": masking.way_back,
    "Square against PGD": masking.square_attack,
    "transfer against PGD": masking.transfer,
}


# Checks that need no image that is classified correctly; the others attack those.
_WITHOUT_ATTACK = tuple(CHECKS)[: list(CHECKS).index("gradients") + 1]


def gradients_per_image(eot: int = 1) -> float:
    """Roughly what all checks but transfer take at most; a forward pass is a third of a gradient.

    Without the PGD-100 of networks that have masking operations. Broken images leave, so that most
    networks take a fraction of it.
    """
    losses, large_eps_50 = 3 * STEPS, 50
    smooth = masking.BLURS * masking.BLURRED_STEPS
    return eot * (losses + large_eps_50 + smooth) + (masking.QUERIES + masking.DRAWS) / 3


def examine(patient: Patient, done: Sequence[Check] = ()) -> Iterator[Check]:
    """Yields every check, in the order of CHECKS; those that are `done` are not repeated."""
    known = {check.check: check for check in done}
    for name, examination in CHECKS.items():
        yield known.get(name) or _checked(name, examination, patient)


def _checked(name: str, examination: Examination, patient: Patient) -> Check:
    """A network without a gradient fails the check about gradients; others can't be made."""
    try:
        if name not in _WITHOUT_ATTACK and not len(patient.right):
            return Check(name, "skipped", "no image is classified correctly: nothing to attack")
        return Check(name, *examination(patient))
    except NoGradient as reason:
        if name == "gradients":
            return Check(name, "fail", reason.message)
        return Check(name, "skipped", "there is no gradient to attack with")
