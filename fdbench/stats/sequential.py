"""A paired test that may be looked at after every image, and stopped at any of them.

If two networks are equally accurate, an image on which only one of them is right is as likely to
favour either: a fair coin. Bet on it. After b images for the first and c for the second, someone
who bets by a Beta(a, a) belief about the coin has multiplied their money by

    E = B(a + b, a + c) / B(a, a) * 2 ** (b + c),

B being the beta function: the likelihood of the coin under that belief over its likelihood if it is
fair. While it is fair, E is a martingale that starts at 1, so the chance that it *ever* reaches
1 / alpha is at most alpha, however often one looks (Ville 1939). Sources: Robbins 1970, Annals of
Mathematical Statistics 41:1397 (mixtures); Ramdas, Gruenwald, Vovk and Shafer 2023, Statistical
Science 38:576 (e-processes). McNemar's test would err far more often than its 5 % if one stopped as
soon as it said so.

Assumes that the images come in an order that has nothing to do with the answers.
"""

from dataclasses import dataclass
from math import log
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import betaln

from fdbench.stats.intervals import Interval, wilson

ALPHA = 0.05
# Beta(10, 10): a coin between 0.3 and 0.7. Of 2 to 80, it and 20 stop earliest over 1000 simulated
# differences of three points each, for networks that disagree on 5 to 30 % of the images.
BELIEF = 10.0
Counts = Int[np.ndarray, "..."]
Reals = Float[np.ndarray, "..."]
Verdict = Literal["first", "second", "undecided"]


def _log_evidence(first: Counts | int, second: Counts | int, coin: float) -> Reals:
    """log E against a coin that favours the first with this chance."""
    mixed = betaln(BELIEF + np.asarray(first, float), BELIEF + np.asarray(second, float))
    mixed = mixed - betaln(BELIEF, BELIEF)
    return np.asarray(mixed - np.multiply(first, log(coin)) - np.multiply(second, log(1 - coin)))


def evidence(first: Counts | int, second: Counts | int) -> Reals:
    """E after so many images on which only the first, and only the second, network is right."""
    largest = 700.0  # exp of more is no float
    return np.asarray(np.exp(np.minimum(_log_evidence(first, second, 0.5), largest)))


@dataclass(frozen=True)
class Evidence:
    """What `n` images say: `verdict` names the more accurate network.

    `interval` is the difference's, in shares: what E does not rule out, which holds wherever one
    stops, times the Wilson interval of the rate at which the two disagree.
    """

    n: int
    only_first: int
    only_second: int
    e: float
    verdict: Verdict
    interval: Interval

    @property
    def difference(self) -> float:
        """The first's accuracy less the second's, on these images."""
        return (self.only_first - self.only_second) / self.n if self.n else 0.0


def decision(first: Bool[np.ndarray, " n"], second: Bool[np.ndarray, " n"]) -> int | None:
    """After how many images, in this order, the test decides; None if it does not."""
    only_first, only_second = np.cumsum(first & ~second), np.cumsum(second & ~first)
    reached = np.flatnonzero(_log_evidence(only_first, only_second, 0.5) >= log(1 / ALPHA))
    return int(reached[0]) + 1 if len(reached) else None


def gathered(first: Bool[np.ndarray, " n"], second: Bool[np.ndarray, " n"]) -> Evidence:
    """What the images say, in this order: up to the one that decides, if one does.

    Later images would change the difference but not the verdict: the test had stopped.
    """
    decided = decision(first, second)
    n = len(first) if decided is None else decided
    a, b = first[:n], second[:n]
    one, two = int((a & ~b).sum()), int((b & ~a).sum())
    better: Verdict = "first" if one > two else "second"
    return Evidence(
        n, one, two, float(evidence(one, two)), better if decided else "undecided",
        _interval(one, two, n),
    )  # fmt: skip


def _interval(first: int, second: int, n: int) -> Interval:
    """The coins against which E is below 1 / alpha, times the rates of disagreement."""
    if not n:
        return Interval(-1.0, 1.0)
    low, high = 2 * _coin(first, second) - 1, 1 - 2 * _coin(second, first)
    rates = wilson(first + second, n)
    return Interval(min(low * rate for rate in rates), max(high * rate for rate in rates))


def _coin(first: int, second: int) -> float:
    """The least chance of the first that E does not rule out."""
    low, high = 0.0, (first + 1) / (first + second + 2)
    for _ in range(50):
        middle = (low + high) / 2
        ruled_out = float(_log_evidence(first, second, middle)) >= log(1 / ALPHA)
        low, high = (middle, high) if ruled_out else (low, middle)
    return high
