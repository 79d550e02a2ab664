import pytest
import torch

from fdbench.threat import Threat
from fdbench.verdict import IllegalAdversary, check

X = torch.full((2, 3, 4, 4), 0.5)
THREAT = Threat("linf", 8 / 255)


def changed(value: float) -> torch.Tensor:
    adv = X.clone()
    adv[1, 2, 3, 3] = value
    return adv


def test_images_in_ball_and_box_pass() -> None:
    check(changed(0.5 + 8 / 255), X, THREAT)
    check(X, X, THREAT)


@pytest.mark.parametrize("value", [0.5 + 8.01 / 255, 0.5 - 9 / 255])
def test_a_pixel_outside_the_ball_is_named_with_its_distance(value: float) -> None:
    with pytest.raises(IllegalAdversary, match=r"limit 8/255"):
        check(changed(value), X, THREAT)


@pytest.mark.parametrize("value", [float("nan"), -0.01, 1.01, float("inf")])
def test_nan_and_values_outside_the_box_fail(value: float) -> None:
    with pytest.raises(IllegalAdversary, match=r"images lie in \[0, 1\]"):
        check(changed(value), X, Threat("linf", 2.0))


def test_another_shape_fails_even_where_it_would_broadcast() -> None:
    with pytest.raises(IllegalAdversary, match="returned"):
        check(X[:1], X, THREAT)
