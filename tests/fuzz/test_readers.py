"""Every reader of a file, on damaged ones: it reads them or says what is wrong, and that is all.

FDBENCH_FUZZ_SECONDS is the time for each reader (`make fuzz`: minutes), FDBENCH_FUZZ_SEED the first
seed. A failure names its seed, which belongs into KNOWN: what broke a reader once is tried first.
"""

import gzip
import hashlib
import io
import json
import os
import random
import struct
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from damage import BYTES, edited
from given import GIVEN
from madeup import examined, info, row, sealed
from target import Target, json_file, resealed, text_file, toml
from test_sets import INFO as SET
from test_sets import stored

from fdbench.api import results_of
from fdbench.attacks.targets import from_file
from fdbench.attacks.transfer.generator import Painter, load_painter
from fdbench.data import open_data
from fdbench.data.caad import caad_targets, read_classes
from fdbench.errors import FdbenchError
from fdbench.evaluation.classify import Answers, Classification
from fdbench.models import Model, build
from fdbench.models.checkpoint import Card, load_card, save_card, weights_hash
from fdbench.models.tensorpack import read_pack
from fdbench.reporting import Selection, write_report
from fdbench.specs import ModelSpec, digest
from fdbench.specs.recipes import attacker_battery, battery, model_recipe
from fdbench.store import Check, RunFolder, RunPaths, Workspace, read_run, read_runs
from fdbench.store.findings import read_findings, write_findings
from fdbench.store.images import read_png, read_shard, write_png
from fdbench.store.notes import with_notes
from fdbench.store.set_json import read_set_info
from fdbench.store.sets import AdvSet
from fdbench.store.targets import read_targets
from fdbench.store.tensors import pack, write_tensors
from fdbench.submission.process import open_submission

SECONDS = float(os.environ.get("FDBENCH_FUZZ_SECONDS", "0.4"))
FIRST = int(os.environ.get("FDBENCH_FUZZ_SEED", "0"))
SLOW = 20.0  # seconds that no damaged file may take
RUN = info(images=3)
# The seeds that broke a reader.
KNOWN = {
    "run.json": (114, 2646),
    "run.json in a report": (701102,),
    "rows-0.jsonl": (0, 29, 700295, 1000004),
    "notes-1.json": (3,),
    "targets.json": (33,),
    "set.json": (64,),
    "index-0.jsonl": (0, 30),
    "a generator": (44,),
    "attacks/*.toml": (10, 39),
    "attackers": (1,),
    "released weights": (1780,),
    "metadata.json": (138,),
    "an idx data set": (1043648,),
    "images.npy": (1005726,),
    "weights.pt": (53, 2000469),
    "weights.safetensors": (0,),
    "images.pt": (11, 17, 41, 179),
    "images.npz": (99,),
    "--config": (18, 72),
}


def run_folder(folder: Path) -> Path:
    with RunFolder.open(Workspace(folder), RUN) as run:
        run.append(sealed(RUN, [row(image, 20, (10, 100)) for image in range(3)]))
        return run.path


def description(folder: Path) -> Target:
    path = run_folder(folder) / "run.json"
    table = json.loads(path.read_text())
    return Target(path, lambda: read_run(path.parent), lambda rng: resealed(edited(rng, table)))


def reported(folder: Path) -> Target:
    """The same through every table, text and figure of the report."""
    target = description(folder)

    def read() -> None:
        read_runs(folder)
        results_of(target.path.parent)
        write_report(folder, None, Selection())

    return Target(target.path, read, target.edit)


def rows(folder: Path) -> Target:
    path = run_folder(folder)
    lines = [json.loads(line) for line in (path / "rows-0.jsonl").read_text().splitlines()]

    def edit(rng: random.Random) -> bytes:
        tables = [edited(rng, line) for line in lines]
        for table in tables:
            if isinstance(table, dict):
                content = {key: value for key, value in table.items() if key != "check"}
                table["check"] = digest({**content, "check": RUN.key})
        return b"".join(json.dumps(table).encode() + b"\n" for table in tables)

    def read() -> None:
        read_run(path)
        results_of(path)
        write_report(folder, None, Selection(unfinished=True))

    return Target(path / "rows-0.jsonl", read, edit)


def notes(folder: Path) -> Target:
    table = {
        "warnings": ["slow"],
        "found": {"observed": {"images": 3}, "network": {"random": True}},
    }
    paths = RunPaths(run_folder(folder))
    return json_file(paths.notes(1), table, lambda: with_notes(paths, RUN))


def targets(folder: Path) -> Target:
    paths = RunPaths(run_folder(folder))
    return json_file(paths.targets, [[0, 1], ["a.png", 2]], lambda: read_targets(paths))


def findings(folder: Path) -> Target:
    path = write_findings(folder, examined(RUN, Check("loss rises", "pass", "from 1 to 3")))
    return json_file(path, json.loads(path.read_text()), lambda: read_findings(folder))


def reports_files(folder: Path) -> Target:
    run_folder(folder)
    write_report(folder, None, Selection())
    path = next(path for path in folder.glob("*.json") if path.is_file())
    read = lambda: write_report(folder, None, Selection())  # noqa: E731
    return json_file(path, json.loads(path.read_text()), read)


def set_description(folder: Path) -> Target:
    path = stored(folder) / "set.json"
    return json_file(path, json.loads(path.read_text()), lambda: read_set_info(path))


def set_index(folder: Path) -> Target:
    path = stored(folder) / "index-0.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]

    def edit(rng: random.Random) -> bytes:
        tables = [edited(rng, line) for line in lines]
        for table in tables:
            if isinstance(table, dict):
                content = {key: value for key, value in table.items() if key != "check"}
                table["check"] = digest({**content, "check": SET.digest})
        return b"".join(json.dumps(table).encode() + b"\n" for table in tables)

    def read() -> None:
        adv_set = AdvSet.open(Workspace(folder), "toys")
        assert set(adv_set.seconds) == set(adv_set.counts) == {"mi", "coin"}
        adv_set.check_complete((0, 1, 2, 3))
        for name in adv_set.attackers:
            adv_set.images(name, (0, 1, 2, 3))

    return Target(path, read, edit)


def shard(folder: Path) -> Target:
    """Renamed to the hash of its bytes, as a stranger would."""
    path = folder / "shard.safetensors"
    images = {"images": torch.zeros(2, 3, 4, 4, dtype=torch.uint8)}
    path.write_bytes(pack(images, {"ids": "[0, 1]"}))

    def read() -> None:
        content = path.read_bytes()
        named = path.with_name(hashlib.sha256(content).hexdigest()[:32] + ".safetensors")
        named.write_bytes(content)
        try:
            read_shard(named)
        finally:
            named.unlink()

    def edit(rng: random.Random) -> bytes:
        return pack(images, {"ids": json.dumps(edited(rng, [0, 1]))})

    return Target(path, read, edit)


def checkpoint(folder: Path) -> Target:
    path, spec = folder / "net.safetensors", ModelSpec("r20", width=1, classes=4, px=8)
    net = build(spec, seed=0)
    card = Card("net", spec, data={"name": "toy", "classes": 4, "px": 8}, epochs=1, finished=True)
    tensors = net.state_dict()
    table = {**asdict(card), "weights": weights_hash(tensors)}
    save_card(path, tensors, Card.of(json.loads(json.dumps(table)), "a test"))

    def read() -> None:
        opened = load_card(path)[1]
        build(opened.spec, device="meta")

    def edit(rng: random.Random) -> bytes:
        text = json.dumps(edited(rng, table)).encode("utf-8", "replace").decode()
        return pack(tensors, {"card": text})

    return Target(path, read, edit)


def generator(folder: Path) -> Target:
    path = folder / "generator.safetensors"
    tensors = Painter().state_dict()
    table = {"weights": weights_hash(tensors), "data": {"name": "toy", "px": 8}, "eps": 0.1}
    write_tensors(path, tensors, {"attacker": json.dumps(table)})

    def edit(rng: random.Random) -> bytes:
        return pack(tensors, {"attacker": json.dumps(edited(rng, table))})

    return Target(path, lambda: load_painter(path), edit)


def targets_table(folder: Path) -> Target:
    path = folder / "targets.csv"
    return text_file(path, "image,target\n0,3\nb.png,4\n", lambda: from_file(path))


def caad_table(folder: Path) -> Target:
    path = folder / "images.csv"
    text = "ImageId,TrueLabel,TargetClass\na,1,2\nb,1000,3\n"
    return text_file(path, text, lambda: caad_targets(folder))


def defence_answers(folder: Path) -> Target:
    path = folder / "result.csv"
    return text_file(path, "a.png,1\nb.png,1000\n", lambda: read_classes(path))


def classify_journal(folder: Path) -> Target:
    path = folder / "out.csv.jsonl"
    model = Model("net", "net", torch.nn.Flatten(), "0" * 64, None)
    task = Classification(model, folder, folder / "out.csv", torch.device("cpu"), 8)
    line = {"image": "a.png", "sha256": "0" * 64, "class": 3}
    lines = [task.identity, {**line, "check": digest(line)}]

    def read() -> None:
        with closing(Answers(task)):
            pass

    def edit(rng: random.Random) -> bytes:
        return b"".join(json.dumps(edited(rng, one)).encode() + b"\n" for one in lines)

    path.write_bytes(edit(random.Random(0)))
    return Target(path, read, edit)


MODEL_TOML = """
summary = "a row"
[model]
arch = "r152"
denoise = "nonlocal-gauss"
[train.imagenet]
epochs = 110
eps = "16/255"
drops = [0.3, 0.6]
[[published]]
data = "imagenet"
accuracy = 55.7
iters = 10
source = "Table 1"
"""
BATTERY_TOML = """
summary = "a battery"
[[attack]]
attack = "pgd"
eps = "16/255"
targeted = true
iters = [10, 100]
[[attack]]
attack = "autoattack"
version = "standard"
"""
ATTACKERS_TOML = """
summary = "attackers"
[[attacker]]
name = "mi"
method = "momentum"
[attacker.knobs]
iters = 10
"""


def model_row(folder: Path) -> Target:
    path = folder / "models" / "fuzzed.toml"
    return toml(path, MODEL_TOML, lambda: model_recipe("fuzzed"))


def attack_battery(folder: Path) -> Target:
    path = folder / "attacks" / "fuzzed.toml"
    return toml(path, BATTERY_TOML, lambda: battery("fuzzed"))


def attackers(folder: Path) -> Target:
    path = folder / "attacks" / "fuzzed.toml"
    return toml(path, ATTACKERS_TOML, lambda: attacker_battery("fuzzed"))


def npz_data(folder: Path) -> Target:
    path, rng = folder / "test.npz", np.random.default_rng(0)
    x = rng.integers(0, 255, (6, 8, 8, 3), np.uint8)
    np.savez(path, x=x, y=np.arange(6), class_names=np.array(list("abcdef")))
    arrays: tuple[Any, ...] = (
        x, x[..., 0], x[:0], x.astype(float), np.arange(6), np.zeros(()), np.array(["a"] * 6),
        np.full(6, 2**62), np.zeros((6, 0, 0, 3), np.uint8), np.full(6, np.nan), np.zeros(6, bool),
        np.zeros((1,) * 32, np.uint8),
    )  # fmt: skip

    def edit(rng: random.Random) -> bytes:
        buffer = io.BytesIO()
        chosen = [rng.choice(arrays) for _ in range(3)]
        np.savez(buffer, x=chosen[0], y=chosen[1], class_names=chosen[2])
        return buffer.getvalue()

    def read() -> None:
        open_data(f"npz:{path}").fetch(range(2))

    return Target(path, read, edit)


def idx_data(folder: Path) -> Target:
    path = folder / "t10k-images-idx3-ubyte.gz"
    labels = struct.pack(">HBBI", 0, 8, 1, 4) + bytes(4)
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    whole = struct.pack(">HBBIII", 0, 8, 3, 4, 8, 8) + bytes(256)
    path.write_bytes(gzip.compress(whole))

    def edit(rng: random.Random) -> bytes:
        return gzip.compress(rng.choice(BYTES)(rng, whole))

    def read() -> None:
        open_data("fashion-mnist", data_dir=folder).fetch(range(2))

    return Target(path, read, edit)


def released_weights(folder: Path) -> Target:
    path = folder / "R50.npz"
    arrays: dict[str, Any] = {
        "conv0/W:0": np.zeros((7, 7, 3, 64), np.float32),
        "linear/b": np.zeros(1000),
    }
    np.savez(path, **arrays)
    return Target(path, lambda: read_pack(path))


def picture(folder: Path) -> Target:
    path = folder / "a.png"
    write_png(path, torch.zeros(3, 8, 8, dtype=torch.uint8))
    return Target(path, lambda: read_png(path))


def submission(folder: Path) -> Target:
    script = folder / "run_attack.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    table = {"type": "attack", "entry_point": "run_attack.sh"}
    return json_file(folder / "metadata.json", table, lambda: open_submission(folder, "attack"))


TARGETS: dict[str, Callable[[Path], Target]] = {
    "run.json": description,
    "run.json in a report": reported,
    "rows-0.jsonl": rows,
    "notes-1.json": notes,
    "targets.json": targets,
    "doctor findings": findings,
    "the report's list of files": reports_files,
    "set.json": set_description,
    "index-0.jsonl": set_index,
    "a shard": shard,
    "a checkpoint": checkpoint,
    "a generator": generator,
    "targets.csv": targets_table,
    "images.csv": caad_table,
    "a defence's answers": defence_answers,
    "a journal of classify": classify_journal,
    "models/*.toml": model_row,
    "attacks/*.toml": attack_battery,
    "attackers": attackers,
    "an npz data set": npz_data,
    "an idx data set": idx_data,
    "released weights": released_weights,
    "a kept PNG": picture,
    "metadata.json": submission,
    **GIVEN,
}


@pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants")
@pytest.mark.parametrize("name", TARGETS)
def test_a_damaged_file_is_read_or_named(
    tmp_path: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in ("FDBENCH_FUZZ_SECONDS", "FDBENCH_FUZZ_SEED"):  # no options of a command
        monkeypatch.delenv(variable, raising=False)
    target = TARGETS[name](tmp_path)
    valid, end = target.path.read_bytes(), time.monotonic() + SECONDS
    for cases, seed in enumerate(chain(KNOWN.get(name, ()), count(FIRST))):  # noqa: B007
        if time.monotonic() > end:
            break
        rng = random.Random(seed)
        by_edit = target.edit is not None and rng.random() < 0.6
        content = target.edit(rng) if by_edit and target.edit else rng.choice(BYTES)(rng, valid)
        target.path.write_bytes(content)
        began = time.monotonic()
        try:
            target.read()
        except FdbenchError:
            pass  # says what is wrong
        except BaseException as reason:
            raise AssertionError(f"{name}, seed {seed}: {content[:300]!r}") from reason
        assert time.monotonic() - began < SLOW, f"{name}, seed {seed} takes long"
    record_property("damaged files", cases)
