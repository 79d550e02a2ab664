"""A line's name and columns mean one attack: what can change a verdict is in one of them."""

from pathlib import Path
from typing import Any

import pytest
from madeup import info, row, spec_of, store

from fdbench.reporting.attack_columns import follows_authors, is_plain_pgd
from fdbench.reporting.headline import headline
from fdbench.reporting.whitebox import whitebox
from fdbench.specs import AttackSpec
from fdbench.store import read_runs


def names(results: Path) -> list[str]:
    return sorted(whitebox(read_runs(results))["attack"])


def autoattack(results: Path, **settings: Any) -> None:
    run = info("r20", (), 1, attack="autoattack", **settings)
    store(results, run, [{**row(0, None, ()), "pred": {"autoattack": 3}}])


def test_versions_and_lists_of_autoattack_have_lines_of_their_own(tmp_path: Path) -> None:
    autoattack(tmp_path)
    autoattack(tmp_path, version="standard")
    autoattack(tmp_path, version="plus")
    autoattack(tmp_path, version="rand")
    for only in (["square"], ["fab", "square"]):
        autoattack(tmp_path, version="custom", attacks=only)
    assert names(tmp_path) == [
        "autoattack",
        "autoattack (fab, square)",
        "autoattack (plus)",
        "autoattack (rand)",
        "autoattack (square)",
    ]
    assert "autoattack (square)" in headline(read_runs(tmp_path), ())["attacks"].iloc[0]


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, "pgd"),
        ({"targeted": True}, "pgd"),
        ({"targeted": True, "targets": "least-likely"}, "pgd (least-likely)"),
        ({"targeted": True, "targets": "file", "eot": 20}, "pgd (file, eot 20)"),
        ({"random_start": False}, "pgd (clean start)"),
        ({"stop_early": True}, "pgd any iterate"),
    ],
)
def test_what_has_no_column_is_in_the_name(
    tmp_path: Path, settings: dict[str, Any], name: str
) -> None:
    store(tmp_path, info("r20", (10,), 1, **settings), [row(0, None, (10,))])
    assert names(tmp_path) == [name]


def test_attacks_of_other_packages_show_their_settings() -> None:
    for attack, settings, marks in (
        ("foolbox", {"name": "L2PGD", "settings": {"steps": 5}}, ("steps=5",)),
        ("theirs", {"strength": 3}, ("strength 3",)),
    ):
        spec = AttackSpec.of({"attack": attack, "parameters": settings}, "a test")
        assert spec.parameters.marks == marks


@pytest.mark.parametrize("settings", [{"targets": "least-likely"}, {"eot": 20}])
def test_the_authors_table_takes_their_attack_only(settings: dict[str, Any]) -> None:
    theirs: dict[str, Any] = {"eps": 16 / 255, "targeted": True}
    assert follows_authors(spec_of((10,), **theirs))
    other = spec_of((10,), **theirs, **settings)
    assert not follows_authors(other)
    assert not is_plain_pgd(other, 10)
