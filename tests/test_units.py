import pytest

from fdbench.errors import BadValue
from fdbench.units import check_size, parse_size, pixels, print_size


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


def test_a_fraction_above_one_is_not_answered_with_two_slashes() -> None:
    with pytest.raises(BadValue) as refused:
        parse_size("300/255", "linf")
    assert "300/255/255" not in str(refused.value)


@pytest.mark.parametrize("norm", ["l2", "l1", "l0"])
@pytest.mark.parametrize("text", ["8/255", "8px", "0.0314", "0.5/255", "32 / 255"])
def test_an_eps_of_one_value_is_refused_in_norms_of_the_whole_image(text: str, norm: str) -> None:
    with pytest.raises(BadValue, match=f"in {norm} it is .*\nUsual: --norm {norm} --eps"):
        parse_size(text, norm)


@pytest.mark.parametrize(
    ("norm", "usual"), [("l2", "0.5 at 32 px, 3 at"), ("l1", "12 at 32"), ("l0", "72 at 32 px")]
)
def test_the_refusal_has_the_usual_size_of_that_norm(norm: str, usual: str) -> None:
    with pytest.raises(BadValue, match=usual):
        parse_size("8/255", norm)


@pytest.mark.parametrize(
    ("norm", "text", "size"),
    [
        ("l2", "0.5", 0.5),
        ("l2", "128/255", 128 / 255),
        ("l2", "0.1", 0.1),
        ("l2", "36/255", 36 / 255),
        ("l2", "0.01", 0.01),
        ("l1", "12", 12.0),
        ("l0", "24", 24.0),
    ],
)
def test_sizes_in_a_norms_own_unit_are_taken_as_typed(norm: str, text: str, size: float) -> None:
    assert parse_size(text, norm) == pytest.approx(size, rel=1e-12)


@pytest.mark.parametrize("text", ["0.5", "12.5"])
def test_an_l0_eps_that_is_no_whole_number_of_values_is_refused(text: str) -> None:
    with pytest.raises(BadValue, match="not a whole number"):
        parse_size(text, "l0")


def test_a_step_of_l2_may_be_given_in_pixels() -> None:
    assert parse_size("15/255", "l2", "alpha") == 15 / 255


@pytest.mark.parametrize("size", [8.0, -1.0, 0.0, float("nan"), float("inf"), "8", None])
def test_a_size_from_python_is_refused_as_typed_ones_are(size: object) -> None:
    with pytest.raises(BadValue, match="8/255"):
        check_size(size, "linf")
