"""Attacks and defenses in any language: whatever they do, every image gets a result."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from fdbench.commands.submission import submission as command
from fdbench.data.memory import to_images
from fdbench.errors import BadValue, FdbenchError
from fdbench.models.checkpoint import Card, save_card, weights_hash
from fdbench.models.resnet import build
from fdbench.specs.model import ModelSpec
from fdbench.submission import (
    Outcome,
    eps_in_pixels,
    fingerprint,
    open_submission,
    read_folder,
    run_attack,
    run_defense,
    sandbox,
    summary,
)
from fdbench.types import Batch

IDS = ("a", "b b", "cat/7")  # the last two are escaped in file names
FILES = ("a.png", "b%20b.png", "cat%2F7.png")
COPY = 'cp "$1"/*.png "$2"'

Array = npt.NDArray[np.uint8]


@pytest.fixture
def clean() -> Array:
    return np.random.default_rng(0).integers(0, 256, (3, 6, 6, 3), np.uint8)


@pytest.fixture
def images(clean: Array) -> Batch:
    x = to_images(torch.from_numpy(clean).permute(0, 3, 1, 2).contiguous())
    return Batch(x, torch.tensor([3, 1, 2]), IDS)


def write_script(folder: Path, text: str, name: str = "run_attack.sh", **metadata: str) -> Path:
    folder.mkdir(exist_ok=True)
    if metadata:
        (folder / "metadata.json").write_text(json.dumps(metadata))
    (folder / name).write_text(text if text.startswith("#!") else f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)
    return folder


Attack = Callable[..., Outcome]


@pytest.fixture
def attack(tmp_path: Path, images: Batch) -> Attack:
    """Runs a script as a submission on the three images, at eps 8."""

    def run(text: str, limit_s: float = 30.0) -> Outcome:
        folder = write_script(tmp_path / "theirs", text)
        return run_attack(open_submission(folder, "attack"), images, 8, limit_s=limit_s)

    return run


def pixels(outcome: Outcome) -> Array:
    return outcome.adv.permute(0, 2, 3, 1).numpy()


# --- attacks


def test_an_attack_gets_every_image_and_eps_and_is_read_back(attack: Attack, clean: Array) -> None:
    outcome = attack(f'[ "$3" = 8 ] || exit 3; [ "$#" = 3 ] || exit 4; {COPY}')
    assert outcome.status == ("attacked",) * 3
    assert np.array_equal(pixels(outcome), clean)
    assert (outcome.ids, outcome.unattacked) == (IDS, ())
    assert outcome.run is not None
    assert (outcome.run.exit_code, outcome.run.messages()) == (0, [])
    assert summary(outcome.counts) == ["3 of 3 images attacked"]


def test_an_attack_starts_in_its_own_folder_and_its_files_there_are_not_kept(
    attack: Attack, tmp_path: Path
) -> None:
    for _ in range(2):
        outcome = attack(f"[ -f run_attack.sh ] && [ ! -e seen ] || exit 3; : > seen; {COPY}")
        assert outcome.counts["attacked"] == 3
    assert [path.name for path in (tmp_path / "theirs").iterdir()] == ["run_attack.sh"]


@pytest.fixture
def no_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a system that has none: what a submission writes elsewhere can be seen."""
    monkeypatch.setattr(sandbox, "kind", lambda: "none")


def test_a_submission_sees_nothing_of_our_environment(
    attack: Attack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FDBENCH_SECRET", "ours")
    monkeypatch.setenv("PYTHONPATH", "/ours")
    outcome = attack("env; exit 5")
    assert outcome.run is not None
    environment = dict(line.split("=", 1) for line in outcome.run.log.splitlines())
    assert set(environment) <= {"PATH", "HOME", "TMPDIR", "LANG", "PWD", "OLDPWD", "SHLVL", "_"}
    assert environment["HOME"] != os.environ.get("HOME")


def test_pixels_outside_eps_are_clipped_and_counted(tmp_path: Path, images: Batch) -> None:
    clean = np.full((3, 6, 6, 3), 100, np.uint8)
    clean[1] = 250
    flat = Batch(torch.from_numpy(clean).permute(0, 3, 1, 2).float() / 255, images.label, IDS)
    far = clean.copy()
    far[0, 2, 3] = (100, 109, 91)  # one pixel, two of its values
    far[0, 0, 0] = (108, 92, 100)  # just inside
    far[1] = 255  # inside
    far[2, :2] = 0
    for file, image in zip(FILES, far, strict=True):
        write_script(tmp_path / "theirs", 'cp made/*.png "$2"')
        (tmp_path / "theirs" / "made").mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / "theirs" / "made" / file)
    outcome = run_attack(open_submission(tmp_path / "theirs", "attack"), flat, 8)
    assert outcome.clipped == (1, 0, 12)
    assert pixels(outcome)[0, 2, 3].tolist() == [100, 108, 92]
    assert pixels(outcome)[0, 0, 0].tolist() == [108, 92, 100]
    assert (pixels(outcome)[1] == 255).all()
    assert (pixels(outcome)[2, :2] == 92).all()
    assert "13 pixels in 2 images were outside eps and had to be clipped" in summary(outcome.counts)


@pytest.mark.usefixtures("no_sandbox")
def test_a_hanging_attack_is_stopped_with_its_children_and_keeps_its_images(
    attack: Attack, tmp_path: Path, clean: Array
) -> None:
    beat = tmp_path / "beat"
    beating = f"(while :; do echo x >> '{beat}'; sleep 0.02; done) &"
    began = time.monotonic()
    outcome = attack(f'cp "$1/a.png" "$2"; echo begun; {beating} sleep 60', limit_s=1.0)
    assert time.monotonic() - began < 20
    assert outcome.status == ("attacked", "missing", "missing")
    assert outcome.unattacked == IDS[1:]
    assert np.array_equal(pixels(outcome), clean)
    assert outcome.run is not None
    assert outcome.run.timed_out
    assert outcome.run.seconds >= 1
    message, caveat = outcome.run.messages()
    assert "no sandbox" in caveat
    assert "timed out" in message
    assert "begun" in message
    size = beat.stat().st_size
    time.sleep(0.3)
    assert beat.stat().st_size == size > 0


@pytest.mark.usefixtures("no_sandbox")
def test_background_processes_end_with_the_attack(attack: Attack, tmp_path: Path) -> None:
    beat = tmp_path / "beat"
    attack(f"(while :; do echo x >> '{beat}'; sleep 0.02; done) & sleep 0.1")
    size = beat.stat().st_size
    time.sleep(0.3)
    assert beat.stat().st_size == size > 0


def test_an_attack_that_crashes_half_way_keeps_its_images(attack: Attack, clean: Array) -> None:
    half = 'head -c 60 "$1/b%20b.png" > "$2/b%20b.png"'
    outcome = attack(f'cp "$1/a.png" "$2"; {half}; echo no more memory >&2; exit 7')
    assert outcome.status == ("attacked", "unreadable", "missing")
    assert np.array_equal(pixels(outcome), clean)
    assert outcome.run is not None
    (message,) = outcome.run.messages()
    assert "failed with exit code 7" in message
    assert "no more memory" in message
    assert summary(outcome.counts)[1] == "counted as unattacked: 1 missing, 1 unreadable"


def test_an_attack_that_writes_nothing_leaves_the_clean_images(
    attack: Attack, clean: Array
) -> None:
    outcome = attack("exit 0")
    assert outcome.status == ("missing",) * 3
    assert np.array_equal(pixels(outcome), clean)


def test_only_the_end_of_a_long_log_is_kept(attack: Attack) -> None:
    outcome = attack("yes | head -c 300000; echo the end; exit 1")
    assert outcome.run is not None
    assert len(outcome.run.log) == 2000
    assert outcome.run.log.endswith("the end\n")


# --- the files of an attack


def save(image: Image.Image, path: Path, kind: str) -> None:
    image.save(path, format=kind)


def as_grey(path: Path, image: Image.Image) -> None:
    save(image.convert("L"), path, "PNG")


def as_deep(path: Path, image: Image.Image) -> None:
    save(Image.fromarray(np.full((6, 6), 40_000, np.uint16)), path, "PNG")


WRITERS: dict[str, tuple[Callable[[Path, Image.Image], None], str]] = {
    "plain": (lambda path, image: save(image, path, "PNG"), "attacked"),
    "alpha": (lambda path, image: save(image.convert("RGBA"), path, "PNG"), "attacked"),
    "grey": (as_grey, "attacked"),
    "jpeg called png": (lambda path, image: save(image, path, "JPEG"), "not-png"),
    "jpg": (lambda path, image: save(image, path.with_suffix(".jpg"), "JPEG"), "not-png"),
    "bmp called png": (lambda path, image: save(image, path, "BMP"), "not-png"),
    "wider": (lambda path, image: save(image.resize((7, 6)), path, "PNG"), "size"),
    "smaller": (lambda path, image: save(image.resize((3, 3)), path, "PNG"), "size"),
    "sixteen bits": (as_deep, "unreadable"),
    "text": (lambda path, image: path.touch(), "unreadable"),
    "folder": (lambda path, image: path.mkdir(), "missing"),
    "pipe": (lambda path, image: os.mkfifo(path), "missing"),
    "endless": (lambda path, image: path.symlink_to("/dev/zero"), "missing"),
}


@pytest.mark.parametrize("case", WRITERS)
def test_a_file_counts_if_it_is_a_png_of_the_right_size(
    case: str, tmp_path: Path, images: Batch, clean: Array
) -> None:
    write, status = WRITERS[case]
    moved = np.clip(clean[0].astype(int) + 3, 0, 255).astype(np.uint8)
    write(tmp_path / "a.png", Image.fromarray(moved))
    outcome = read_folder(tmp_path, Batch(images.x[:1], images.label[:1], IDS[:1]), 255)
    assert outcome.status == (status,)
    assert outcome.converted == (case in ("alpha", "grey"),)
    assert outcome.counts[status] == 1
    if case in ("plain", "alpha"):
        assert np.array_equal(pixels(outcome)[0], moved)
    if status != "attacked":
        assert np.array_equal(pixels(outcome)[0], clean[0])
        assert len(summary(outcome.counts)) == 2


def test_damaged_pngs_are_at_worst_unreadable(tmp_path: Path, images: Batch, clean: Array) -> None:
    Image.fromarray(clean[0]).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    rng = np.random.default_rng(0)
    one = Batch(images.x[:1], images.label[:1], IDS[:1])
    seen: Counter[str] = Counter()
    for _ in range(150):
        damaged = bytearray(whole)
        damaged[int(rng.integers(len(whole)))] ^= 1 << int(rng.integers(8))
        (tmp_path / "a.png").write_bytes(bytes(damaged[: int(rng.integers(30, len(whole) + 1))]))
        outcome = read_folder(tmp_path, one, 8)
        seen.update(outcome.status)
        assert (outcome.adv.int() - 255 * one.x).abs().max() <= 8 + 1e-3
    assert seen["unreadable"] > 50


def test_images_of_a_folder_are_matched_by_id_in_subfolders_too(
    tmp_path: Path, images: Batch, clean: Array
) -> None:
    (tmp_path / "cat").mkdir()
    Image.fromarray(clean[2] ^ 1).save(tmp_path / "cat" / "7.png")
    outcome = read_folder(tmp_path, images, 1)
    assert outcome.status == ("missing", "missing", "attacked")
    assert np.array_equal(pixels(outcome)[2], clean[2] ^ 1)
    assert outcome.run is None
    with pytest.raises(FdbenchError, match="there is no folder"):
        read_folder(tmp_path / "nowhere", images, 1)


# --- targeted attacks


def test_a_targeted_attack_gets_the_targets_in_the_competitions_numbers(
    tmp_path: Path, images: Batch
) -> None:
    folder = write_script(
        tmp_path / "theirs", 'cat "$1/target_class.csv"', "go.sh",
        type="targeted_attack", entry_point="go.sh",
    )  # fmt: skip
    theirs = open_submission(folder, "attack")
    outcome = run_attack(theirs, images, 8, targets=torch.tensor([0, 999, 122]))
    assert theirs.targeted
    assert outcome.run is not None
    assert outcome.run.log == "a.png,1\nb%20b.png,1000\ncat%2F7.png,123\n"
    with pytest.raises(BadValue, match="it needs --targeted"):
        run_attack(theirs, images, 8)


def test_targets_for_an_untargeted_attack_are_refused(tmp_path: Path, images: Batch) -> None:
    theirs = open_submission(write_script(tmp_path / "theirs", COPY), "attack")
    with pytest.raises(BadValue, match="leave out --targeted"):
        run_attack(theirs, images, 8, targets=torch.tensor([1, 2, 3]))


@pytest.mark.parametrize("whole", [1, 8, 16, 255])
def test_a_submission_gets_eps_in_whole_pixels(whole: int) -> None:
    assert eps_in_pixels(whole / 255) == whole


@pytest.mark.parametrize("eps", [0.5 / 255, 8.5 / 255, 0.03])
def test_an_eps_between_whole_pixels_is_refused(eps: float) -> None:
    with pytest.raises(BadValue, match="whole pixels"):
        eps_in_pixels(eps)


# --- folders that can't be run


def test_a_folder_that_cannot_be_run_is_refused_by_name(tmp_path: Path, images: Batch) -> None:
    folder = tmp_path / "theirs"
    with pytest.raises(FdbenchError, match="there is no folder"):
        open_submission(folder, "attack")
    folder.mkdir()
    with pytest.raises(FdbenchError, match=r"has no run_attack\.sh"):
        open_submission(folder, "attack")
    write_script(folder, COPY)
    (folder / "run_attack.sh").chmod(0o644)
    with pytest.raises(FdbenchError, match=r"chmod \+x"):
        open_submission(folder, "attack")
    write_script(folder, "#!/no/such/program")
    with pytest.raises(FdbenchError, match=r"can't be started.*\n.*#!/bin/sh"):
        run_attack(open_submission(folder, "attack"), images, 8)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ('{"type": "defense"}', "is of type 'defense'"),
        ('{"type": "atack"}', "Did you mean 'attack'"),
        ('{"type": 3}', "must hold strings"),
        ("[]", "must hold strings"),
        ("{", "can't be read"),
        ('{"entry_point": "../outside.sh"}', r"has no \.\./outside\.sh"),
        ('{"entry_point": "go.sh"}', r"has no go\.sh"),
    ],
)
def test_invalid_metadata_are_refused(tmp_path: Path, metadata: str, message: str) -> None:
    write_script(tmp_path, COPY, "outside.sh")
    folder = write_script(tmp_path / "theirs", COPY)
    (folder / "metadata.json").write_text(metadata)
    with pytest.raises(FdbenchError, match=message):
        open_submission(folder, "attack")


def test_the_fingerprint_is_that_of_names_and_bytes(tmp_path: Path) -> None:
    folder = write_script(tmp_path / "theirs", COPY)
    first = fingerprint(folder)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "x.pyc").write_text("x")
    assert fingerprint(folder) == first
    (folder / "more").write_text("1")
    second = fingerprint(folder)
    (folder / "more").write_text("2")
    assert len({first, second, fingerprint(folder)}) == 3


# --- fdbench submission new


def new(*words: str) -> Result:
    return CliRunner().invoke(command, ["new", *words], prog_name="fdbench submission")


def test_a_new_attack_runs_as_it_is_and_moves_every_pixel_by_eps(
    tmp_path: Path, images: Batch, clean: Array
) -> None:
    result = new("attack", str(tmp_path / "mine"))
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{tmp_path / 'mine'}\n"
    assert "fdbench attack transfer --submission" in result.stderr
    outcome = run_attack(open_submission(tmp_path / "mine", "attack"), images, 8)
    assert outcome.status == ("attacked",) * 3, outcome.run
    assert outcome.clipped == (0, 0, 0)
    moved = np.abs(pixels(outcome).astype(int) - clean)
    assert moved.max() == 8
    assert (moved[(clean >= 8) & (clean <= 247)] == 8).all()


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    for words in (["attack"], ["defense", "--model", "nets:net"]):
        result = new(*words, str(tmp_path))
        assert result.exit_code == 1
        assert "is not empty" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_a_new_defense_of_an_unknown_model_writes_nothing(tmp_path: Path) -> None:
    result = new("defense", str(tmp_path / "mine"), "--model", "r20x", "--results", str(tmp_path))
    assert result.exit_code == 2
    assert "no model 'r20x'" in result.output
    assert not (tmp_path / "mine").exists()


NETWORK = """
import torch
class Net(torch.nn.Module):
    px = 6
    def forward(self, x):  # class 0 is dark, class 9 is bright
        return -(x.mean((1, 2, 3))[:, None] - torch.arange(10) / 10 - 0.05).abs()
"""


def test_a_new_defense_answers_in_the_competitions_layout(tmp_path: Path) -> None:
    mine, inputs = tmp_path / "my defence", tmp_path / "in"
    result = new("defense", str(mine), "--model", "nets:Net")
    assert result.exit_code == 0, result.output
    (mine / "nets.py").write_text(NETWORK)
    inputs.mkdir()
    for i in range(3):
        Image.fromarray(np.full((9, 9, 3), 25 * i + 12, np.uint8)).save(inputs / f"i{i}.png")
    theirs = open_submission(mine, "defense")
    output = tmp_path / "result.csv"
    classes, run = run_defense(theirs, inputs, output, limit_s=120.0)
    assert run.exit_code == 0, run.log
    assert classes == {"i0": 0, "i1": 1, "i2": 2}
    assert output.read_text() == "i0.png,1\ni1.png,2\ni2.png,3\n"
    with pytest.raises(FdbenchError, match="exists"):
        run_defense(theirs, inputs, output)


def test_a_new_defense_carries_its_weights_and_works_from_anywhere(tmp_path: Path) -> None:
    spec = ModelSpec("r20", width=2, px=8)
    state = build(spec).state_dict()
    weights = tmp_path / "checkpoints" / "tiny.safetensors"
    save_card(weights, state, Card("tiny", spec, weights=weights_hash(state)))
    mine = tmp_path / "my defence"
    result = new("defense", str(mine), "--model", "tiny", "--results", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert (mine / "model.safetensors").read_bytes() == weights.read_bytes()
    stub = write_script(tmp_path / "bin", 'printf "%s\\n" "$@"', "fdbench")
    arguments = subprocess.run(
        ["./my defence/run_defense.sh", "the images", "out.csv"],
        cwd=tmp_path, env={"PATH": f"{stub}:{os.defpath}"}, capture_output=True, check=True,
    ).stdout.decode()  # fmt: skip
    model = f"--model\n{mine}/model.safetensors\n"
    assert arguments == f"classify\n{model}--label-base\n1\nthe images\nout.csv\n"


def test_a_defense_that_writes_nothing_is_an_error_with_its_output(tmp_path: Path) -> None:
    folder = write_script(tmp_path / "theirs", "echo no weights; exit 2", "run_defense.sh")
    with pytest.raises(FdbenchError, match=r"wrote no .*\n.*exit code 2.*no weights"):
        run_defense(open_submission(folder, "defense"), tmp_path, tmp_path / "out.csv")


def test_a_python_that_has_numpy_is_the_first_on_the_path(attack: Attack) -> None:
    outcome = attack("command -v python3; exit 1")
    assert outcome.run is not None
    assert Path(outcome.run.log.strip()).parent == Path(sys.executable).parent
