"""Sizes that are allowed but far from the usual, which a person should hear of. Free of torch."""

from fdbench.units import USUAL, print_size

# Small images (up to 85 px, the geometric mean of 32 and 224) have the eps of CIFAR-10, larger ones
# that of ImageNet.
_SMALL = 85
# Published eps lie within a factor of 10: linf 1/255 to 0.3 (Madry et al. 2018, on MNIST), l2 0.25
# to 2.
_FAR = 10


def unusual(norm: str, eps: float, px: int) -> str:
    """A line about an eps that is a factor of 10 or more from the usual; else "".

    Args:
        norm: any norm; those that are not built in have no usual eps.
        eps: in image units.
        px: the side of the images.
    """
    if norm not in USUAL:
        return ""
    usual = USUAL[norm][px > _SMALL]
    if usual / _FAR < eps < usual * _FAR:
        return ""
    kind = "larger" if eps > usual else "smaller"
    return (
        f"eps {print_size(eps, norm)} in {norm} is far {kind} than the usual "
        f"{print_size(usual, norm)} for images of {px} px"
    )


def unusual_step(alpha: float, eps: float) -> str:
    """A line about a step size above eps, whose every step leaves the ball; else ""."""
    if alpha <= eps:
        return ""
    return (
        f"the step size alpha is {alpha / eps:.3g} times eps: a step crosses the ball; usual is "
        "eps/4 or less"
    )
