"""What lies where under results/: names that commands, scripts and older results rely on."""

from pathlib import Path

import pytest

from fdbench.store.workspace import RunPaths, SetPaths, Workspace

HERE = Workspace(Path("results"))
RUN, SET = RunPaths(HERE.run("a")), SetPaths(HERE.adversarial_set("b"))

PATHS = {
    "checkpoints/n0.safetensors": HERE.checkpoint("n0"),
    "checkpoints/n0.resume": HERE.unfinished("n0"),
    "attackers/g.safetensors": HERE.attacker("g"),
    "attackers/g.resume": HERE.unfinished_attacker("g"),
    "doctor/resnet50-abababab-b.json": HERE.findings("a/resnet50", "ab" * 32, "npz:a/b"),
    "whitebox.csv": HERE.table("whitebox.csv"),
    "runs/a/run.json": RUN.description,
    "runs/a/rows-3.jsonl": RUN.rows(3),
    "runs/a/scratch-3": RUN.scratch(3),
    "runs/a/adv": RUN.images,
    "runs/a/png/10/7.png": RUN.png("10", 7),
    "sets/b/set.json": SET.description,
    "sets/b/index-0.jsonl": SET.index(0),
    "sets/b/adv": SET.images,
}


@pytest.mark.parametrize("path", PATHS)
def test_a_path_is_what_it_has_always_been(path: str) -> None:
    assert PATHS[path] == Path("results", path)


def test_an_absent_folder_holds_nothing(tmp_path: Path) -> None:
    absent = Workspace(tmp_path / "absent")
    assert absent.weights() == {}
    assert absent.all_runs() == absent.all_findings() == []
    assert absent.described_runs() == absent.described_sets() == []


def test_what_is_there_is_listed_by_name(tmp_path: Path) -> None:
    here = Workspace(tmp_path)
    files = [
        here.checkpoint("n"),
        RunPaths(here.run("b")).description,
        RunPaths(here.run("a")).rows(0),
    ]
    files += [SetPaths(here.adversarial_set("s")).description, here.findings("n", "0" * 8, "d")]
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert here.weights() == {"n": here.checkpoint("n")}
    assert here.all_runs() == [here.run("a"), here.run("b")]
    assert here.described_runs() == ["b"]
    assert here.described_sets() == ["s"]
    assert here.all_findings() == files[-1:]


def test_a_workspace_may_be_given_by_its_folder() -> None:
    assert Workspace.of(Path("results")) == Workspace.of(HERE) == HERE
