"""Names that are nearly right are answered with the right one."""

import pytest

from fdbench.errors import nearest, unknown


@pytest.mark.parametrize(
    ("given", "meant"), [("PGD", "pgd"), ("atack", "attack"), ("Linf", "linf")]
)
def test_a_near_miss_in_any_letter_case_is_recognised(given: str, meant: str) -> None:
    assert nearest(given, ["pgd", "attack", "linf"]) == [meant]
    assert f"Did you mean {meant!r}?" in unknown("name", given, ["pgd", "attack", "linf"]).message


def test_names_that_differ_in_letter_case_alone_are_all_proposed() -> None:
    assert nearest("NET", ["Net", "net", "nets"]) == ["Net", "net"]


def test_nothing_near_proposes_nothing() -> None:
    assert nearest("zebra", ["pgd"]) == []
