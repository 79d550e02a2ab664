"""`fdbench verify` of transfer runs: verdicts are recomputed from the set that was judged."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from test_make import linear, plan, silent

from fdbench.attacks.replay import Replay
from fdbench.attacks.targets import draw_targets
from fdbench.blackbox.make import Aim, make_set
from fdbench.data.open import open_data
from fdbench.evaluation.audit import audit, read_run
from fdbench.evaluation.evaluation import Evaluation
from fdbench.evaluation.loop import evaluate
from fdbench.store import AdvSet, Workspace, read_info, row_digest
from fdbench.store.set_index import as_table

Table = dict[str, Any]  # a forger follows no schema

CPU = torch.device("cpu")
DATA = open_data("fashion-mini", "test")


def transferred(results: Path, **changes: Any) -> Path:
    stored = AdvSet.open(Workspace(results), make_set(plan(results, **changes), silent).name)
    job = Evaluation(
        linear(0), DATA, Replay(stored), stored.spec, Workspace(results), CPU, limit=20
    )
    return evaluate(job, silent)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return transferred(tmp_path, name="toys")


def failed(run: Path) -> set[str]:
    checks = audit(read_run(run), linear(0), DATA, CPU)
    return {check.check for check in checks if check.verdict == "fail"}


def resealed(run: Path, change: Callable[[Table], None]) -> None:
    """A careful forger: every row is changed, and has the check that fits."""
    file, key = run / "rows-0.jsonl", read_info(run / "run.json").key
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row in rows:
        change(row)
        row["check"] = row_digest(cast(Any, row), key)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def set_of(run: Path) -> Path:
    return run.parent.parent / "sets" / "toys"


def test_an_honest_run_passes_with_every_verdict_recomputed(run: Path) -> None:
    checks = {one.check: one for one in audit(read_run(run), linear(0), DATA, CPU)}
    assert not failed(run)
    assert checks["verdicts"].found.startswith("40 verdicts")
    assert checks["ball and box"].found == "40 images"
    assert checks["distances"].found == "20 images"
    assert checks["set"].found == "20 images"


def test_an_archived_run_is_checked_against_its_set(run: Path) -> None:
    archive = run.parent.parent / "archive"
    archive.mkdir()
    assert not failed(run.rename(archive / run.name))


FORGED: dict[str, tuple[Callable[[Table], None], set[str]]] = {
    "all right": (
        lambda row: row.update(pred=dict.fromkeys(row["pred"], row["label"])),
        {"verdicts"},
    ),
    "an attacker left out": (lambda row: row["pred"].pop("one"), {"set", "verdicts"}),
    "an attacker added": (lambda row: row["pred"].update(three=0), {"set"}),
    "called unattacked": (lambda row: row.update(unattacked=["one"]), {"set"}),
    "a target": (lambda row: row.update(target=0), {"set"}),
    "nearer": (lambda row: row.update(distance=0.001), {"distances"}),
}


@pytest.mark.parametrize("kind", FORGED)
def test_rows_changed_and_resealed_are_found(run: Path, kind: str) -> None:
    change, found = FORGED[kind]
    resealed(run, change)
    assert failed(run) == found


def test_targets_are_those_of_the_set(tmp_path: Path) -> None:
    batch = DATA.fetch(range(30))
    wanted = dict(zip(batch.ids, draw_targets(batch, 10, 0).tolist(), strict=True))
    run = transferred(tmp_path, name="toys", aim=Aim(wanted))
    assert not failed(run)
    resealed(run, lambda row: row.update(target=(row["target"] + 1) % 10))
    assert failed(run) == {"set"}


def shard_judged(run: Path) -> Path:
    stored = AdvSet.open(Workspace(run.parent.parent), "toys")
    return stored.paths.images / stored.shards["one", 0]


def flipped(run: Path) -> None:
    shard = shard_judged(run)
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)


def deleted(run: Path) -> None:
    set_of(run).rename(run.parent / "elsewhere")


def one_shard_less(run: Path) -> None:
    shard_judged(run).unlink()


def one_line_less(run: Path) -> None:
    index = set_of(run) / "index-0.jsonl"
    lines = index.read_bytes().splitlines(keepends=True)
    index.write_bytes(b"".join(lines[:1] + lines[3:]))


def remade(run: Path) -> None:
    deleted(run)
    make_set(plan(run.parent.parent, name="toys", seed=1), silent)


@pytest.mark.parametrize("damage", [flipped, deleted, one_shard_less, one_line_less, remade])
def test_a_set_that_is_not_the_one_judged_fails(run: Path, damage: Callable[[Path], None]) -> None:
    damage(run)
    assert "set" in failed(run)


def test_an_index_that_names_a_shard_of_other_images_is_found(run: Path) -> None:
    stored = AdvSet.open(Workspace(run.parent.parent), "toys")
    clean = {line.ids: line.shard for line in stored.lines if line.attacker == "clean"}
    forged = [replace(line, shard=clean[line.ids]) for line in stored.lines]
    tables = [as_table(line, stored.info.digest) for line in forged]
    index = set_of(run) / "index-0.jsonl"
    index.write_text("".join(json.dumps(table) + "\n" for table in tables))
    assert "set" in failed(run)
