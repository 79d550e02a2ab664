"""The fast verdict: its stages, its guard, its count of passes; each image stands alone."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Linear, frozen
from test_ascent import Counting
from test_way_back import Detached, Largest
from torch import Tensor, nn

import fdbench
from fdbench.attacks import APGD, Attack, Fast, NoScratch, SigmaZero, Subject
from fdbench.attacks.square import square_search
from fdbench.attacks.sweep import _block_free, begin
from fdbench.data import open_data
from fdbench.evaluation.evaluation import Evaluation
from fdbench.evaluation.loop import evaluate
from fdbench.evaluation.observation import Watched
from fdbench.models import DenoiseBlock, Model, weights_hash
from fdbench.models.denoise import DESIGNS
from fdbench.reporting import implausible
from fdbench.specs import (
    BLOCK_FREE,
    APGDParameters,
    AttackSpec,
    FastParameters,
    SigmaZeroParameters,
)
from fdbench.store import Workspace, read_run
from fdbench.threat import Threat
from fdbench.types import Batch, Images
from fdbench.verdict import Referee, check

DATA = open_data("fashion-mini", "test")
CPU = torch.device("cpu")
LINF, L2, TINY = Threat("linf", 8 / 255), Threat("l2", 0.5), Threat("linf", 1 / 255)


class Bent(nn.Module):
    """Two layers whose boundary is curved; with an operation between them."""

    def __init__(self, operation: nn.Module) -> None:
        super().__init__()
        self.first, self.operation = nn.Conv2d(3, 6, 5, 3), operation
        self.last = nn.Linear(6 * 8 * 8, 10)
        rng = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for tensor in self.state_dict().values():
                tensor.copy_(torch.randn(tensor.shape, generator=rng) / 8)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(torch.relu(self.operation(self.first(x))).flatten(1))
        return logits


def labelled(net: nn.Module, images: int = 24) -> Batch:
    """Images of the test set, with the classes that the network gives them."""
    batch = DATA.fetch(range(images))
    return Batch(batch.x, net(batch.x).argmax(1), batch.ids)


def ignored(share: float = 1.0, stage: str = "") -> None:
    pass


def subject(net: nn.Module, batch: Batch, threat: Threat) -> Subject:
    judge = Referee(net, batch, threat)
    return Subject(net, batch, None, threat, 0, judge, ignored, 10, NoScratch(), 250)


def reading(net: nn.Module, batch: Batch, threat: Threat = LINF, **parameters: Any) -> Any:
    spec = AttackSpec("fast", threat.norm, threat.eps, parameters=FastParameters(**parameters))
    (one,) = Fast().run(subject(net, batch, threat), spec)
    return one


@pytest.mark.parametrize("threat", [LINF, L2], ids=lambda one: one.norm)
def test_broken_images_are_wrong_legal_and_have_a_stage(threat: Threat) -> None:
    net = frozen(Bent(nn.Identity()))
    batch = labelled(net)
    one = reading(net, batch, replace(threat, eps=threat.eps / 4))
    check(one.adv, batch.x, threat)
    broken = net(one.adv).argmax(1) != batch.label
    assert 0 < broken.sum() < len(batch.ids)
    stages = one.notes["broken_by"]
    assert [stage is not None for stage in stages] == broken.tolist()
    assert {stage for stage in stages if stage} <= set(FastParameters().stages)


def test_images_that_are_wrong_before_are_not_attacked() -> None:
    net = frozen(Bent(nn.Identity()))
    batch = labelled(net)
    wrong = Batch(batch.x, (batch.label + 1) % 10, batch.ids)
    one = reading(net, wrong)
    assert one.notes["broken_by"] == ["clean"] * len(batch.ids)
    assert torch.equal(one.adv, batch.x)
    assert one.notes["passes"] == [2] * len(batch.ids)


def test_every_pass_is_counted_for_its_image() -> None:
    net = Counting(frozen(Bent(nn.Identity())))
    batch = labelled(net.net)
    one = reading(net, batch, Threat("linf", 2 / 255), guard=False)
    assert None in one.notes["broken_by"]
    assert sum(one.notes["passes"]) == net.passes


def test_the_smallest_margin_of_a_linear_network_decides() -> None:
    """In linf an image breaks where some class's gap is below eps times its weight's l1 norm."""
    net = Linear(10, 28, seed=0)
    frozen(net)
    batch = labelled(net, 60)
    inside = Batch(0.2 + 0.6 * batch.x, batch.label, batch.ids)  # away from the box
    inside = Batch(inside.x, net(inside.x).argmax(1), inside.ids)
    logits = net(inside.x)
    gap = logits.gather(1, inside.label[:, None]) - logits
    weight = (net.fc.weight[inside.label][:, None] - net.fc.weight[None]).abs().sum(2)
    distance = (gap / weight.clamp(min=1e-9)).scatter(1, inside.label[:, None], torch.inf).amin(1)
    eps = float(distance.median())
    sure = (distance - eps).abs() > 0.01 * eps
    one = reading(net, inside, Threat("linf", eps))
    broken = torch.tensor([stage is not None for stage in one.notes["broken_by"]])
    assert torch.equal(broken[sure], (distance < eps)[sure])


class Rounding(nn.Module):
    """Rounds images inside its forward method, where no module can be seen."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Images) -> Tensor:
        logits: Tensor = self.net((255 * x).round() / 255)
        return logits


class Classes(nn.Module):
    """Answers with 1 for its class and 0 for the others."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Images) -> Tensor:
        logits = self.net(x)
        return (
            torch.zeros_like(logits).scatter(1, logits.argmax(1, keepdim=True), 1.0) + 0 * x.sum()
        )


GUARDED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "an operation that cuts the gradient": (lambda: Bent(Detached()), "identity"),
    "rounding that no module shows": (lambda: Rounding(Bent(nn.Identity())), "square"),
    "predicted classes in place of scores": (lambda: Classes(Bent(nn.Identity())), "rays"),
}


@pytest.mark.parametrize("kind", GUARDED)
def test_the_guard_breaks_what_masked_gradients_leave(kind: str) -> None:
    make, stage = GUARDED[kind]
    net = frozen(make())
    batch = labelled(net)
    watched = Watched(net)
    watched.begin(batch.label)
    without = reading(watched, batch, guard=False)
    assert without.notes["broken_by"].count(None) >= 0.8 * len(batch.ids)
    stages = reading(watched, batch).notes["broken_by"]
    assert stages.count(stage) >= len(stages) / 5
    plain = reading(frozen(Bent(nn.Identity())), batch).notes["broken_by"]
    if stage == "identity":
        assert stages.count(None) <= plain.count(None) + 1, "as weak as the network without it"


def test_the_guard_searches_without_gradients_in_l2() -> None:
    net = frozen(Rounding(Bent(nn.Identity())))
    batch = labelled(net)
    stages = reading(net, batch, L2).notes["broken_by"]
    assert stages.count("square") >= len(stages) / 5


def test_adversaries_of_the_block_free_copy_count_only_where_the_network_itself_is_wrong() -> None:
    """Attacked as it is, the network is also the one that judges: it keeps its blocks."""
    block = DenoiseBlock(6, Largest(), DESIGNS["full"])
    net = Bent(block)
    block.bn.reset_running_stats()
    frozen(net)
    batch = labelled(net)
    spec = FastParameters(queries=1)
    pool = begin(subject(net, batch, Threat("linf", 4 / 255)), spec)
    _block_free(pool)
    broken = net(pool.adv).argmax(1) != batch.label
    assert broken.tolist() == [stage == BLOCK_FREE for stage in pool.broken_by]
    assert 0 < broken.sum() < len(batch.ids)


def evaluated(
    results: Path, attack: Attack, spec: AttackSpec, net: nn.Module, **changes: Any
) -> Path:
    model = Model("bent", "mine:bent", frozen(net), weights_hash(net.state_dict()), None)
    job = Evaluation(model, DATA, attack, spec, Workspace(results), CPU, limit=30)
    return evaluate(replace(job, **changes), lambda text: None)


def rows_of(run: Path) -> list[Any]:
    lines = [line for path in run.glob("rows-*") for line in path.read_text().splitlines()]
    rows = [json.loads(line) for line in lines]
    for row in rows:
        del row["check"], row["distance"]
    return sorted(rows, key=lambda row: row["image"])


@pytest.fixture
def ranks(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    def be(rank: int, world: int) -> None:
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", str(world))

    return be


ATTACKS: dict[str, tuple[Attack, AttackSpec]] = {
    "fast": (Fast(), AttackSpec("fast", eps=2 / 255, parameters=FastParameters(queries=40))),
    "apgd": (APGD(), AttackSpec("apgd", eps=2 / 255, parameters=APGDParameters(iters=8))),
    "apgd towards classes": (
        APGD(),
        AttackSpec(
            "apgd", "l2", 0.2, parameters=APGDParameters(iters=6, classes=3, loss="dlr", restarts=2)
        ),
    ),
    "apgd in l1": (APGD(), AttackSpec("apgd", "l1", 2.0, parameters=APGDParameters(iters=12))),
    "sigma-zero": (
        SigmaZero(),
        AttackSpec("sigma-zero", "l0", 4.0, parameters=SigmaZeroParameters(iters=10)),
    ),
    "fast in l1": (Fast(), AttackSpec("fast", "l1", 1.0, parameters=FastParameters(classes=2))),
}


def test_batch_size_changes_no_row_of_a_network_with_masking_operations(tmp_path: Path) -> None:
    attack, spec = ATTACKS["fast"]
    wanted = rows_of(evaluated(tmp_path / "whole", attack, spec, Bent(Largest())))
    again = evaluated(tmp_path / "sevens", attack, spec, Bent(Largest()), batch_size=7)
    assert rows_of(again) == wanted


@pytest.mark.parametrize("name", ATTACKS)
def test_batch_size_processes_and_a_stop_change_no_row(
    tmp_path: Path, name: str, ranks: Callable[[int, int], None]
) -> None:
    attack, spec = ATTACKS[name]
    wanted = rows_of(evaluated(tmp_path / "whole", attack, spec, Bent(nn.Identity())))
    assert (
        rows_of(evaluated(tmp_path / "sevens", attack, spec, Bent(nn.Identity()), batch_size=7))
        == wanted
    )
    stopped = evaluated(tmp_path / "stopped", attack, spec, Bent(nn.Identity()), limit=11)
    assert len(rows_of(stopped)) == 11
    assert rows_of(evaluated(tmp_path / "stopped", attack, spec, Bent(nn.Identity()))) == wanted
    for world in (2, 3):
        for rank in range(world):
            ranks(rank, world)
            run = evaluated(tmp_path / f"{world}", attack, spec, Bent(nn.Identity()))
        assert rows_of(run) == wanted


def test_the_report_names_a_network_that_masks_its_gradients(tmp_path: Path) -> None:
    spec = ATTACKS["fast"][1]
    net = Bent(Detached())
    labels = frozen(net)(DATA.fetch(range(30)).x).argmax(1)
    data = replace(DATA, labels=torch.cat([labels, DATA.labels[30:]]))
    run = evaluated(tmp_path, Fast(), spec, net, data=data)
    (text,) = [text for text in implausible(read_run(run)) if "identity" in text]
    assert "these operations mask gradients" in text


def test_square_stays_in_the_ball_counts_queries_and_draws_per_image() -> None:
    net = frozen(Bent(nn.Identity()))
    batch = labelled(net)

    def searched(part: list[int]) -> Any:
        x, label = batch.x[part], batch.label[part]
        counted = Counting(net)
        result = square_search(
            counted, x, label, tuple(part), TINY, queries=50, seed=0,
            judge=lambda adv, index: counted(adv).argmax(1), tick=ignored,
        )  # fmt: skip
        check(result.adv, x, TINY)
        assert counted.passes == int(result.passes.sum())
        return result

    together = searched(list(range(24)))
    assert 0 < together.broken.sum() < 24
    for i in (0, 5, 23):
        alone = searched([i])
        assert bool(alone.broken[0]) == bool(together.broken[i])
        assert int(alone.passes[0]) == int(together.passes[i])


@pytest.mark.parametrize("classes", [2, 3, 40])
def test_any_number_of_classes_is_attacked(classes: int) -> None:
    net = Linear(classes, 28, seed=0)
    frozen(net)
    batch = labelled(net, 12)
    attacked = Subject(
        net, batch, None, LINF, 0, Referee(net, batch, LINF), ignored, classes, NoScratch(), 250
    )
    (one,) = Fast().run(attacked, AttackSpec("fast", parameters=FastParameters(queries=20)))
    broken = net(one.adv).argmax(1) != batch.label
    assert [stage is not None for stage in one.notes["broken_by"]] == broken.tolist()
    assert broken.any()


def test_the_function_returns_images_in_the_ball() -> None:
    net = frozen(Bent(nn.Identity()))
    batch = labelled(net)
    for name in ("fast", "apgd"):
        adv = fdbench.attack(name, net, batch.x, batch.label, eps=2 / 255)
        check(adv, batch.x, Threat("linf", 2 / 255))
        assert (net(adv).argmax(1) != batch.label).any()
