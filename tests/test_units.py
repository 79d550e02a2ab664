import pytest

from fdbench.errors import BadValue
from fdbench.units import parse_size, pixels, print_size


@pytest.mark.parametrize("text", ["8/255", "8px", "0.03137254901960784", " 8 / 255 ", "8 px"])
def test_the_three_forms_of_a_size_agree(text: str) -> None:
    assert parse_size(text, "linf") == pytest.approx(8 / 255, abs=1e-12)


def test_fractions_of_a_pixel_are_allowed() -> None:
    assert parse_size("0.5/255", "linf") == 0.5 / 255
    assert pixels(0.5 / 255) == "0.5/255"


def test_an_l2_size_above_one_is_allowed_and_printed_plainly() -> None:
    assert parse_size("3", "l2") == 3.0
    assert print_size(3.0, "l2") == "3"


@pytest.mark.parametrize("text", ["8", "255", "1.5"])
def test_a_bare_linf_number_above_one_proposes_the_fraction(text: str) -> None:
    with pytest.raises(BadValue, match=rf"Did you mean --eps {text}/255"):
        parse_size(text, "linf")


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "0", "8/0", "", "8/255/2", "1e999", "eight"])
def test_anything_but_a_positive_size_is_refused(text: str) -> None:
    with pytest.raises(BadValue, match="8/255"):
        parse_size(text, "linf")
