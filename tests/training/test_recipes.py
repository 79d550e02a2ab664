"""Each method of training against its authors' formulas, written out here."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from test_adversarial import MODEL, adversarial, no_tick, silent, tiny, weights
from test_start import TINY

from fdbench import randomness
from fdbench.errors import BadValue
from fdbench.models.checkpoint import load_card
from fdbench.specs.recipes import training_recipe, training_recipes
from fdbench.specs.training import TrainSpec
from fdbench.training.loop import learn, train
from fdbench.training.network import NetworkLearner
from fdbench.training.noisy import NoisyLearner
from fdbench.training.settings import describe, resolve
from fdbench.training.state import Entry, Position
from fdbench.training.trades import TradesLearner
from fdbench.types import Batch

CHECKPOINTS = Path(__file__).parents[2] / "results" / "cifar10" / "checkpoints"
EPS = 8 / 255
NOISY: dict[str, Any] = {"method": "n-fgsm", "attack_iters": 1, "alpha": EPS, "noise": 2.0}


def warm(learner: NetworkLearner, steps: int = 2) -> Batch:
    """Takes some steps, so that no weight is zero; returns another batch."""
    batches = learner.loader.batches(0)
    for _ in range(steps):
        learn(learner, [next(batches)], Position(), no_tick)
    return next(batches)


def mostly_equal(one: torch.Tensor, other: torch.Tensor) -> None:
    """Asserts equality but for a few pixels, whose gradients' signs depend on rounding."""
    assert ((one - other).abs() > 1e-5).float().mean() < 0.005


def test_n_fgsm_is_the_authors_step(tmp_path: Path) -> None:
    """de Jorge et al. 2022, train.py: both points clamped to the box, the ball nowhere."""
    learner = tiny(tmp_path, **NOISY)
    assert isinstance(learner, NoisyLearner)
    batch = warm(learner)
    x = batch.x
    unit = torch.from_numpy(randomness.uniform(0, "train-1", batch.ids, tuple(x.shape[1:])))
    adv = learner.images(batch, Position(epoch=1), no_tick)
    eta = (4 * EPS * unit - 2 * EPS).clamp(min=-x, max=1 - x).requires_grad_()
    F.cross_entropy(copy.deepcopy(learner.net).eval()(x + eta), batch.label).backward()  # type: ignore[no-untyped-call]
    assert eta.grad is not None
    delta = (eta.detach() + EPS * eta.grad.sign()).clamp(min=-x, max=1 - x)
    mostly_equal(adv, x + delta)
    moved = (adv - x).abs()
    assert moved.max() <= 3 * EPS + 1e-6
    assert (moved > EPS + 1e-6).float().mean() > 0.1, "nothing is clipped to the ball"


def test_fgsm_from_a_random_start_is_one_long_projected_step(tmp_path: Path) -> None:
    """Wong et al. 2020, Alg. 3."""
    alpha = 10 / 255
    learner = adversarial(tmp_path, attack_iters=1, alpha=alpha, clean_start=0.0)
    batch = warm(learner)
    x, size = batch.x, tuple(batch.x.shape[1:])
    adv = learner.images(batch, Position(), no_tick)
    unit = randomness.uniform(0, "train-0", batch.ids, (1 + size[0] * size[1] * size[2],))
    start = (2 * torch.from_numpy(unit)[:, :-1].reshape(x.shape) - 1) * EPS
    delta = start.clone().requires_grad_()
    F.cross_entropy(copy.deepcopy(learner.net).eval()(x + delta), batch.label).backward()  # type: ignore[no-untyped-call]
    assert delta.grad is not None
    stepped = (start + alpha * delta.grad.sign()).clamp(-EPS, EPS)
    mostly_equal(adv, (x + stepped).clamp(0, 1))


def test_trades_is_the_authors_loss_on_the_authors_images(tmp_path: Path) -> None:
    """Zhang et al. 2019, github.com/yaodongyu/TRADES: trades.py."""
    learner = tiny(tmp_path, method="trades", beta=6.0, attack_iters=2, alpha=2 / 255)
    assert isinstance(learner, TradesLearner)
    batch = warm(learner)
    divergence = torch.nn.KLDivLoss(reduction="sum")
    net = copy.deepcopy(learner.net)
    learner.folded.refresh()
    start = learner._normal(batch, "train-0")
    assert abs(float(start.mean())) < 0.02
    assert float(start.std()) == pytest.approx(1, abs=0.02)
    adv = batch.x + 0.001 * start
    net.eval()
    for _ in range(2):
        adv.requires_grad_()
        kl = divergence(F.log_softmax(net(adv), dim=1), F.softmax(net(batch.x), dim=1))
        (grad,) = torch.autograd.grad(kl, adv)
        adv = adv.detach() + 2 / 255 * grad.sign()
        adv = torch.min(torch.max(adv, batch.x - EPS), batch.x + EPS).clamp(0, 1)
    mine = learner.images(batch, Position(), no_tick)
    mostly_equal(mine, adv)
    net.train()
    natural = F.cross_entropy(net(batch.x), batch.label, label_smoothing=0.1)
    robust = divergence(F.log_softmax(net(mine), dim=1), F.softmax(net(batch.x), dim=1)) / 16
    lesson = learner.loss(batch, Position(), no_tick)
    torch.testing.assert_close(lesson.loss, natural + 6 * robust, rtol=1e-4, atol=1e-5)


def test_the_average_is_that_of_the_weights_after_each_step_and_is_kept(tmp_path: Path) -> None:
    learner = tiny(tmp_path, average=0.5, epochs=1)
    assert learner.average is not None
    wanted = {k: v.double() for k, v in learner.net.state_dict().items()}
    at = Position()
    for step, batch in enumerate(learner.loader.batches(0), 1):
        learn(learner, [batch], at, no_tick)
        decay = min(0.5, (1 + step) / (10 + step))
        for name, tensor in learner.net.state_dict().items():
            wanted[name] = decay * wanted[name] + (1 - decay) * tensor.double()
    for name, tensor in learner.average.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor.double(), wanted[name], rtol=1e-5, atol=1e-6)
    path = train(tiny(tmp_path, average=0.5, epochs=1), fresh=False, say=silent)
    kept = weights(path)
    for name, tensor in learner.average.state_dict().items():
        torch.testing.assert_close(kept[name], tensor)
    assert not torch.equal(kept["fc.weight"], learner.net.state_dict()["fc.weight"])


@pytest.mark.parametrize("method", ["pgd", "n-fgsm", "trades", "free"])
def test_a_training_begins_on_clean_images(tmp_path: Path, method: str) -> None:
    """Two epochs of four steps: the first three, and the replays of the batch they begin."""
    settings = {"clean_first": 0.375, "attack_iters": 1 if method != "free" else 2, "alpha": EPS}
    learner = tiny(tmp_path, method=method, **settings)
    clean, at = [], Position()
    for batch in learner.loader.batches(0):
        seen = learner.images(batch, at, no_tick)
        clean.append(torch.equal(seen, batch.x))
        learn(learner, [batch], at, no_tick)
    assert clean == ([True] * 3 + [False] if method != "free" else [True] * 6 + [False] * 2)
    alone = tiny(tmp_path, clean=True)
    batch = next(alone.loader.batches(0))
    wanted, found = (
        one.loss(batch, Position(), no_tick).loss
        for one in (alone, tiny(tmp_path, method=method, **settings))
    )
    torch.testing.assert_close(found, wanted)


def scored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, scores: list[float], **changes: Any
) -> tuple[Path, list[str]]:
    """Trains with these held-out accuracies; returns the weights' path and what was said."""
    left = iter(scores)

    def probe(self: NetworkLearner) -> Entry:
        return {"held_out_clean": 0.5, "held_out_pgd": next(left)}

    monkeypatch.setattr("fdbench.training.adversarial.AdversarialLearner.probe", probe)
    said: list[str] = []
    learner = tiny(tmp_path, batch_size=70, **changes)
    return train(learner, fresh=False, say=said.append), said


def test_a_training_that_collapses_ends_and_keeps_the_last_good_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = [0.3, 0.4, 0.15, 0.5, 0.6]
    path, said = scored(monkeypatch, tmp_path, scores, epochs=5, collapse=0.5)
    card = load_card(path)[1]
    assert card.finished
    assert card.epochs == 2
    assert len(card.log) == 3
    assert "ends after epoch 3 of 5: held-out accuracy fell from 40.0 to 15.0 %" in said[-1]


def test_patience_ends_a_training_that_no_longer_improves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = [0.3, 0.4, 0.35, 0.39, 0.5]
    path, said = scored(monkeypatch, tmp_path, scores, epochs=5, patience=2)
    assert load_card(path)[1].epochs == 2
    assert "ends after epoch 4 of 5: 2 epochs without a better" in said[-1]


@pytest.mark.parametrize("rule", [{"collapse": 0.5}, {"patience": 1}])
def test_epochs_on_clean_images_end_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: dict[str, Any]
) -> None:
    scores = [0.07, 0.0, 0.3, 0.4]
    path, said = scored(monkeypatch, tmp_path, scores, epochs=4, clean_first=0.5, **rule)
    assert load_card(path)[1].epochs == 4
    assert not any("ends after" in line for line in said)


def test_the_one_cycle_rate_is_two_straight_lines() -> None:
    spec = TrainSpec(schedule="one-cycle", warmup=0.4, lr=0.4, batch_size=128)
    for progress, share in ((0.0, 0), (0.1, 0.25), (0.4, 1), (0.7, 0.5), (1.0, 0)):
        assert spec.lr_at(progress) == pytest.approx(0.2 * share)


def test_the_paper_recipe_has_the_papers_numbers() -> None:
    """Batch 4096: 1.6, warm-up over 5 epochs, a tenth from epochs 35, 70 and 95 of 110."""
    spec = resolve(MODEL, "imagenet", {"recipe": "paper"})
    assert (spec.epochs, spec.batch_size, spec.attack_iters) == (110, 4096, 30)
    assert spec.peak_lr == pytest.approx(1.6)
    rates = {0: 0.1, 2.5: 0.85, 5: 1.6, 34.9: 1.6, 35.1: 0.16, 70.1: 0.016, 95.1: 0.0016}
    for epoch, rate in rates.items():
        assert spec.lr_at(epoch / 110) == pytest.approx(rate)
    known = TrainSpec()
    for name in ("eps", "alpha", "targeted", "clean_start", "weight_decay", "drops", "warmup"):
        assert getattr(spec, name) == pytest.approx(getattr(known, name))


@pytest.mark.parametrize("name", training_recipes())
def test_every_recipe_names_its_sources_and_is_recorded(name: str) -> None:
    recipe = training_recipe(name)
    assert recipe.summary
    assert len(recipe.sources) >= 2
    spec = resolve(TINY, "fashion-mini", {"recipe": name, "epochs": 3})
    assert (spec.recipe, spec.epochs) == (name, 3)
    assert spec.identity["recipe"] == name
    assert f"recipe {name}" in describe("x", TINY, spec, 100, "cpu")


def test_settings_that_another_leaves_without_effect_are_refused() -> None:
    idle = {"noise": 1.0, "method": "pgd"}
    for settings in ({"beta": 1.0}, idle, {"recipe": "fast", "drops": (0.5,)}):
        with pytest.raises(BadValue, match="has nothing to act on"):
            resolve(TINY, "fashion-mini", settings)  # type: ignore[arg-type]
    with pytest.raises(BadValue, match="trades has no targets"):
        resolve(TINY, "fashion-mini", {"recipe": "trades", "targeted": True})


def test_trainings_of_before_have_the_identity_that_their_cards_hold() -> None:
    cards = sorted(CHECKPOINTS.glob("*.json"))
    assert len(cards) >= 5
    for path in cards:
        card = json.loads(path.read_text())
        spec = TrainSpec.of(card["train"], path.name)
        assert json.loads(json.dumps(spec.identity)) == card["data"]["identity"]["train"]


def test_a_recipes_open_precision_is_what_is_fastest_here_unless_one_is_asked_for() -> None:
    for fastest in ("bf16", "fp32"):
        spec = resolve(TINY, "fashion-mini", {"recipe": "fast"}, fastest)
        assert (spec.precision, spec.attack_precision) == (fastest, fastest)
    spec = resolve(TINY, "fashion-mini", {"recipe": "fast", "precision": "fp32"}, "bf16")
    assert (spec.precision, spec.attack_precision) == ("fp32", "bf16")
