"""Made-up runs: networks that break by a formula, so that tables can be checked by hand."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from scripted import pgd_spec

from fdbench.specs.attack import AttackSpec
from fdbench.store import (
    Check,
    DataInfo,
    Findings,
    ModelInfo,
    Row,
    RunFolder,
    RunInfo,
    Workspace,
    row_digest,
)

MADE_UP_SET = {"set": "madeup", "digest": "0123456789abcdef"}


def spec_of(iters: tuple[int, ...] = (), attack: str = "pgd", **settings: Any) -> AttackSpec:
    """PGD's spec, or another attack's; `settings` are fields of the spec and of its parameters."""
    if attack == "pgd":
        return pgd_spec(iters=iters, **settings)
    threat: dict[str, Any] = {
        key: settings.pop(key) for key in ("norm", "eps", "targeted") if key in settings
    }
    if attack == "transfer":
        settings = {"options": MADE_UP_SET, **settings}
    return AttackSpec.of({"attack": attack, **threat, **settings}, "a test")


def info(
    model: str = "r20", iters: tuple[int, ...] = (10, 100), images: int = 100, **attack: Any
) -> RunInfo:
    """A run's description; `attack` are fields of its AttackSpec."""
    denoise = model.partition("-")[2] or "none"
    return RunInfo(
        model=ModelInfo(
            model,
            model,
            weights=model.encode().hex()[:8].ljust(64, "0"),
            spec={"arch": "r20", "denoise": denoise},
        ),
        data=DataInfo("fashion-mini", "test", "f" * 16, classes=10, count=1000),
        attack=spec_of(iters, **attack),
        seed=0,
        precision="fp32",
        images=images,
        limit=None,
        batch_size=50,
        environment={"python": "3.11.7", "torch": "2.11.0", "cpu": "a processor", "device": "cpu"},
        started="2025-01-01T00:00:00+00:00",
        command=f"fdbench attack pgd --model {model}",
    )


def examined(run: RunInfo, *checks: Check) -> Findings:
    """What the doctor says about a run's network, on its data and under its threat."""
    model, data, attack = run.model, run.data, run.attack
    return Findings(
        model.name, model.weights, data.name, checks, run.started, attack.norm, attack.eps, 200,
        data.split, data.fingerprint, model.preprocessing,
    )  # fmt: skip


def row(image: int, falls_at: int | None, budgets: tuple[int, ...], clean: bool = True) -> Row:
    """An image of class 3 that is taken for a 5 from iteration `falls_at` on."""
    return {
        "image": image,
        "label": 3,
        "target": 5,
        "clean": 3 if clean else 4,
        "pred": {str(b): 5 if falls_at is not None and falls_at <= b else 3 for b in budgets},
        "first_wrong": falls_at,
        "distance": 8 / 255,
    }


def store(results: Path, run: RunInfo, rows: Sequence[Mapping[str, object]]) -> Path:
    """Writes a run as a session would; returns its folder. Wrong rows are refused."""
    with RunFolder.open(Workspace(results), run) as folder:
        folder.append(cast(list[Row], rows))
        return folder.path


def decaying(results: Path, model: str, robust: dict[int, int], **attack: Any) -> Path:
    """A network right on robust[b] of 100 images after b iterations, on robust[0] of the clean."""
    budgets = tuple(b for b in robust if b)
    rows = []
    for image in range(100):
        falls = next((b for b in budgets if image >= robust[b]), None)
        rows.append(row(image, falls, budgets, clean=image < robust[0]))
    return store(results, info(model, budgets, **attack), rows)


def run_json(folder: Path) -> dict[str, Any]:
    """Reads a run's run.json."""
    fields: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return fields


def other_weights(run: RunInfo, digit: str, started: str) -> RunInfo:
    """The same row with other parameters, begun at another time."""
    return replace(run, model=replace(run.model, weights=digit * 64), started=started)


def sealed(run: RunInfo, rows: Sequence[Mapping[str, object]]) -> list[Row]:
    """The rows as they are read back from this run: each with its check."""
    return [cast(Row, {**row, "check": row_digest(cast(Row, row), run.key)}) for row in rows]
