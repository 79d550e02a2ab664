"""The statistics behind the doctor's verdicts: exact tests on the same images, and their power.

A sound network, too, has images that one attack breaks and another leaves. A check fails where
there are more of them than a sound network's rate explains, by an exact one-sided test; where it
passes, it says how much it could have missed.
"""

from collections.abc import Sequence

from fdbench.evaluation.patient import FEW_STEPS, STEPS, Patient
from fdbench.stats import exceeds, visible, wilson
from fdbench.types import Labels

Finding = tuple[str, str]  # a verdict, and the comparison that it comes from in words

COMPARISONS = 13  # tests that an examination makes
LEVEL = 0.05 / COMPARISONS  # Bonferroni: a sound network fails one of them with 5 % at most
POWER = 0.9  # with which a passed check would have found what it names
BLIND = 0.25  # of all images: a check that could miss more says nothing
MANY = 200  # images on which it no longer could


def percent(count: int, of: int) -> str:
    """`35.0 %`."""
    return f"{100 * count / max(of, 1):.1f} %"


def excess(count: int, n: int, rate: float) -> tuple[bool, str]:
    """Whether `count` of `n` is more than a sound network's rate explains, and the test in words.

    The words of a test that found nothing are what it would have found.
    """
    p = exceeds(count, n, rate)
    if p < LEVEL:
        return True, f"a sound network: {100 * rate:g} % at most; p {p:.2g}, limit {LEVEL:.2g}"
    share = visible(n, rate, LEVEL, POWER)
    found = f"{100 * share:.0f} % would fail with a power of {100 * POWER:g} %"
    return False, f"p {p:.2g}, limit {LEVEL:.2g}; {found if share < 1 else 'too few to fail'}"


def beyond(
    patient: Patient, left: Labels, broken: int, other: str, rate: float, do: str
) -> Finding:
    """Judges how many of the places that gradients left another attack breaks; `do` is the remedy.

    Skipped where so few are left, of so few, that no count would show masking.
    """
    n, images = len(left), len(patient.batch.ids)
    where = f"{other} breaks {broken} of the {n} images that PGD-{STEPS} leaves"
    failed, text = excess(broken, n, rate)
    if failed:
        return "fail", f"{where} ({text}): {do}"
    if not n:
        return "pass", f"PGD-{STEPS} leaves no image: there is no robustness to doubt"
    points = visible(n, rate, LEVEL, POWER) * n / images
    if points > BLIND:
        return "skipped", f"{where}: too few to tell ({text}): --limit {max(MANY, 2 * images)}"
    return "pass", f"{where} ({text}, {100 * points:.0f} points of robust accuracy)"


def from_few_to_many_steps(patient: Patient) -> Finding:
    """Whether images that few steps break are right again after many."""
    few, many = set(patient.left_by_few.tolist()), set(patient.left.tolist())
    images, back = len(patient.batch.ids), len(many - few)
    text = (
        f"PGD-{FEW_STEPS} leaves {percent(len(few), images)}, PGD-{STEPS} "
        f"{percent(len(many), images)}; {back} images are right again"
    )
    failed, test = excess(back, len(many), 0.05)
    if failed:
        return "fail", (
            f"{text} ({test}): more steps must not help the network; count any iterate, or try a "
            "smaller --alpha"
        )
    return "pass", f"{text} ({test})"


def within(verdicts: Sequence[bool], low: float, high: float, wanted: str) -> Finding:
    """Compares an accuracy with a range, all in percent; its interval must reach the range."""
    measured = 100 * sum(verdicts) / len(verdicts)
    ends = [100 * end for end in wilson(sum(verdicts), len(verdicts))]
    text = f"{measured:.1f} % [{ends[0]:.1f}, {ends[1]:.1f}]"
    if low <= measured <= high:
        return "pass", f"{text}: {wanted}"
    if ends[0] <= high and ends[1] >= low:
        return "pass", f"{text}: not {wanted}, but the 95 % interval reaches that"
    return "fail", f"{text}: not {wanted}"
