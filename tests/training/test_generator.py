import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from conftest import frozen
from killing import killed, steps_learnt
from torch import nn

from fdbench import verdict
from fdbench.attacks.transfer.craft import craft
from fdbench.attacks.transfer.ensemble import Ensemble
from fdbench.attacks.transfer.generator import Painter, load_painter
from fdbench.commands.train_attacker import train_attacker
from fdbench.data import Dataset, open_data, sampled
from fdbench.errors import BadValue, FdbenchError
from fdbench.models import open_model
from fdbench.store import Surrogate
from fdbench.store.tensors import read_tensors
from fdbench.store.workspace import Workspace
from fdbench.threat import Threat
from fdbench.training import start
from fdbench.training.generator import GeneratorLearner, GeneratorTraining, conviction
from fdbench.training.learner import Lesson
from fdbench.training.loop import learn, train
from fdbench.training.state import Position
from fdbench.types import Batch

EPS = 16 / 255


class Stripes(nn.Module):
    """Tells apart images by the strength of four fine textures: easily misled by fine noise."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(seed)
        self.conv = nn.Conv2d(3, 4, 3, bias=False)
        with torch.no_grad():
            filters = torch.randn(self.conv.weight.shape, generator=rng)
            self.conv.weight.copy_(filters - filters.mean((1, 2, 3), keepdim=True))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 10 * self.conv(x).abs().mean((2, 3))


@cache
def ensemble() -> Ensemble:
    return Ensemble((frozen(Stripes(0)), frozen(Stripes(1))), (1.0, 1.0))


@cache
def part(count: int) -> Dataset:
    whole = open_data("fashion-mini", "train")
    return replace(whole, ids=whole.ids[:count], labels=whole.labels[:count])


def tiny(results: Path, **changes: Any) -> GeneratorLearner:
    named = (Surrogate("one", "a", "0" * 64), Surrogate("two", "b", "1" * 64))
    plain = GeneratorTraining(
        "tiny",
        named,
        ensemble(),
        part(70),
        Workspace(results),
        torch.device("cpu"),
        EPS,
        epochs=2,
        batch_size=16,
    )
    return GeneratorLearner(replace(plain, **changes))


def silent(text: str) -> None:
    pass


def equal(one: Path, other: Path) -> bool:
    a, b = read_tensors(one)[0], read_tensors(other)[0]
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def fooled(method: str, knobs: dict[str, Any], batch: Batch, eps: float) -> float:
    adv = craft(method, ensemble(), batch, Threat("linf", eps), knobs, seed=0)
    verdict.check(adv, batch.x, Threat("linf", eps))
    changed = ensemble().predict(adv) != ensemble().predict(batch.x)
    return float(changed.float().mean())


def test_a_trained_generator_fools_the_ensemble_on_unseen_images_more_than_noise(
    tmp_path: Path,
) -> None:
    path = train(tiny(tmp_path, data=part(160)), fresh=False, say=silent)
    unseen = open_data("fashion-mini", "test").fetch(range(50))
    knobs = {"weights": str(path)}
    for eps in (EPS, 0.3 * EPS, 7.77 / 255):
        noise = fooled("noise", {}, unseen, eps)
        assert fooled("generator", knobs, unseen, eps) > 2 * noise + 0.05
    halves = [
        craft("generator", ensemble(), half, Threat("linf", EPS), knobs, seed=0)
        for half in (
            Batch(unseen.x[:40], unseen.label[:40], unseen.ids[:40]),
            Batch(unseen.x[40:], unseen.label[40:], unseen.ids[40:]),
        )
    ]
    whole = craft("generator", ensemble(), unseen, Threat("linf", EPS), knobs, seed=0)
    torch.testing.assert_close(torch.cat(halves), whole, atol=1e-6, rtol=0)


def test_the_card_names_the_surrogates_and_the_data(tmp_path: Path) -> None:
    path = train(tiny(tmp_path, limit=50), fresh=False, say=silent)
    net, card = load_painter(path)
    assert not net.training
    assert card["surrogates"] == [
        {"ref": "a", "weights": "0" * 64},
        {"ref": "b", "weights": "1" * 64},
    ]
    assert card["data"] == {"name": "fashion-mini", "px": 28, "images": 50}
    assert card["eps"] == EPS
    assert [entry["epoch"] for entry in card["log"]] == [1, 2]
    assert json.loads(path.with_suffix(".json").read_text()) == card
    assert not list(path.parent.glob("*.resume"))


def test_the_same_training_twice_gives_the_same_weights_and_another_seed_others(
    tmp_path: Path,
) -> None:
    one = tiny(tmp_path / "a")  # the first makes the surrogates, whose layers draw their weights
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = train(one, fresh=False, say=silent)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert equal(first, train(tiny(tmp_path / "b"), fresh=False, say=silent))
    assert not equal(first, train(tiny(tmp_path / "c", seed=1), fresh=False, say=silent))


class Stop(Exception):
    pass


@pytest.mark.parametrize("step", [0, 3, 4])
def test_a_training_stopped_at_any_step_ends_bit_identical_to_an_unstopped_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    wanted = train(tiny(tmp_path / "calm"), fresh=False, say=silent)
    inner, seen = GeneratorLearner.loss, 0

    def stop_at(self: GeneratorLearner, *args: Any) -> Lesson:
        nonlocal seen
        seen += 1
        if seen > step:
            raise Stop
        return inner(self, *args)

    monkeypatch.setattr(GeneratorLearner, "loss", stop_at)
    with pytest.raises(Stop):
        train(tiny(tmp_path / "stopped"), fresh=False, say=silent, save_every=0.0)
    monkeypatch.setattr(GeneratorLearner, "loss", inner)
    messages: list[str] = []
    path = train(tiny(tmp_path / "stopped"), fresh=False, say=messages.append)
    assert "continuing tiny" in messages[0]
    assert equal(path, wanted)
    assert load_painter(path)[1]["log"] == load_painter(wanted)[1]["log"]


_SLOW = """
import sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from test_generator import silent, tiny
from fdbench.training.generator import GeneratorLearner
from fdbench.training.loop import train
inner = GeneratorLearner.loss
def slow(self, *args):
    time.sleep(0.2)
    return inner(self, *args)
GeneratorLearner.loss = slow
train(tiny(Path(sys.argv[1])), fresh=False, say=silent, save_every=0.0)
"""


@pytest.mark.usefixtures("one_thread")
def test_kill_9_changes_nothing(tmp_path: Path) -> None:
    wanted = train(tiny(tmp_path / "calm"), fresh=False, say=silent)
    again = tiny(tmp_path / "killed")
    killed(lambda: steps_learnt(again.state, 4) >= 2, "-c", _SLOW, str(tmp_path / "killed"))
    assert 2 <= steps_learnt(again.state, 4) < 8
    assert equal(train(again, fresh=False, say=silent), wanted)


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    path = train(tiny(tmp_path, epochs=1), fresh=False, say=silent)
    before = path.stat().st_mtime_ns
    messages: list[str] = []
    train(tiny(tmp_path, epochs=1), fresh=False, say=messages.append)
    assert "nothing left to do" in messages[0]
    assert path.stat().st_mtime_ns == before


def test_another_setting_under_the_same_name_is_refused_by_name(tmp_path: Path) -> None:
    train(tiny(tmp_path, epochs=1), fresh=False, say=silent)
    with pytest.raises(BadValue, match=r"epochs is 1 there, 2 now.*\n.*--fresh"):
        train(tiny(tmp_path, epochs=2), fresh=False, say=silent)
    other = (Surrogate("one", "a", "0" * 64), Surrogate("three", "c", "2" * 64))
    with pytest.raises(BadValue, match="surrogates is"):
        train(tiny(tmp_path, epochs=1, surrogates=other), fresh=False, say=silent)
    path = train(tiny(tmp_path, epochs=2), fresh=True, say=silent)
    assert len(load_painter(path)[1]["log"]) == 2


def test_training_images_are_legal_and_their_sizes_spread(tmp_path: Path) -> None:
    learner = tiny(tmp_path)
    with torch.no_grad():  # tanh is 1: each pixel moves by its image's eps
        learner.net.get_parameter("leave.bias").fill_(30.0)
    batch = next(learner.loader.batches(0))
    adv = learner.paint(batch, 0)
    verdict.check(adv.detach(), batch.x, Threat("linf", EPS))
    moved = (adv - batch.x).detach().flatten(1).amax(1)
    assert (moved > 0.25 * EPS - 1e-6).all()
    assert moved.max() - moved.min() > 0.3 * EPS


def test_a_loss_that_is_not_finite_stops_before_it_changes_a_weight(tmp_path: Path) -> None:
    learner = tiny(tmp_path)
    batch = next(learner.loader.batches(0))
    with torch.no_grad():
        learner.net.get_parameter("leave.bias").fill_(float("nan"))
    before = learner.net.enter.weight.clone()
    with pytest.raises(FdbenchError, match=r"epoch 1, batch 1.*not finite"):
        learn(learner, [batch], Position(), lambda: None)
    assert torch.equal(before, learner.net.enter.weight)


def test_conviction_is_minus_log_of_one_minus_the_labels_probability() -> None:
    logits = torch.randn((6, 4), generator=torch.Generator().manual_seed(0))
    label = torch.tensor([0, 1, 2, 3, 0, 1])
    p = logits.softmax(1)[range(6), label]
    torch.testing.assert_close(conviction(logits, label), -torch.log(1 - p))


def test_the_painter_takes_any_size() -> None:
    eps = torch.full((2,), EPS)
    for size in ((8, 8), (29, 31), (64, 48)):
        noise = Painter()(torch.rand(2, 3, *size), eps, torch.ones(2, 3, *size))
        assert noise.shape == (2, 3, *size)
        assert noise.abs().max() <= 1


MODULE = """
import torch
from torch import nn

class Sum(nn.Module):
    def forward(self, x):
        return torch.stack([x.mean((1, 2, 3)), 1 - x.mean((1, 2, 3))], 1)

def net():
    return Sum()
"""


def test_the_command_trains_and_prints_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_surrogate.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    words = ["--surrogate", "own_surrogate:net", "--epochs", "1", "--limit", "20", "--name", "mine"]
    refused = CliRunner().invoke(train_attacker, words)
    assert refused.exit_code == 1
    assert "no training data: the surrogates' cards do not name it." in refused.output
    done = CliRunner().invoke(train_attacker, [*words, "--data", "fashion-mini", "--eps", "8/255"])
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == "results/attackers/mine.safetensors"
    assert load_painter(tmp_path / "results/attackers/mine.safetensors")[1]["eps"] == 8 / 255


def test_a_limit_on_class_ordered_data_trains_on_every_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_surrogate.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    x = np.zeros((240, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "train.npz", x=x, y=np.arange(240) // 60)
    used: list[Dataset] = []

    def train(learner: GeneratorLearner, **_: object) -> Path:
        used.append(learner.training.data)
        return learner.weights

    monkeypatch.setattr(start, "train", train)
    surrogate = open_model("own_surrogate:net", Workspace(tmp_path))
    for limit in (None, 8):
        start.train_attacker(
            [surrogate], start.DataSource(f"npz:{tmp_path}"), limit=limit,
            workspace=Workspace(tmp_path), device=torch.device("cpu"), say=silent,
        )  # fmt: skip
    whole, few = used
    assert few.labels[:8].tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    assert torch.equal(whole.labels, whole.labels.sort().values), "nothing is cut off: as it was"


def test_the_identities_of_trainings_on_other_first_images_differ_and_older_ones_continue(
    tmp_path: Path,
) -> None:
    own, random = (
        tiny(tmp_path, limit=50),
        tiny(tmp_path, limit=50, data=sampled(part(70), "random")),
    )
    assert "sample" not in own.identity
    assert random.identity == {**own.identity, "sample": "random:0"}
