"""Lines are split by setting, and the title of a setting names all of it."""

from dataclasses import replace
from pathlib import Path

import pytest
from madeup import decaying, info, row, store
from test_all_or_nothing import rows, run_info

from fdbench.reporting.all_or_nothing import blackbox
from fdbench.reporting.selection import named
from fdbench.reporting.setting import BLACK_BOX, THREAT, WHITE_BOX, Setting, by_setting
from fdbench.reporting.whitebox import whitebox
from fdbench.store.runs import read_runs

CIFAR10 = ("cifar10", "test", "linf", "8/255", "untargeted")


@pytest.mark.parametrize(
    ("known", "title"),
    [
        ({}, "cifar10 test, linf 8/255, untargeted"),
        ({"knowledge": "white-box"}, "cifar10 test, linf 8/255, untargeted, white-box"),
        (
            {"knowledge": "black-box", "set": "mine", "digest": "01234567"},
            "cifar10 test, linf 8/255, untargeted, set mine (01234567)",
        ),
    ],
)
def test_title_names_the_threat_and_the_attackers_knowledge(
    known: dict[str, str], title: str
) -> None:
    assert Setting(*CIFAR10, **known).title == title


def test_setting_of_a_run_is_that_of_its_lines(tmp_path: Path) -> None:
    decaying(tmp_path / "white", "r20", {0: 90, 10: 60}, targeted=True, norm="l2", eps=0.5)
    (run,) = read_runs(tmp_path / "white")
    ((setting, _),) = by_setting(whitebox([run]), WHITE_BOX)
    assert setting == Setting.of(run)
    assert setting.title == "fashion-mini test, l2 0.5, targeted, white-box"
    store(tmp_path / "black", run_info(), rows())
    (run,) = read_runs(tmp_path / "black")
    ((setting, _),) = by_setting(blackbox([run]), BLACK_BOX)
    assert setting == replace(Setting.of(run), knowledge="")
    assert setting.title == "fashion-mini test, linf 32/255, untargeted, set madeup (01234567)"


@pytest.mark.parametrize(
    ("known", "change"),
    [
        ({}, {"eps": 4 / 255}),
        ({}, {"targeted": True}),
        ({}, {"norm": "l2"}),
        ({"targeted": True}, {"targeted": True, "targets": "least-likely"}),
    ],
)
def test_lines_of_two_threats_are_kept_apart(
    tmp_path: Path, known: dict[str, object], change: dict[str, object]
) -> None:
    decaying(tmp_path, "r20", {0: 90, 10: 60}, **known)
    decaying(tmp_path, "r20", {0: 90, 10: 60}, **change)
    assert [len(lines) for _, lines in by_setting(whitebox(read_runs(tmp_path)), THREAT)] == [1, 1]


def test_runs_on_another_split_are_in_another_setting(tmp_path: Path) -> None:
    mine = info()
    store(tmp_path, mine, [])
    store(tmp_path, replace(mine, data=replace(mine.data, split="held-out")), [])
    assert len({Setting.of(run) for run in read_runs(tmp_path)}) == 2


def test_two_data_sets_of_one_name_never_share_a_table(tmp_path: Path) -> None:
    mine = info(iters=(10,))
    for fingerprint in ("a" * 16, "b" * 16):
        data = replace(mine.data, fingerprint=fingerprint)
        store(tmp_path, replace(mine, data=data), [row(0, None, (10,))])
    names = {run.info.data.name for run in named(read_runs(tmp_path))}
    assert names == {"fashion-mini (aaaaaa)", "fashion-mini (bbbbbb)"}
