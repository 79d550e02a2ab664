"""A folder of strangers' files that try everything at once.

Nothing outside it changes, each file is named, and the honest rest is reported.
"""

import csv
import html
import json
import os
import pickle
import re
import shutil
import signal
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from madeup import decaying, info, row, store
from target import resealed

from fdbench.commands import main

BUDGETS = (10, 100)
LONGEST = 60  # seconds until a command counts as hanging


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in, beside one that nothing may touch; a command that hangs is ended."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("secret")
    store(outside / "results", info("stranger"), [row(0, 20, BUDGETS)])
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")

    def hangs(*_: Any) -> None:
        raise AssertionError("a command hangs")

    previous = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(LONGEST)
    yield tmp_path / "home"
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


def state_of(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file below a folder: its time of change and its content."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def fdbench(*words: object) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert isinstance(result.exception, SystemExit | None), result.exception
    assert "Traceback" not in result.output
    return result


def edited(run: Path, change: Callable[[dict[str, Any]], None]) -> None:
    table = json.loads((run / "run.json").read_text())
    change(table)
    (run / "run.json").write_bytes(resealed(table))


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def nested(path: Path) -> None:
    path.write_bytes(b"[" * 100_000 + b"\n")


def huge(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"label": 3', b'"label": ' + b"9" * 5000, 1))


def to_a_set_outside(table: dict[str, Any]) -> None:
    parameters = {"set": "../../../outside/secret.txt", "digest": "0" * 16}
    table["attack"] = {**table["attack"], "attack": "transfer", "parameters": parameters}


HOSTILE: dict[str, Callable[[Path], None]] = {
    "rows-pipe": lambda run: pipe(run / "rows-0.jsonl"),
    "rows-endless": lambda run: endless(run / "rows-0.jsonl"),
    "rows-nested": lambda run: nested(run / "rows-0.jsonl"),
    "rows-huge": lambda run: huge(run / "rows-0.jsonl"),
    "rows-folder": lambda run: folder_instead(run / "rows-0.jsonl"),
    "description-pipe": lambda run: pipe(run / "run.json"),
    "description-endless": lambda run: endless(run / "run.json"),
    "description-nested": lambda run: nested(run / "run.json"),
    "notes-pipe": lambda run: os.mkfifo(run / "notes-1.json"),
    "set-outside": lambda run: edited(run, to_a_set_outside),
    "eps-infinite": lambda run: edited(run, lambda table: table["attack"].update(eps=1e999)),
    "name-outside": lambda run: edited(run, lambda table: table.update(name="../../outside/x")),
}
# Read as runs like others: no field of theirs is impossible.
ODD = {"name-outside", "rows-huge"}
ESCAPES = "r20\x1b]0;evil\x07<script>alert(1)</script>$x^2$|[a](http://evil)\u202e"


def strangers_runs(results: Path) -> None:
    for name, spoil in HOSTILE.items():
        run = decaying(results, f"r20-{name}", {0: 90, 10: 50, 100: 40})
        spoil(run)
    shown = decaying(results, "r20-shown", {0: 90, 10: 50, 100: 40})
    edited(shown, lambda table: table["model"].update(name=ESCAPES))
    (results / "doctor").mkdir()
    os.mkfifo(results / "doctor" / "pipe.json")
    (results / "doctor" / "nested.json").write_bytes(b"[" * 100_000)
    (results / "report.md").symlink_to("../../outside/secret.txt")
    (results / "whitebox.csv").symlink_to("../../outside/secret.txt")


def test_a_folder_of_strangers_runs_is_reported_without_them(home: Path) -> None:
    results, outside = home / "results", home.parent / "outside"
    honest = decaying(results, "honest", {0: 90, 10: 60, 100: 55})
    strangers_runs(results)
    before = state_of(outside)
    for words in (["report"], ["report", "--format", "json"], ["list", "runs"]):
        result = fdbench(*words, "--results", results)
        assert result.exit_code == 0, result.output
        assert "honest" in result.stdout
        assert "\x1b]" not in result.output
        assert "\u202e" not in result.output
        for name in HOSTILE.keys() - ODD:
            assert f"r20-{name}" in result.output, f"{name} is not named"
    assert state_of(outside) == before
    assert not re.search(r"(?<!\\)<script>", (results / "whitebox.md").read_text())
    assert honest.is_dir()
    assert not (results / "whitebox.csv").is_symlink(), "replaced, not written through"


def mixed(results: Path) -> dict[str, str]:
    """Half-finished, foreign, corrupt and contradictory runs: what each is called, and why."""
    store(results, info("half"), [row(i, 20, BUDGETS) for i in range(37)])
    (results / "runs" / "photos").mkdir()
    (results / "runs" / "photos" / "sea.txt").write_text("not a run")
    (results / "runs" / "tracker").mkdir()
    (results / "runs" / "tracker" / "run.json").write_text('{"lr": 0.1}')
    cut = decaying(results, "cut", {0: 90, 10: 50, 100: 40}) / "run.json"
    cut.write_text(cut.read_text()[:200])
    edited_rows = decaying(results, "edited", {0: 90, 10: 50, 100: 40}) / "rows-0.jsonl"
    edited_rows.write_bytes(edited_rows.read_bytes().replace(b'"clean": 3', b'"clean": 5', 1))
    others = [{**row(i, None, BUDGETS), "label": i % 7} for i in range(200)]
    store(results, info("liar", images=200), others)
    return {
        "half-": "37 of its 100 images",
        "photos": "no run.json",
        "tracker": "it has no 'format'",
        "cut-": "is not a run's description",
        "edited-": "line 1 does not fit its check",
        "liar-": "another label",
    }


@pytest.mark.parametrize("form", ["table", "md", "latex", "html", "csv", "json"])
def test_of_a_mixed_folder_the_rest_is_reported_in_every_format(home: Path, form: str) -> None:
    results = home / "results"
    for model in ("honest", "honest-mean"):
        decaying(results, model, {0: 90, 10: 60, 100: 55})
    why = mixed(results)
    result = fdbench("report", "--format", form, "--results", results)
    assert result.exit_code == 0, result.output
    page = (results / "report.html").read_text()
    said = " ".join((result.stderr + html.unescape(page)).split())
    for name, reason in why.items():
        assert re.search(rf"\b{name}.{{0,300}}{re.escape(reason)}", said), f"{name}: {reason}"
    shown = page if form == "html" else result.stdout
    assert "honest-mean" in shown
    with (results / "headline.csv").open() as file:
        assert [line["model"] for line in csv.DictReader(file)] == ["honest", "honest-mean"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_strangers_run_is_verified_to_an_end(home: Path, name: str) -> None:
    run = decaying(home / "results", "r20", {0: 90, 10: 50, 100: 40})
    HOSTILE[name](run)
    before = state_of(home.parent / "outside")
    result = fdbench("verify", run)
    assert result.exit_code in (1, 2, 3), result.output
    assert state_of(home.parent / "outside") == before


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header claims a size; its pixels compress to almost nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )  # fmt: skip

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" * 100_000, 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def strangers_data(folder: Path) -> None:
    for name in ("a", "b"):
        (folder / "test" / name).mkdir(parents=True)
        (folder / "test" / name / "honest.png").write_bytes(png_of(8, 8))
    (folder / "test" / "a" / "bomb.png").write_bytes(png_of(60_000, 60_000))
    (folder / "test" / "b" / "script.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n(x) run\n")


MODEL = """
import torch
from torch import nn
def load(): return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2)).eval()
"""


def test_a_strangers_images_are_refused_by_name(home: Path) -> None:
    (home / "net.py").write_text(MODEL)
    strangers_data(home / "data")
    result = fdbench("attack", "pgd", "--model", "net.py:load", "--data", "folder:data", "--px", 8)
    assert result.exit_code == 1
    assert "bomb.png" in result.stderr or "script.png" in result.stderr
    assert not (home / "results" / "runs").exists()


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch ran",)


ZOO: dict[str, Callable[[Path], object]] = {
    "pickle.pt": lambda path: path.write_bytes(pickle.dumps(Evil(), 2)),
    "archive.pt": lambda path: torch.save({"net": Evil()}, path),
    "archive.pth": lambda path: torch.save(Evil(), path),
    "pipe.safetensors": lambda path: os.mkfifo(path),
    "endless.safetensors": lambda path: path.symlink_to("/dev/zero"),
    "cut.safetensors": lambda path: path.write_bytes(struct.pack("<Q", 1 << 60)),
}


@pytest.mark.parametrize("name", ZOO)
def test_a_strangers_weights_run_nothing(home: Path, name: str) -> None:
    ZOO[name](home / name)
    result = fdbench("attack", "pgd", "--model", name, "--data", "fashion-mini", "--limit", 2)
    assert result.exit_code in (1, 2), result.output
    assert not (home / "ran").exists()
    assert not (home / "results" / "runs").exists()


def test_a_submission_that_leads_outside_is_refused(home: Path) -> None:
    entry = home / "entry"
    entry.mkdir()
    table = {"type": "attack", "entry_point": "../../outside/secret.txt"}
    (entry / "metadata.json").write_text(json.dumps(table))
    before = state_of(home.parent / "outside")
    words = ("attack", "transfer", "--submission", entry, "--data", "fashion-mini", "--limit", 2)
    result = fdbench(*words)
    assert result.exit_code in (1, 2), result.output
    assert "entry_point" in result.stderr or "entry point" in result.stderr
    (entry / "metadata.json").unlink()
    os.mkfifo(entry / "metadata.json")
    assert fdbench(*words).exit_code in (1, 2)
    shutil.rmtree(entry)
    assert state_of(home.parent / "outside") == before
