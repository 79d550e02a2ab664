import pytest

from fdbench.threat import unusual, unusual_step


@pytest.mark.parametrize(
    ("norm", "eps", "px"),
    [
        ("linf", 8 / 255, 32),
        ("linf", 0.3, 28),
        ("linf", 1 / 255, 32),
        ("linf", 16 / 255, 299),
        ("l2", 0.5, 32),
        ("l2", 128 / 255, 32),
        ("l2", 3.0, 224),
        ("l1", 12.0, 32),
        ("l0", 72.0, 32),
        ("of-a-plugin", 1e6, 32),
    ],
)
def test_published_sizes_are_not_unusual(norm: str, eps: float, px: int) -> None:
    assert unusual(norm, eps, px) == ""


@pytest.mark.parametrize(
    ("norm", "eps", "px", "line"),
    [
        ("linf", 0.5, 32, "eps 127.5/255 in linf is far larger than the usual 8/255 for images"),
        ("linf", 0.05 / 255, 32, "eps 0.05/255 in linf is far smaller than the usual 8/255"),
        ("l2", 0.01, 32, "eps 0.01 in l2 is far smaller than the usual 0.5 for images of 32 px"),
        ("l2", 0.25, 224, "far smaller than the usual 3 for images of 224 px"),
        ("l2", 8.0, 32, "far larger than the usual 0.5"),
    ],
)
def test_a_size_far_from_the_usual_gets_a_line(norm: str, eps: float, px: int, line: str) -> None:
    assert line in unusual(norm, eps, px)
    assert "\n" not in unusual(norm, eps, px)


def test_a_step_above_eps_gets_a_line() -> None:
    assert unusual_step(2 / 255, 8 / 255) == ""
    assert unusual_step(8 / 255, 8 / 255) == ""  # a single full step is FGSM
    assert "alpha is 2 times eps" in unusual_step(16 / 255, 8 / 255)
