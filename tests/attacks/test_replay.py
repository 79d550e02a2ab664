import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from test_make import linear, plan, silent

from fdbench.api import generators
from fdbench.api.black_box import with_weight
from fdbench.attacks.protocol import Subject
from fdbench.attacks.replay import Replay
from fdbench.attacks.targets import draw_targets
from fdbench.blackbox.attackers import Known
from fdbench.blackbox.make import make_set
from fdbench.commands.train_attacker import train_attacker
from fdbench.commands.transfer import transfer
from fdbench.data.open import open_data
from fdbench.errors import BadValue, FdbenchError
from fdbench.evaluation.evaluation import Evaluation
from fdbench.evaluation.loop import evaluate
from fdbench.reporting import all_or_nothing
from fdbench.specs.attack import AttackSpec
from fdbench.store import AdvSet, Workspace
from fdbench.store.runs import read_runs
from fdbench.store.scratch import BatchScratch
from fdbench.threat import Threat


def made(results: Path, **changes: Any) -> AdvSet:
    return AdvSet.open(Workspace(results), make_set(plan(results, **changes), silent).name)


def forbidden(*_: Any) -> Any:
    raise AssertionError("the judge was called")


def test_replay_returns_the_sets_images_and_calls_no_network(tmp_path: Path) -> None:
    adv_set = made(tmp_path)
    batch = open_data("fashion-mini", "test").fetch([9, 2, 17])
    shares: list[float] = []
    net = torch.nn.Module()
    scratch = BatchScratch(tmp_path / "scratch", batch.ids)
    subject = Subject(
        net, batch, None, Threat("linf", 8 / 255), 0, forbidden,
        lambda share=1.0, stage="": shares.append(share), 10, scratch, 250,
    )  # fmt: skip
    readings = {one.name: one for one in Replay(adv_set).run(subject, adv_set.spec)}
    assert set(readings) == {"one", "two"}
    for name, reading in readings.items():
        assert torch.equal(reading.adv, adv_set.images(name, batch.ids))
        assert reading.notes == {}
    assert sum(shares) == Replay(adv_set).cost(adv_set.spec)


def test_rows_and_run_json_record_every_attacker(tmp_path: Path) -> None:
    adv_set = made(tmp_path, known=Known((linear(3),), (1.0,)))
    victim, data = linear(0), open_data("fashion-mini", "test")
    job = Evaluation(
        victim,
        data,
        Replay(adv_set),
        adv_set.spec,
        Workspace(tmp_path),
        torch.device("cpu"),
        limit=20,
        batch_size=6,
    )
    folder = evaluate(job, silent)
    rows = [json.loads(line) for line in (folder / "rows-0.jsonl").read_text().splitlines()]
    assert len(rows) == 20
    for name in ("one", "two"):
        adv = adv_set.images(name, range(20))
        wanted = victim.net(adv).argmax(1).tolist()
        assert [row["pred"][name] for row in rows] == wanted
    further = json.loads((folder / "run.json").read_text())["further"]
    assert further["set"] == adv_set.info.digest
    assert further["surrogates"] == [{"name": "linear-3", "weights": linear(3).weights}]
    assert further["attackers"] == ["one", "two"]


def test_a_set_remade_with_another_seed_is_refused(tmp_path: Path) -> None:
    old = made(tmp_path, name="mine")
    for path in sorted(old.path.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    made(tmp_path, name="mine", seed=1)
    with pytest.raises(FdbenchError, match="mine was remade with other settings"):
        Replay(AdvSet.open(Workspace(tmp_path), "mine")).check(old.spec)


WRONG_SPECS: list[dict[str, Any]] = [{"eps": 16 / 255}, {"norm": "l2"}, {"targeted": True}]


@pytest.mark.parametrize("change", WRONG_SPECS, ids=lambda change: next(iter(change)))
def test_a_set_is_refused_for_another_threat_model(tmp_path: Path, change: dict[str, Any]) -> None:
    adv_set = made(tmp_path)
    spec: AttackSpec = replace(adv_set.spec, **change)
    with pytest.raises(BadValue, match="was made untargeted, in linf, with eps 8/255"):
        Replay(adv_set).check(spec)


def test_a_set_of_other_images_is_refused(tmp_path: Path) -> None:
    adv_set, data = made(tmp_path), open_data("fashion-mini", "test")
    adv_set.check_fit(data, data.ids[:30])
    with pytest.raises(FdbenchError, match="has 30 of these 31 images"):
        adv_set.check_fit(data, data.ids[:31])
    other = open_data("fashion-mini", "held-out")
    with pytest.raises(BadValue, match=r"from fashion-mini \(test.*not from fashion-mini \(held"):
        adv_set.check_fit(other, data.ids[:30])


def test_a_victim_among_the_surrogates_gives_a_warning(tmp_path: Path) -> None:
    adv_set = made(tmp_path, known=Known((linear(3),), (1.0,)))
    (text,) = Replay(adv_set).warnings(adv_set.spec, linear(3).weights, 10)
    assert text == "the attackers know this network, linear-3: white-box"
    assert Replay(adv_set).warnings(adv_set.spec, linear(0).weights, 10) == []


_NETS = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from conftest import Linear
class Late(Linear):
    def forward(self, x):
        done = [p.read_text().count("\\n") for p in Path("results/sets").glob("*/index-*")]
        assert done == [6], "the victim ran before the set was made"
        return super().forward(x)
def known(): return Linear(10, 28, 0)
def other(): return Linear(10, 28, 1)
def victim(): return Late(10, 28, 2)
def thousand(): return Linear(1000, 28, 3)
"""
_BATTERY = """
summary = "two"
[[attacker]]
name = "mi"
method = "momentum"
iters = 2
[[attacker]]
name = "coin"
method = "noise"
"""


@pytest.fixture
def cwd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "attacks").mkdir()
    (tmp_path / "attacks" / "duo.toml").write_text(_BATTERY)
    (tmp_path / "attacks" / "mi.toml").write_text(_BATTERY.rpartition("[[attacker]]")[0])
    (tmp_path / "threenets.py").write_text(_NETS.format(tests=str(Path(__file__).parent.parent)))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "threenets", raising=False)
    return tmp_path


def run(words: str) -> Result:
    return CliRunner().invoke(transfer, words.split())


KNOWN = "--data fashion-mini --surrogate threenets:known"
MAKE = f"{KNOWN} --surrogate threenets:other=0.5 --attackers duo"


def test_a_set_is_made_once_and_judged_by_any_number_of_victims(cwd: Path) -> None:
    first = run(f"{MAKE} --make mine --limit 12 --batch-size 6 --model threenets:victim")
    assert first.exit_code == 0, first.output
    folder, judged = first.stdout.splitlines()[-2:]
    assert folder == "results/sets/mine"
    again = run(f"--use {folder} --model threenets:victim --model threenets:known --json")
    assert again.exit_code == 0, again.output
    output = json.loads(again.stdout)
    assert output["set"]["surrogates"][1]["weight"] == 0.5
    assert set(output["set"]["seconds"]) == {"mi", "coin"}
    assert Path(judged).name == output["runs"][0]["name"], "the same images are the same run"
    rows = (Path(judged) / "rows-0.jsonl").read_text().splitlines()
    assert len(rows) == 12
    assert set(json.loads(rows[0])["pred"]) == {"mi", "coin"}


AIMED = f"{KNOWN} --attackers mi --model threenets:known --batch-size 6"


def aimed(words: str) -> tuple[AdvSet, list[dict[str, Any]]]:
    """Runs a command; returns the set it made and the rows of the victim judged on it."""
    result = run(words)
    assert result.exit_code == 0, result.output
    folder, judged = map(Path, result.stdout.splitlines()[-2:])
    rows = (judged / "rows-0.jsonl").read_text().splitlines()
    return AdvSet.open(Workspace(Path("results")), folder.name), [json.loads(row) for row in rows]


def test_a_targeted_set_is_judged_with_its_own_targets(cwd: Path) -> None:
    adv_set, rows = aimed(f"{AIMED} --targeted --limit 12 --seed 3")
    batch = open_data("fashion-mini", "test").fetch(range(12))
    assert [row["target"] for row in rows] == draw_targets(batch, 10, 3).tolist()
    assert adv_set.info.targets == "random"
    hits = sum(row["pred"]["mi"] == row["target"] for row in rows)
    assert hits > 3, "the surrogate is the victim"
    table = all_or_nothing.blackbox(read_runs(Path("results")))
    assert table["success"][0] == pytest.approx(100 * hits / 12, abs=0.001)
    assert table["targeted"][0] == "targeted"


def test_a_file_of_targets_must_cover_every_image(cwd: Path) -> None:
    labels = open_data("fashion-mini", "test").labels[:12]
    wanted = ((labels + 4) % 10).tolist()
    lines = [f"{image},{target}" for image, target in enumerate(wanted)]
    Path("wanted.csv").write_text("\n".join(["image,target", *lines]) + "\n")
    result = run(f"{AIMED} --targets wanted.csv --limit 13")
    assert result.exit_code == 2
    assert "no target is given for 12" in result.stderr
    assert not (cwd / "results").exists()
    adv_set, rows = aimed(f"{AIMED} --targets wanted.csv --limit 12")
    assert [row["target"] for row in rows] == wanted
    assert str(adv_set.info.targets).startswith("given ")


def test_the_competitions_images_bring_their_targets(cwd: Path) -> None:
    (cwd / "nips" / "images").mkdir(parents=True)
    table = ["ImageId,TrueLabel,TargetClass", "b,1,5", "a,2,1000", "c,3,2"]
    (cwd / "nips" / "images.csv").write_text("\n".join(table))
    for i, name in enumerate("bac"):
        pixels = np.random.default_rng(i).integers(0, 256, (28, 28, 3), np.uint8)
        Image.fromarray(pixels).save(cwd / "nips" / "images" / f"{name}.png")
    words = "--attackers mi --surrogate threenets:thousand --model threenets:thousand"
    adv_set, rows = aimed(f"{words} --data caad:nips --targeted")
    assert {row["image"]: row["target"] for row in rows} == {"b": 4, "a": 999, "c": 1}
    assert adv_set.info.eps == 16 / 255
    (cwd / "nips" / "images.csv").write_text("ImageId,TrueLabel\nb,1\na,2\nc,3\n")
    result = run(f"{words} --data caad:nips --targeted")
    assert "no column TargetClass" in result.stderr
    assert "--targets random" in result.stderr
    drawn, _ = aimed(f"{words} --data caad:nips --targets random")
    assert drawn.info.targets == "random"


DEFAULT = "--data fashion-mini --surrogate threenets:known --limit 3 --batch-size 3"


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Generators that train on eight images."""
    monkeypatch.setattr(generators, "_LIMIT", 8)


def trained() -> set[str]:
    return {path.name for path in Path("results/attackers").glob("*.safetensors")}


def weights_of(result: Result) -> Path:
    """The generator's file, from the set that the command made."""
    assert result.exit_code == 0, result.output
    info = json.loads((Path(result.stdout.splitlines()[-1]) / "set.json").read_text())
    knobs = next(one["knobs"] for one in info["attackers"] if one["name"] == "generator")
    assert list(info["files"]) == [knobs["weights"]]
    return Path(knobs["weights"])


@pytest.mark.usefixtures("cwd", "few")
def test_the_default_battery_trains_its_generator_once_for_its_surrogates_and_eps() -> None:
    first = run(f"{DEFAULT} --eps 4/255")
    path = weights_of(first)
    assert (
        f"the attacker generator trains first, once for these surrogates and this eps: {path}"
        in (" ".join(first.stderr.split()))
    )
    again = run(f"{DEFAULT.replace('3', '5')} --eps 4/255")
    assert weights_of(again) == path
    assert "trains first" not in again.stderr
    assert trained() == {path.name}
    others = [run(f"{DEFAULT} --eps 8/255"), run(f"{DEFAULT} --surrogate threenets:other")]
    assert len({path, *map(weights_of, others)}) == 3


@pytest.mark.usefixtures("cwd", "few")
def test_a_generator_of_train_attacker_is_taken_for_its_own_surrogates_and_eps_only() -> None:
    words = "--data fashion-mini --surrogate threenets:known --eps 8/255 --limit 4 --epochs 1"
    assert CliRunner().invoke(train_attacker, words.split()).exit_code == 0
    own = Path("results/attackers/generator.safetensors")
    assert weights_of(run(f"{DEFAULT} --eps 8/255")) == own
    assert weights_of(run(f"{DEFAULT} --eps 2/255")) == own, "it saw eps from 2/255 to 8/255"
    assert weights_of(run(f"{DEFAULT} --eps 1/255")) != own
    assert weights_of(run(f"{DEFAULT.replace('known', 'other')} --eps 8/255")) != own


@pytest.mark.usefixtures("cwd", "few")
def test_an_interrupted_training_of_the_battery_continues_with_the_same_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = weights_of(run(f"{DEFAULT} --eps 4/255")).read_bytes()
    shutil.rmtree("results")

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("fdbench.training.loop._close_epoch", interrupted)
        assert run(f"{DEFAULT} --eps 4/255").exit_code != 0
    assert not Path("results/sets").exists()
    result = run(f"{DEFAULT} --eps 4/255")
    assert "continuing generator-" in result.stderr
    assert weights_of(result).read_bytes() == whole


@pytest.mark.usefixtures("few")
def test_where_no_generator_can_be_trained_the_line_to_type_is_named(
    cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = run(f"{DEFAULT} --eps 4/255")
    assert result.exit_code == 1
    assert "Type this command once without torchrun" in result.stderr
    monkeypatch.delenv("WORLD_SIZE")
    (cwd / "nips" / "images").mkdir(parents=True)
    (cwd / "nips" / "images.csv").write_text("ImageId,TrueLabel,TargetClass\na,2,5\n")
    Image.fromarray(np.zeros((28, 28, 3), np.uint8)).save(cwd / "nips" / "images" / "a.png")
    result = run("--data caad:nips --surrogate threenets:thousand --eps 16/255")
    assert result.exit_code == 1
    assert (
        "fdbench train-attacker --data folder:DIR --px 28 --surrogate threenets:thousand "
        "--eps 16/255" in result.stderr.splitlines()
    )
    assert not (cwd / "results" / "attackers").exists()


@pytest.mark.parametrize(
    ("typed", "ref", "weight"),
    [
        ("r20", "r20", 1.0),
        ("r20=0.5", "r20", 0.5),
        ("net.py:load?ckpt=best.pt", "net.py:load?ckpt=best.pt", 1.0),
        ("net.py:load?ckpt=best.pt=2", "net.py:load?ckpt=best.pt", 2.0),
        ("net.py:load?ckpt=a.pt&width=16", "net.py:load?ckpt=a.pt&width=16", 1.0),
    ],
)
def test_an_argument_of_a_surrogate_is_not_its_weight(typed: str, ref: str, weight: float) -> None:
    assert with_weight(typed) == (ref, weight)


def test_more_images_than_the_set_holds_are_refused_before_any_is_judged(cwd: Path) -> None:
    result = run(f"{MAKE} --make mine --limit 3")
    assert result.stdout.splitlines() == ["results/sets/mine"]
    result = run("--use mine --limit 5 --model threenets:other")
    assert result.exit_code == 1
    assert "has 3 of these 5 images" in result.stderr
    assert not (cwd / "results" / "runs").exists()


WRONG = {
    "nobody": ("--model threenets:victim", "no attacker: give --surrogate"),
    "nothing to judge by": ("--use mine", "--use needs a --model"),
    "a set is as it was made": (
        "--use mine --eps 8/255 --seed 0 --model x:y",
        "--eps, --seed can't change it",
    ),
    "a battery without surrogates": ("--attackers duo --adv-dir .", "give --surrogate MODEL"),
    "limit of nobody": (f"{MAKE} --time-limit 5", "--time-limit is only for --submission"),
    "a path as a name": (f"{MAKE} --make ../x", "plain file name"),
    "weight": ("--surrogate threenets:known=much", "'much' is not a weight"),
    "no weight": (
        "--data fashion-mini --surrogate threenets:known=-1",
        "weights of surrogates must be",
    ),
    "no such battery": (
        "--data fashion-mini --attackers solo --surrogate threenets:known",
        "no battery 'solo'",
    ),
    "who cannot aim": (f"{MAKE} --targeted", "coin (method noise) can't aim at a class"),
    "who cannot aim by default": (
        "--data fashion-mini --surrogate threenets:known --targeted",
        "generator (method generator) can't aim at a class",
    ),
    "targets of nobody": (f"{MAKE} --untargeted --targets random", "contradicts --untargeted"),
    "neither kind nor file": (f"{MAKE} --targets most", "'most' is neither random nor a CSV file"),
    "targets of a made set": ("--use mine --targeted --model x:y", "--targeted can't change it"),
    "eps": (f"{MAKE} --eps 8", "Did you mean --eps 8/255?"),
    "no such set": ("--use mine --model threenets:known", "no set 'mine'"),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_input_gets_one_clear_message_and_writes_nothing(cwd: Path, what: str) -> None:
    words, text = WRONG[what]
    result = run(words)
    assert text in " ".join(result.stderr.split())
    assert result.exit_code == 2, result.output
    assert not (cwd / "results").exists()
