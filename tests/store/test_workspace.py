"""The layout of results/: paths that commands, scripts and older results rely on."""

from pathlib import Path

import pytest

from fdbench.errors import BadValue
from fdbench.store.workspace import RunPaths, SetPaths, Workspace

WORKSPACE = Workspace(Path("results"))
RUN, SET = RunPaths(WORKSPACE.run("a")), SetPaths(WORKSPACE.adversarial_set("b"))

PATHS = {
    "checkpoints/n0.safetensors": WORKSPACE.checkpoint("n0"),
    "checkpoints/n0.resume": WORKSPACE.unfinished("n0"),
    "attackers/g.safetensors": WORKSPACE.attacker("g"),
    "attackers/g.resume": WORKSPACE.unfinished_attacker("g"),
    "doctor/resnet50.json": WORKSPACE.findings("resnet50"),
    "whitebox.csv": WORKSPACE.table("whitebox.csv"),
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
def test_no_path_changes_across_versions(path: str) -> None:
    assert PATHS[path] == Path("results", path)


def test_an_absent_folder_holds_nothing(tmp_path: Path) -> None:
    absent = Workspace(tmp_path / "absent")
    assert absent.weights() == {}
    assert absent.all_runs() == absent.all_findings() == []
    assert absent.described_runs() == absent.described_sets() == []


def test_existing_files_are_listed_by_name(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    files = [
        workspace.checkpoint("n"),
        RunPaths(workspace.run("b")).description,
        RunPaths(workspace.run("a")).rows(0),
    ]
    files += [SetPaths(workspace.adversarial_set("s")).description, workspace.findings("n")]
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert workspace.weights() == {"n": workspace.checkpoint("n")}
    assert workspace.all_runs() == [workspace.run("a"), workspace.run("b")]
    assert workspace.described_runs() == ["b"]
    assert workspace.described_sets() == ["s"]
    assert workspace.all_findings() == files[-1:]


def test_a_workspace_may_be_given_by_its_folder() -> None:
    assert Workspace.of(Path("results")) == Workspace.of(WORKSPACE) == WORKSPACE


NAMES = ["", ".", "..", "../x", "../../../x", "/etc/x", "a/b", "a\\b", "a\0b", "a\nb", "\x1b[2J",
         "x" * 300]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_no_name_leads_out_of_its_folder(tmp_path: Path, name: str) -> None:
    home = Workspace(tmp_path)
    for place in (home.run, home.adversarial_set, home.archived):
        with pytest.raises(BadValue, match="can't be the name of a file"):
            place(name)
    if name != "a/b":  # a report has folders of its own
        with pytest.raises(BadValue, match="can't be the name of a file"):
            home.table(name)
    for place in (home.checkpoint, home.attacker, home.unfinished, home.findings):
        if name not in ("", ".", ".."):  # an ending makes those harmless
            with pytest.raises(BadValue, match="can't be the name of a file"):
                place(name)


@pytest.mark.parametrize("image", ["../x", "a/../../x", "/x", "a//b", "a\0b", "y" * 300])
def test_no_image_is_written_out_of_its_run(tmp_path: Path, image: str) -> None:
    paths = RunPaths(tmp_path)
    assert paths.png("20", "class/photo") == tmp_path / "png" / "20" / "class" / "photo.png"
    with pytest.raises(BadValue, match="can't be the name of a file"):
        paths.png("20", image)
    with pytest.raises(BadValue, match="can't be the name of a file"):
        paths.png("..", 3)
