"""A folder of images becomes lines; no kill, broken image or second network corrupts them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from killing import killed, lines_in
from PIL import Image

from fdbench.commands import main
from fdbench.errors import BadValue
from fdbench.evaluation.classify import Classification, classify_folder, side, whole_image
from fdbench.models.defences.preprocessed import Preprocessed
from fdbench.models.load import Model

# A network that answers with the image's brightness: class 0 is dark, class 9 is bright.
NETWORK = """
import time, torch, fdbench
class Net(torch.nn.Module):
    px = 16
    pause = 0.0
    def forward(self, x):
        time.sleep(self.pause)
        classes = torch.arange(10, device=x.device) / 10 + 0.05
        return -(x.mean((1, 2, 3))[:, None] - classes).abs()
def net():
    return Net()
def slow():
    slow = Net()
    slow.pause = 0.2
    return slow
def sizeless():
    return torch.nn.Flatten()
def resizing():
    return fdbench.Preprocessed(Net(), 16, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
def other():
    other = Net()
    other.register_buffer("more", torch.ones(1))
    return other
"""
COUNT = 12


@pytest.fixture
def cwd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "nets.py").write_text(NETWORK)
    (tmp_path / "in").mkdir()
    for i in range(COUNT):
        level = np.full((20 + i, 30, 3), 25 * (i % 10) + 12, np.uint8)
        Image.fromarray(level).save(tmp_path / "in" / f"{COUNT - i:02}.png")
    yield tmp_path
    sys.modules.pop("nets", None)


def run(*words: str) -> Result:
    line = ["classify", "--model", "nets:net", "in", "out.csv", *words]
    return CliRunner().invoke(main, line, prog_name="fdbench")


def expected(base: int = 0) -> str:
    return "".join(f"{COUNT - i:02}.png,{i % 10 + base}\n" for i in reversed(range(COUNT)))


@pytest.mark.parametrize("base", [0, 1])
def test_lines_are_names_and_labels_sorted_by_name(cwd: Path, base: int) -> None:
    result = run("--label-base", str(base), "--batch-size", "5")
    assert result.exit_code == 0, result.output
    assert (cwd / "out.csv").read_text() == expected(base)
    assert result.stdout == "out.csv\n"


def test_batch_size_changes_no_line(cwd: Path) -> None:
    for size in ("1", "7", "50"):
        (cwd / "out.csv.jsonl").unlink(missing_ok=True)
        (cwd / "out.csv").unlink(missing_ok=True)
        assert run("--batch-size", size).exit_code == 0
        assert (cwd / "out.csv").read_text() == expected()


def test_a_finished_folder_is_not_labelled_again(cwd: Path) -> None:
    run()
    before = (cwd / "out.csv.jsonl").read_bytes()
    assert run("--label-base", "1").exit_code == 0
    assert (cwd / "out.csv").read_text() == expected(1)
    assert (cwd / "out.csv.jsonl").read_bytes() == before


def test_a_killed_command_resumes_and_ends_with_the_same_bytes(cwd: Path) -> None:
    words = ["classify", "--model", "nets:slow", "--batch-size", "1", "in", "out.csv"]
    command = [sys.executable, "-m", "fdbench", *words]
    journal = cwd / "out.csv.jsonl"
    killed(lambda: lines_in(journal) > 3, *command[1:])
    assert not (cwd / "out.csv").exists()
    with journal.open("a") as file:
        file.write('{"image": "01.p')  # torn
    kept = journal.read_bytes().count(b"\n")
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "out.csv\n"
    assert (cwd / "out.csv").read_text() == expected()
    assert journal.read_bytes().count(b"\n") == COUNT + 1
    assert kept > 3


@pytest.fixture
def broken(cwd: Path) -> Path:
    whole = (cwd / "in" / "03.png").read_bytes()
    (cwd / "in" / "03.png").write_bytes(whole[:40])
    (cwd / "in" / "07.png").write_bytes(b"")
    return cwd


def test_unreadable_images_are_named_and_nothing_is_written(broken: Path) -> None:
    result = run()
    assert result.exit_code == 1
    for word in ("2 of 12", "03.png", "07.png", "--skip-bad"):
        assert word in result.stderr
    assert "Traceback" not in result.output
    assert not (broken / "out.csv").exists()


def test_skip_bad_lists_them_and_keeps_what_was_done(broken: Path) -> None:
    run()
    result = run("--skip-bad")
    assert result.exit_code == 0
    assert "10 images classified, 2 skipped" in result.stderr
    assert result.stderr.count("skipped: ") == 2
    lines = [x for x in expected().splitlines() if not x.startswith(("03", "07"))]
    assert (broken / "out.csv").read_text().splitlines() == lines


def test_a_repaired_image_is_added(broken: Path) -> None:
    run("--skip-bad")
    Image.fromarray(np.full((8, 8, 3), 12 + 25 * 9, np.uint8)).save(broken / "in" / "03.png")
    assert run("--skip-bad").exit_code == 0
    assert "03.png,9\n" in (broken / "out.csv").read_text()


@pytest.mark.parametrize("words", [["--model", "nets:other"], ["--px", "20"]])
def test_answers_of_another_network_or_size_are_not_mixed(cwd: Path, words: list[str]) -> None:
    run()
    result = run(*words)
    assert result.exit_code == 1
    assert "another network or size" in result.stderr
    assert (cwd / "out.csv").read_text() == expected()


def test_a_foreign_file_is_not_overwritten(cwd: Path) -> None:
    (cwd / "out.csv").write_text("precious")
    result = run()
    assert result.exit_code == 1
    assert "Move it away" in result.stderr
    assert (cwd / "out.csv").read_text() == "precious"
    (cwd / "out.csv").rename(cwd / "out.csv.jsonl")
    (cwd / "out.csv.jsonl").write_text("precious\n")
    assert "is not a journal" in run().stderr
    assert (cwd / "out.csv.jsonl").read_text() == "precious\n"


def test_names_with_commas_are_quoted(cwd: Path) -> None:
    (cwd / "in" / "03.png").rename(cwd / "in" / "0,3.png")
    run()
    assert '"0,3.png",9\n' in (cwd / "out.csv").read_text()


def test_an_empty_folder_is_an_error(cwd: Path) -> None:
    for path in (cwd / "in").iterdir():
        path.unlink()
    result = run()
    assert result.exit_code == 1
    assert "in holds no images" in result.stderr


def test_an_unknown_input_size_must_be_given(cwd: Path) -> None:
    result = run("--model", "nets:sizeless")
    assert result.exit_code == 2
    assert "--px 224" in result.stderr
    assert not (cwd / "out.csv.jsonl").exists()


def test_the_size_is_the_given_one_or_the_networks() -> None:
    net = torch.nn.Flatten()
    model = Model("n", "n", net, "0" * 64, None)
    assert side(model, 32) == 32
    assert side(replace(model, net=Preprocessed(net, 24, (0.5,) * 3, (1.0,) * 3)), None) is None
    with pytest.raises(BadValue, match="isn't known"):
        side(model, None)


def test_a_network_that_resizes_gets_the_images_as_they_are(cwd: Path) -> None:
    """Of eight columns the middle four are dark: all that resizing without antialias samples."""
    stripes = np.full((128, 128, 3), 200, np.uint8)
    stripes.reshape(128, 16, 8, 3)[:, :, 2:6] = 0
    Image.fromarray(stripes).save(cwd / "in" / "stripes.png")
    assert run().exit_code == 0
    assert "stripes.png,0\n" in (cwd / "out.csv").read_text()
    (cwd / "out.csv").unlink()
    (cwd / "out.csv.jsonl").unlink()
    result = run("--model", "nets:resizing")
    assert "as they are (resize to 16x16 (bicubic, antialias)" in result.stderr
    assert (cwd / "out.csv").read_text() == expected() + "stripes.png,3\n"  # 13 images, 13 sizes


def test_the_whole_image_is_resized_without_a_crop(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 60).astype(np.uint8)[None, :, None].repeat(20, 0).repeat(3, 2)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    x = whole_image(tmp_path / "ramp.png", 16)
    assert x.shape == (3, 16, 16)
    assert x[0, 0, 0] < 8
    assert x[0, 0, -1] > 247


def test_shrinking_is_opencvs_cubic(tmp_path: Path) -> None:
    """By hand: output 1 of 2 from 8 pixels lies at 5.5, between pixels 5 and 6, a = -0.75."""
    row = np.array([0, 0, 0, 0, 10, 200, 100, 50], np.uint8)
    Image.fromarray(row[None, :, None].repeat(8, 0).repeat(3, 2)).save(tmp_path / "row.png")
    near, far = 0.59375, -0.09375  # the cubic at 0.5 and 1.5
    value = far * 10 + near * 200 + near * 100 + far * 50
    assert whole_image(tmp_path / "row.png", 2)[0, 0].tolist() == [0, round(value)]


def test_channels_stay_in_the_order_rgb(cwd: Path) -> None:
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 255
    Image.fromarray(red).save(cwd / "red.png")
    assert whole_image(cwd / "red.png", 4).float().mean((1, 2)).tolist() == [255, 0, 0]


def test_the_journal_names_the_network(cwd: Path) -> None:
    model = Model("n", "n", torch.nn.Flatten(), "ab" * 32, None)
    job = Classification(model, cwd / "in", cwd / "out.csv", torch.device("cpu"), px=4)
    assert classify_folder(job).count == COUNT
    head = json.loads((cwd / "out.csv.jsonl").read_text().splitlines()[0])
    assert head == {"model": "n", "weights": "ab" * 32, "px": 4}


def test_another_folder_of_the_same_names_is_labelled_by_its_own_images(cwd: Path) -> None:
    assert run().exit_code == 0
    (cwd / "in").rename(cwd / "first")
    (cwd / "in").mkdir()
    for i, path in enumerate(sorted((cwd / "first").iterdir())):
        level = np.full((24, 24, 3), 25 * ((i + 3) % 10) + 12, np.uint8)
        Image.fromarray(level).save(cwd / "in" / path.name)
    assert run().exit_code == 0
    again = (cwd / "out.csv").read_text()
    for path in (cwd / "out.csv", cwd / "out.csv.jsonl"):
        path.unlink()
    assert run().exit_code == 0
    assert (cwd / "out.csv").read_text() == again


def test_an_altered_line_of_the_journal_is_named_and_its_image_labelled_again(cwd: Path) -> None:
    assert run().exit_code == 0
    right = (cwd / "out.csv").read_text()
    journal = cwd / "out.csv.jsonl"
    lines = journal.read_text().splitlines()
    line = json.loads(lines[4])
    lines[4] = json.dumps({**line, "class": (line["class"] + 1) % 10})
    lines[6] = "[" * 50
    journal.write_text("\n".join(lines) + "\n")
    result = run()
    assert result.exit_code == 0, result.output
    assert "line 5 is not as it was written" in result.output.replace("\n", " ")
    assert "line 7 is not as it was written" in result.output.replace("\n", " ")
    assert (cwd / "out.csv").read_text() == right
