"""What a job left in its folder, without what may differ between two runs: times, and places.

The place of an image is the shard that holds it, and the process whose file has its row: they
depend on where a job was interrupted, the image and its row do not.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fdbench.store import AdvSet, Workspace, read_run
from fdbench.store.images import read_shard
from fdbench.store.tensors import read_tensors

_TIMES = ("seconds", "started", "images_per_second", "peak_mb")
# Counts for the sanity gate. A kill between a batch's rows and its counts loses the counts.
_UNCERTAIN = ("observed",)
_OF_PROCESS = re.compile(r"(rows|index|notes)-\d+\.jsonl?$")

Outcome = dict[str, Any]


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        left = {k: v for k, v in value.items() if k not in _TIMES + _UNCERTAIN}
        return {k: _timeless(v) for k, v in left.items()}
    return [_timeless(one) for one in value] if isinstance(value, list | tuple) else value


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _bytes_of(tensor: Any) -> bytes:
    content: bytes = tensor.contiguous().numpy().tobytes()
    return content


def _weights(path: Path) -> Outcome:
    tensors, metadata = read_tensors(path)
    metadata.pop("sha256", None)  # of everything else, times included
    cards = {key: _timeless(json.loads(text)) for key, text in metadata.items()}
    return {**cards, **{name: _digest(_bytes_of(one)) for name, one in tensors.items()}}


def _run(folder: Path) -> Outcome:
    """A run's description; its rows by image, each with its images as they are stored."""
    run = read_run(folder)
    rows: dict[str, Any] = {}
    for row in run.rows:
        kept = {k: v for k, v in row.items() if k not in ("shard", "check", "seconds")}
        if "shard" in row:
            shard = read_shard(folder / "adv" / row["shard"])
            place = shard.ids.index(row["image"])
            kept["images"] = {k: _digest(_bytes_of(t[place])) for k, t in shard.tensors.items()}
        rows[str(row["image"])] = kept
    named = {row["shard"] for row in run.rows if "shard" in row}
    return {"info": _timeless(asdict(run.info)), "rows": rows, **_strays(folder, named)}


def _set(folder: Path) -> Outcome:
    """A set's description; its images by attacker and image."""
    one = AdvSet.open(Workspace(folder.parents[1]), folder.name)
    images = {
        f"{attacker} {image}": _digest(_bytes_of(one.images(attacker, [image])))
        for attacker, image in one.shards
    }
    said = {"counts": one.counts, "unattacked": {k: sorted(v) for k, v in one.unattacked.items()}}
    named = {line.shard for line in one.lines}
    return {"info": _timeless(asdict(one.info)), "images": images, **said, **_strays(folder, named)}


def _strays(folder: Path, named: set[str]) -> Outcome:
    """The shards that nothing names."""
    return {"strays": sorted(p.name for p in folder.glob("adv/*") if p.name not in named)}


def _content(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return _weights(path)
    if path.suffix == ".json":
        return _timeless(json.loads(path.read_text()))
    return _digest(path.read_bytes())


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)), path


def outcome_of(folder: Path, before: set[str]) -> Outcome:
    """Everything in a folder, by name, but for the files that were there `before`."""
    found: Outcome = {}
    for name, path in _files(folder):
        if name in before or _OF_PROCESS.search(name) or "/adv/" in name:
            continue
        if path.name == "run.json":
            found[name] = _run(path.parent)
        elif path.name == "set.json":
            found[name] = _set(path.parent)
        else:
            found[name] = _content(path)
    return found


def names_in(folder: Path) -> set[str]:
    """All files in a folder and below it."""
    return {name for name, _ in _files(folder)}


def differences(wanted: Any, found: Any, where: str = "") -> Iterator[str]:
    """Where two outcomes differ, a line each."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key in {**wanted, **found}:
            yield from differences(wanted.get(key), found.get(key), f"{where}/{key}")
    elif wanted != found:
        yield f"{where}: {str(wanted)[:200]} -> {str(found)[:200]}"
