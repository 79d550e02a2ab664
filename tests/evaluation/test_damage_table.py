"""What finds damage to each kind of file, or why nothing can: the table docs/damage.md.

Files are damaged by their bytes (a flipped bit, cut, emptied, deleted, another's in their place),
or edited and sealed again, as a forger would. With FDBENCH_WRITE_DAMAGE=1 in the
environment the tests write the table.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from conftest import Linear, frozen
from madeup import examined
from scripted import pgd_spec
from test_make import plan, silent
from torch import nn

from fdbench.attacks import PGD
from fdbench.attacks.replay import Replay
from fdbench.attacks.transfer.generator import Painter, load_painter
from fdbench.blackbox.make import make_set
from fdbench.commands import main
from fdbench.data import Dataset, open_data
from fdbench.errors import FdbenchError
from fdbench.evaluation.audit import audit, read_run
from fdbench.evaluation.evaluation import Evaluation
from fdbench.evaluation.loop import evaluate
from fdbench.models import Model, build, weights_hash
from fdbench.models.checkpoint import Card, load_card, save_card
from fdbench.randomness import ImageId
from fdbench.specs import ModelSpec, digest
from fdbench.store import (
    AdvSet,
    BatchScratch,
    Check,
    Findings,
    RunInfo,
    Workspace,
    read_findings,
    read_info,
    read_set_info,
    read_unfinished,
    row_digest,
    write_findings,
    write_sealed,
    write_unfinished,
)
from fdbench.store import read_run as read_stored
from fdbench.store.set_index import lines_of
from fdbench.training.state import Position, load_state, save_state

Table = dict[str, Any]

TABLE = Path(__file__).parents[2] / "docs" / "damage.md"
CPU = torch.device("cpu")
IMAGES, PX = 10, 8
SPEC = ModelSpec("r20", width=1, classes=10, px=PX)


def model() -> Model:
    net = frozen(Linear(10, PX, seed=0))
    return Model("linear", "conftest:linear", net, weights_hash(net.state_dict()), None)


def data(home: Path) -> Dataset:
    return open_data(f"npz:{home / 'test.npz'}")


@dataclass(frozen=True)
class Home:
    """A folder with one file of each kind."""

    path: Path

    @property
    def results(self) -> Path:
        return self.path / "results"

    @property
    def run(self) -> Path:
        return next(path for path in (self.results / "runs").iterdir() if "-pgd-" in path.name)

    @property
    def transfer(self) -> Path:
        return next(path for path in (self.results / "runs").iterdir() if "-toys-" in path.name)

    @property
    def set(self) -> Path:
        return self.results / "sets" / "toys"

    @property
    def info(self) -> RunInfo:
        return read_info(self.run / "run.json")


@contextmanager
def ranked(rank: int, world: int) -> Iterator[None]:
    """As torchrun starts a process."""
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world))
    try:
        yield
    finally:
        del os.environ["RANK"], os.environ["WORLD_SIZE"]


def attacked(home: Home, seed: int) -> None:
    images = data(home.path)
    wanted: dict[ImageId, int] = {
        image: (int(label) + 3 + seed) % 10 for image, label in enumerate(images.labels)
    }
    spec = replace(pgd_spec(iters=(2, 4), targeted=True), targets="file")
    job = Evaluation(
        model(), images, PGD(), spec, Workspace(home.results), CPU, seed=seed, save_adv="png",
        batch_size=2, targets=wanted,
    )  # fmt: skip
    for rank in (0, 1):
        with ranked(rank, 2):
            evaluate(job, silent)


def judged(home: Home, seed: int) -> None:
    images, workspace = data(home.path), Workspace(home.results)
    changes = {"data": images, "limit": IMAGES, "batch_size": 4, "name": "toys", "seed": seed}
    stored = AdvSet.open(workspace, make_set(plan(home.results, **changes), silent).name)
    evaluate(Evaluation(model(), images, Replay(stored), stored.spec, workspace, CPU), silent)


def findings(info: RunInfo, word: str) -> Findings:
    return examined(info, Check("more iterations", "pass", word), Check("noise", "fail", word))


def stepped(seed: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A network after one step of SGD."""
    net = build(SPEC, seed=seed).train()
    optimiser = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    net(torch.full((2, 3, PX, PX), 0.5)).sum().backward()
    optimiser.step()
    return net, optimiser


def trained(folder: Path, seed: int) -> None:
    net, optimiser = stepped(seed)
    save_state(folder / "net.resume", net, optimiser, {"seed": seed}, Position(1, 2, {"loss": 3.0}))
    tensors = net.state_dict()
    card = Card("net", SPEC, data={"name": "toy", "classes": 10, "px": PX}, epochs=1, finished=True)
    save_card(folder / "net.safetensors", tensors, replace(card, weights=weights_hash(tensors)))
    torch.manual_seed(seed)
    painter = Painter().state_dict()
    table = {"weights": weights_hash(painter), "data": {"name": "toy", "px": PX}, "eps": 0.1}
    path = folder / "painter.safetensors"
    write_sealed(path, painter, {"attacker": json.dumps(table)})


CODE = f"""
import torch
from torch import nn
class Net(nn.Module):
    px = {PX}
    def forward(self, x):
        return x.flatten(1)[:, :10]
def load(): return Net().eval()
"""


def classify(home: Home) -> tuple[int, str]:
    """Labels the folder of photos with the journal there is; returns exit code and answers."""
    out = home.path / "labels.csv"
    words = ["classify", str(home.path / "photos"), str(out), "--model", f"{home.path}/net.py:load"]
    result = CliRunner().invoke(main, words)
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result.exit_code, out.read_text() if out.exists() else ""


def made(path: Path, seed: int) -> Home:
    """The subject (seed 0), or the other whose files take its files' places."""
    home, rng = Home(path), np.random.default_rng(seed)
    home.results.mkdir(parents=True)
    np.savez(
        path / "test.npz", x=rng.integers(0, 255, (IMAGES, PX, PX, 3), np.uint8), y=range(IMAGES)
    )
    attacked(home, seed)
    judged(home, seed)
    trained(path, seed)
    write_findings(home.results, findings(home.info, f"{seed} %"))
    write_unfinished(Workspace(home.results), findings(home.info, f"{seed} %"))
    value = torch.full((2,), float(seed))
    BatchScratch(path / "scratch", (1, 2), home.info.key).save({"adv": value})
    (path / "net.py").write_text(CODE)
    photos = path / "photos"
    photos.mkdir()
    pngs = home.run / "png" / "4"
    for number in range(3):
        shutil.copy(pngs / f"{number}.png", photos / f"{number}.png")
    assert classify(home)[0] == 0
    return home


# What looks at a file: returns what it finds, "" if nothing.


def refusal(read: Callable[[], object]) -> str:
    try:
        read()
    except FdbenchError:
        return "not read, named"
    return ""


def verified(run: Path, home: Home) -> str:
    try:
        checks = audit(read_run(run), model(), data(home.path), CPU)
    except FdbenchError:
        return "not read, named"
    failed = [check.check for check in checks if check.verdict == "fail"]
    return f"verify: {', '.join(failed)}" if failed else ""


def of_run(home: Home) -> str:
    return verified(home.run, home)


def of_transfer(home: Home) -> str:
    return verified(home.transfer, home)


def of_index(home: Home) -> str:
    of_set, path = read_set_info(home.set / "set.json").digest, home.set / "index-0.jsonl"
    damaged = path.exists() and lines_of(path, of_set)[1]
    named = "damaged lines named and left out; " if damaged else ""
    return f"{named}{verified(home.transfer, home)}".removesuffix("; ")


def of_notes(home: Home) -> str:
    return refusal(lambda: read_stored(home.run))


def of_checkpoint(home: Home) -> str:
    wanted = stepped(0)[0].state_dict()

    def read() -> None:
        tensors, _ = load_card(home.path / "net.safetensors")
        if weights_hash(tensors) != weights_hash(wanted):
            raise FdbenchError("the weights are another network's: a run's hash names its own")

    return refusal(read)


def of_generator(home: Home) -> str:
    torch.manual_seed(0)
    wanted = Painter().state_dict()

    def read() -> None:
        painter, _ = load_painter(home.path / "painter.safetensors")
        if weights_hash(painter.state_dict()) != weights_hash(wanted):
            raise FdbenchError("another generator: a set's hash names its own")

    return refusal(read)


def of_state(home: Home) -> str:
    net, optimiser = stepped(0)
    found = refusal(lambda: load_state(home.path / "net.resume", net, optimiser, {"seed": 0}))
    return found and "set aside, the training starts over"


def of_scratch(home: Home) -> str:
    tensors = BatchScratch(home.path / "scratch", (1, 2), home.info.key).load()
    return "" if tensors else "set aside, the batch starts over"


def of_findings(home: Home) -> str:
    if read_findings(home.results):
        return ""
    left = any((home.results / "doctor").glob("*.json"))
    return "not read, named" if left else "report: the doctor has not seen this threat"


def of_unfinished(home: Home) -> str:
    workspace, about = Workspace(home.results), replace(findings(home.info, "0 %"), checks=())
    found = refusal(lambda: read_unfinished(workspace, about))
    return found or ("" if read_unfinished(workspace, about) else "the examination starts over")


def of_journal(home: Home) -> str:
    before = (home.path / "labels.csv").read_text()
    (home.path / "labels.csv").unlink()
    code, answers = classify(home)
    if code:
        return "not read, named"
    return "labelled again" if answers == before else ""


def of_photos(home: Home) -> str:
    before = (home.path / "labels.csv").read_text()
    code, answers = classify(home)
    if code:
        return "named, left out"
    return "labelled again" if answers != before else ""


@dataclass(frozen=True)
class Kind:
    """A kind of file: where it is, what looks at it."""

    where: Callable[[Home], Path]
    look: Callable[[Home], str]


def in_run(name: str) -> Callable[[Home], Path]:
    return lambda home: home.run / name


def in_set(name: str) -> Callable[[Home], Path]:
    return lambda home: home.set / name


def first_shard(home: Home) -> Path:
    row = json.loads((home.run / "rows-0.jsonl").read_text().splitlines()[0])
    return home.run / "adv" / str(row["shard"])


def set_shard(home: Home) -> Path:
    stored = AdvSet.open(Workspace(home.results), "toys")
    return stored.paths.images / stored.shards["one", 0]


def findings_file(home: Home) -> Path:
    return next((home.results / "doctor").glob("*.json"))


def unfinished_file(home: Home) -> Path:
    return next((home.results / "doctor").glob("*.resume"))


KINDS = {
    "run.json": Kind(in_run("run.json"), of_run),
    "rows-0.jsonl": Kind(in_run("rows-0.jsonl"), of_run),
    "rows-1.jsonl": Kind(in_run("rows-1.jsonl"), of_run),
    "notes-1.json": Kind(in_run("notes-1.json"), of_notes),
    "targets.json": Kind(in_run("targets.json"), of_run),
    "behaviour.safetensors": Kind(in_run("behaviour.safetensors"), of_run),
    "adv/SHARD.safetensors": Kind(first_shard, of_run),
    "png/READING/IMAGE.png": Kind(in_run("png/4/3.png"), of_run),
    "a transfer run's run.json": Kind(lambda home: home.transfer / "run.json", of_transfer),
    "a transfer run's rows": Kind(lambda home: home.transfer / "rows-0.jsonl", of_transfer),
    "set.json": Kind(in_set("set.json"), of_transfer),
    "index-0.jsonl of a set": Kind(in_set("index-0.jsonl"), of_index),
    "a shard of a set": Kind(set_shard, of_transfer),
    "the data set, NAME.npz": Kind(lambda home: home.path / "test.npz", of_run),
    "checkpoints/NAME.safetensors": Kind(lambda home: home.path / "net.safetensors", of_checkpoint),
    "checkpoints/NAME.resume": Kind(lambda home: home.path / "net.resume", of_state),
    "attackers/NAME.safetensors": Kind(
        lambda home: home.path / "painter.safetensors", of_generator
    ),
    "scratch-0": Kind(lambda home: home.path / "scratch", of_scratch),
    "doctor/NAME.json": Kind(findings_file, of_findings),
    "doctor/NAME.resume": Kind(unfinished_file, of_unfinished),
    "classify's journal": Kind(lambda home: home.path / "labels.csv.jsonl", of_journal),
    "an image of classify": Kind(lambda home: home.path / "photos" / "1.png", of_photos),
}

Damage = Callable[[Path, Path], None]  # of a file, with the other's of the same kind


def flipped(share: float) -> Damage:
    def flip(path: Path, other: Path) -> None:
        content = bytearray(path.read_bytes())
        content[int(share * len(content))] ^= 1
        path.write_bytes(content)

    return flip


def cut(path: Path, other: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def emptied(path: Path, other: Path) -> None:
    path.write_bytes(b"")


def deleted(path: Path, other: Path) -> None:
    path.unlink()


def replaced(path: Path, other: Path) -> None:
    shutil.copy(other, path)


BY_BYTES: dict[str, Damage] = {
    "a bit in the first tenth": flipped(0.08),
    "a bit in the middle": flipped(0.5),
    "a bit near the end": flipped(0.93),
    "cut in half": cut,
    "emptied": emptied,
    "deleted": deleted,
    "another's": replaced,
}


# Edits by a forger who knows the format, and computes every digest again.


def changed(value: Any) -> Any:
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * 0.5 + 0.001
    if isinstance(value, str):
        return f"{value[:-1]}{'0' if value[-1:] != '0' else '1'}" if value else "x"
    if isinstance(value, list):
        return value[:-1] if value else ["x"]
    if isinstance(value, dict):
        return {key: changed(one) for key, one in value.items()} if value else {"x": 1}
    return 1


def put(table: Table, field: str) -> None:
    """Changes one field, named as in `model.weights`."""
    *parents, last = field.split(".")
    for name in parents:
        table = table[name]
    table[last] = changed(table.get(last))


def in_description(field: str) -> Damage:
    def edit(path: Path, other: Path) -> None:
        table = json.loads(path.read_text())
        put(table, field)
        table["check"] = digest({key: value for key, value in table.items() if key != "check"})
        path.write_text(json.dumps(table, indent=2))

    return edit


def in_every_row(field: str) -> Damage:
    def edit(path: Path, other: Path) -> None:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        key = read_info(path.with_name("run.json")).key
        for row in rows:
            put(row, field)
            row["check"] = row_digest(cast(Any, row), key)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    return edit


def without_rows(path: Path, other: Path) -> None:
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]))


def repeated_row(path: Path, other: Path) -> None:
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[1:], lines[1]]))


def in_index(field: str) -> Damage:
    def edit(path: Path, other: Path) -> None:
        of_set = read_set_info(path.with_name("set.json")).digest
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:
            put(line, field)
            line["check"] = digest({**line, "check": of_set})
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    return edit


def in_card(field: str) -> Damage:
    def edit(path: Path, other: Path) -> None:
        tensors, card = load_card(path)
        table = json.loads(json.dumps(asdict(card)))
        put(table, field)
        write_sealed(path, tensors, {"card": json.dumps(table)})

    return edit


IN_RUN_JSON = (
    *("name", "model.name", "model.ref", "model.weights", "model.spec", "model.train"),
    *("model.preprocessing", "data.name", "data.split", "data.fingerprint", "data.classes"),
    *("data.count", "data.sample", "data.px", "attack.attack", "attack.norm", "attack.eps"),
    *(
        "attack.targeted",
        "attack.parameters.iters",
        "attack.parameters.loss",
        "seed",
        "precision",
        "images",
        "limit",
    ),
    *("batch_size", "environment", "further", "started", "command", "seconds", "warnings"),
    *("found.save_adv", "found.network", "found.observed", "found.behaviour", "found.sanity"),
)
IN_ROWS = (
    *("image", "label", "target", "clean", "pred.2", "pred.4", "distance", "first_wrong"),
    *("first_wrong_by", "shard"),
)
IN_SET_JSON = (
    *("name", "title", "attackers", "surrogates", "data.name", "data.fingerprint", "data.split"),
    *("px", "eps", "seed", "images", "environment", "norm", "targets", "files", "started"),
    *("command", "warnings", "digest"),
)
IN_INDEX = ("attacker", "ids", "shard", "seconds", "counts", "unattacked", "warnings", "targets")
IN_CARD = ("name", "spec.arch", "data.name", "epochs", "finished", "weights", "licence", "log")
IN_FINDINGS = ("model", "weights", "norm", "eps", "images", "started")

RESEALED: dict[str, dict[str, Damage]] = {
    "run.json": {field: in_description(field) for field in IN_RUN_JSON},
    "rows-0.jsonl": {
        **{field: in_every_row(field) for field in IN_ROWS},
        "the last row removed": without_rows,
        "a row in place of another": repeated_row,
    },
    "a transfer run's rows": {
        field: in_every_row(field)
        for field in ("clean", "pred.one", "pred.two", "distance", "label")
    },
    "set.json": {field: in_description(field) for field in IN_SET_JSON},
    "index-0.jsonl of a set": {
        **{field: in_index(field) for field in IN_INDEX},
        "the last line removed": without_rows,
    },
    "checkpoints/NAME.safetensors": {field: in_card(field) for field in IN_CARD},
    "doctor/NAME.json": {field: in_description(field) for field in IN_FINDINGS},
}

CASES: dict[tuple[str, str], Damage] = {
    **{(kind, damage): do for kind in KINDS for damage, do in BY_BYTES.items()},
    **{
        (kind, f"{field}, sealed again"): do
        for kind, edits in RESEALED.items()
        for field, do in edits.items()
    },
}


def found(case: tuple[str, str], subject: Home, other: Home, folder: Path) -> str:
    """Damages a copy of the subject, and returns what finds it."""
    kind = KINDS[case[0]]
    home = Home(Path(shutil.copytree(subject.path, folder / subject.path.name)))
    try:
        CASES[case](kind.where(home), kind.where(other))
        return kind.look(home)
    finally:
        shutil.rmtree(home.path)


_ALONE = "nothing else determines it, and no verdict depends on it"
_CARD = "the trainer's word: runs and sets are bound to the weights' hash, not to the card"
UNDETECTABLE = {
    ("notes-1.json", "deleted"): "as if that process had noted nothing; no verdict depends on it",
    **{
        ("run.json", f"{field}, sealed again"): _ALONE
        for field in (
            *("model.ref", "batch_size", "environment", "started", "command", "seconds"),
            *("warnings", "found.save_adv", "found.network", "found.observed", "found.sanity"),
        )
    },
    **{
        ("set.json", f"{field}, sealed again"): _ALONE
        for field in ("name", "title", "environment", "started", "command", "warnings")
    },
    ("set.json", "images, sealed again"): "a longer set continues a shorter one",
    **{
        ("index-0.jsonl of a set", f"{field}, sealed again"): _ALONE
        for field in ("seconds", "counts", "warnings")
    },
    **{
        ("checkpoints/NAME.safetensors", f"{field}, sealed again"): _CARD
        for field in ("name", "data.name", "epochs", "finished", "licence")
    },
    ("doctor/NAME.json", "started, sealed again"): _ALONE,
}


def all_found(folder: Path) -> dict[tuple[str, str], str]:
    """What finds each case; every kind is in order before it is damaged."""
    one, two = made(folder / "one", 0), made(folder / "two", 1)
    for name, kind in KINDS.items():
        assert kind.look(one) in ("", "labelled again"), name
    return {case: found(case, one, two, folder / "copies") for case in CASES}


HEAD = """# What finds damage

{count} cases: a kind of file, damaged by its bytes or edited by someone who computes every digest
again, and what finds it. In italics: what nothing in the folder can find, and why. Digests are no
signatures: they find accidents and careless edits, and bind files to each other; someone who
recomputes *everything*, images and verdicts included, has made another run.

| file | damage | found by |
|:--|:--|:--|
"""


def table(outcomes: dict[tuple[str, str], str]) -> str:
    lines = [
        f"| `{kind}` | {damage} | {text or f'*not found: {UNDETECTABLE[kind, damage]}*'} |\n"
        for (kind, damage), text in outcomes.items()
    ]
    return HEAD.format(count=len(lines)) + "".join(lines)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], str]:
    return all_found(tmp_path_factory.mktemp("damage"))


def test_all_damage_is_found_but_what_has_a_reason(outcomes: dict[tuple[str, str], str]) -> None:
    assert len(outcomes) >= 200
    assert {case for case, text in outcomes.items() if not text} == set(UNDETECTABLE)


def test_the_committed_table_is_what_happens(outcomes: dict[tuple[str, str], str]) -> None:
    if "FDBENCH_WRITE_DAMAGE" in os.environ:
        TABLE.write_text(table(outcomes))
    assert table(outcomes) == TABLE.read_text()
