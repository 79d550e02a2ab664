"""More than chance: an exact test of a count against a rate, and what it can find."""

from scipy.stats import beta, binom


def exceeds(k: int, n: int, rate: float) -> float:
    """The exact p-value of `k` or more of `n`, if each comes with a probability of `rate`."""
    return float(binom.sf(k - 1, n, rate))


def visible(n: int, rate: float, level: float, power: float) -> float:
    """The smallest true share that `exceeds` finds among `n` with this power, at this level.

    1 where even n of n would not be found. From P(k or more of n) = I_share(k, n - k + 1), where k
    is the fewest that it finds and I the distribution of a beta variable.
    """
    fewest = next((k for k in range(1, n + 1) if exceeds(k, n, rate) < level), None)
    return 1.0 if fewest is None else float(beta.ppf(power, fewest, n - fewest + 1))
