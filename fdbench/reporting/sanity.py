"""The sanity gate: signs that a run's numbers are not what they seem. Free of torch.

Each rule reads what a run recorded anyway: its rows, its description, and what its attack saw of
the network (evaluation/observation.py). Masked gradients: Athalye et al. 2018, "Obfuscated
Gradients", Sec. 3.1; Carlini et al. 2019, "On Evaluating Adversarial Robustness", Sec. 5.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from fdbench.reporting.attack_columns import stages
from fdbench.reporting.outcomes import (
    Verdicts,
    at_budgets,
    broken_by,
    clean_answers,
    right_when_clean,
)
from fdbench.stats import mcnemar, wilson
from fdbench.store import Run
from fdbench.threat import unusual, unusual_step

ZERO_GRADIENTS = 0.1  # largest share of images without a gradient
RAISED = 0.5  # least share of the moved images on which an attack raises the loss
SQUARE = 0.002  # share of images that Square alone may break: AutoAttack's own limit
FEWEST = 8  # images that a rule about shares needs
FEWEST_OF_CLASS = 3  # images of a class that show what the network takes it for

SUSPICIOUS = 0.01  # p below which a rise of accuracy is no longer noise

Rule = Callable[[Run], str]  # what is wrong, or nothing


def _observed(run: Run) -> Mapping[str, Any]:
    observed: Mapping[str, Any] = run.info.found.get("observed", {})
    return observed


def _zero_gradients(run: Run) -> str:
    seen = _observed(run)
    count, zero = seen.get("differentiated", 0), seen.get("zero_gradient", 0)
    if zero <= ZERO_GRADIENTS * count:
        return ""
    return (
        f"{zero} of {count} images have a gradient of exactly zero: the network masks its "
        "gradients (rounding, saturated logits); try fdbench doctor and an attack without gradients"
    )


def _loss_not_raised(run: Run) -> str:
    seen = _observed(run)
    moved, raised = seen.get("moved", 0), seen.get("raised", 0)
    if not seen.get("differentiated") or moved < FEWEST:
        return ""
    if raised > RAISED * moved and seen["rise"] > 0:
        return ""
    return (
        f"the attack raised the loss on only {raised} of the {moved} images that it changed: its "
        "gradients point nowhere; robust accuracy is overestimated"
    )


def _probabilities(run: Run) -> str:
    seen = _observed(run)
    count = seen.get("in_unit_interval", 0)
    if count < FEWEST or count < seen["images"]:
        return ""
    return (
        "all outputs lie in [0, 1]: these look like probabilities, not logits, and a second "
        "softmax flattens the gradient; return what comes before the softmax"
    )


def _random(run: Run) -> str:
    if not run.info.found.get("network", {}).get("random"):
        return ""
    if getattr(run.info.attack.parameters, "eot", None) not in (None, 1):
        return ""
    return (
        "the network answers differently on the same images: it draws random numbers; average "
        "gradients over its passes (--eot 20, or AutoAttack's --version rand)"
    )


def _other_classes(run: Run) -> str:
    outputs, classes = run.info.found.get("network", {}).get("outputs"), run.info.data.classes
    # A competition's defence has one more, for images that it did not answer.
    if outputs in (None, classes) or run.info.model.ref.startswith("defense:"):
        return ""
    return (
        f"the network has {outputs} outputs, {run.info.data.name} has {classes} classes: is it "
        "the data that the network was trained on, and is no class missing?"
    )


def _at_chance(run: Run) -> str:
    n, classes = len(run.columns), run.info.data.classes
    right = int(right_when_clean(run.columns).sum())
    if n < FEWEST or wilson(right, n).low > 1 / classes:
        return ""
    return (
        f"clean accuracy, {right} of {n}, can't be told from guessing among {classes} classes: "
        "are weights, preprocessing and labels right?"
    )


def _shifted_labels(run: Run) -> str:
    n, answers = len(run.columns), clean_answers(run.columns)
    for shift in (1, -1):
        off = sum(count for label, clean, count in answers if clean == label + shift)
        classes = _classes_taken_for_the_next(answers, shift)
        if (n >= FEWEST and off > n / 2) or len(classes) > 1:
            which = f"classes {', '.join(map(str, classes))}" if classes else "most images"
            return (
                f"the network's prediction is the label {shift:+d} for {which}: are the labels "
                "shifted, or is a class missing?"
            )
    return ""


def _classes_taken_for_the_next(answers: list[tuple[int, int, int]], shift: int) -> list[int]:
    """The classes most of whose clean images are predicted as label + shift."""
    images, shifted = Counter[int](), Counter[int]()
    for label, clean, count in answers:
        images[label] += count
        shifted[label] += count if clean == label + shift else 0
    return [
        label
        for label, count in images.items()
        if count >= FEWEST_OF_CLASS and shifted[label] > count / 2
    ]


def _unusual_sizes(run: Run) -> str:
    attack, px = run.info.attack, run.info.data.px
    alpha = getattr(attack.parameters, "alpha", None)
    lines = [
        "" if px is None else unusual(attack.norm, attack.eps, px),
        "" if alpha is None else unusual_step(alpha, attack.eps),
    ]
    return "; ".join(filter(None, lines))


def _gain(after: Verdicts, before: Verdicts) -> float | None:
    """The points by which accuracy rises from `before` to `after`, if that is more than noise."""
    one, two = after.beside(before)
    more, less = np.count_nonzero(one & ~two), np.count_nonzero(two & ~one)
    if more <= less or float(mcnemar(int(more), int(less))) >= SUSPICIOUS:
        return None
    return 100 * float(more - less) / len(one)


def _rises_with_iterations(run: Run) -> str:
    for one, two in pairwise(one for one in at_budgets(run) if one.iters):
        if gain := _gain(two.verdicts, one.verdicts):
            return (
                f"robust accuracy rises by {gain:.1f} points from {one.budget} to {two.budget} "
                "iterations: the attack is not converging; try another --alpha or --loss"
            )
    return ""


def _above_clean(run: Run) -> str:
    for one in at_budgets(run):
        if gain := _gain(one.verdicts, one.clean_verdicts):
            return (
                f"robust accuracy ({one.budget}) is {gain:.1f} points above clean accuracy: "
                "the attack helps the network; is its gradient right?"
            )
    return ""


# Stages that do without the network's own gradient, and what to do where they find more.
_WITHOUT_GRADIENT = {
    "square": (
        "Square, which needs no gradient,",
        "gradients are masked, or these attacks are too weak here; for more of Square: "
        "fdbench attack autoattack --only square",
    ),
    "rays": (
        "RayS, which asks for predicted classes alone,",
        "the network's scores do not move with its images: quote no robust accuracy from attacks "
        "that follow them",
    ),
    "identity": (
        "the identity as the gradient of the network's own operations",
        "these operations mask gradients: quote no robust accuracy from attacks without it",
    ),
    "block-free": (
        "the network without its denoising blocks, as a surrogate,",
        "the blocks mask gradients: quote no robust accuracy from attacks through them alone",
    ),
}


def _masked_from_its_stages(run: Run) -> str:
    """AutoAttack's own check, and the fast verdict's guard: other ways beat the gradient."""
    broken, n = broken_by(run.columns), len(run.columns)
    others = [name for name in stages(run.info.attack) if name not in _WITHOUT_GRADIENT]
    lines = [
        f"{who} broke {broken[name]} of {n} images that {', '.join(others)} did not: {what}"
        for name, (who, what) in _WITHOUT_GRADIENT.items()
        if others and broken[name] > max(1, SQUARE * n)
    ]
    return "; ".join(lines)


def _optimises(run: Run) -> str:
    if not run.info.found.get("network", {}).get("optimises"):
        return ""
    return (
        "the network differentiates or optimises in its forward pass: attacks that differentiate "
        "through it see only its last step; attack it adaptively"
    )


RULES: tuple[Rule, ...] = (
    _zero_gradients,
    _loss_not_raised,
    _probabilities,
    _random,
    _masked_from_its_stages,
    _optimises,
    _other_classes,
    _at_chance,
    _shifted_labels,
    _unusual_sizes,
    _rises_with_iterations,
    _above_clean,
)


def implausible(run: Run) -> list[str]:
    """What is implausible about a run, one line for each rule that it breaks."""
    return [text for text in (rule(run) for rule in RULES) if text]
