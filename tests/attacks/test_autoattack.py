import logging
import random
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Linear, Small, frozen
from torch import Tensor, nn

from fdbench.attacks.autoattack.attack import (
    AutoAttack,
    _attacker,
    _legal,
    _Progress,
    _State,
    run_stages,
    square_alone,
    untouched,
)
from fdbench.attacks.autoattack.cascade import (
    KINDS,
    NORMS,
    Cascade,
    Effort,
    Stage,
    cascade_of,
    reduced,
    stages,
)
from fdbench.attacks.protocol import Reading, Scratch, Subject
from fdbench.data.open import open_data
from fdbench.errors import BadValue, FdbenchError
from fdbench.models.fast import accelerate
from fdbench.specs import MEMBERS, AttackSpec, AutoAttackParameters
from fdbench.threat import Threat
from fdbench.types import Batch
from fdbench.verdict import Referee, check, predict

SHORT = Effort(iters=3, queries=8)
# Sizes at which several attacks of a cascade break images, and some images survive.
EPS = {"linf": 0.002, "l2": 0.03, "l1": 0.2}
PLANS: dict[str, dict[str, Any]] = {
    "standard": {},
    "plus": {"version": "plus"},
    "rand": {"version": "rand"},
    "custom": {
        "version": "custom",
        "attacks": ["square", "fab-t", "fab", "apgd-t", "apgd-dlr", "apgd-ce"],
    },
}


class Wavy(nn.Module):
    """Sines of random projections: images break at some attacks and not at others."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        self.inner, self.outer = nn.Linear(3 * 64, 24), nn.Linear(24, classes)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(0.7 * torch.randn(parameter.shape, generator=rng))

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(torch.sin(self.inner((x - 0.5).flatten(1))))


class Noisy(nn.Module):
    """Adds noise at test time, from the global generators."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Wavy()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x + 1e-3 * torch.randn_like(x) + 1e-4 * random.random())


class Kept:
    """A scratch in memory; raises KeyboardInterrupt right after the `saves`-th save."""

    def __init__(self, saves: int = -1) -> None:
        self.tensors: dict[str, Tensor] | None = None
        self.saves = saves

    def load(self) -> dict[str, Tensor] | None:
        return self.tensors

    def save(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = {name: tensor.clone() for name, tensor in tensors.items()}
        self.saves -= 1
        if self.saves == 0:
            raise KeyboardInterrupt


def ignore(share: float = 1.0, stage: str = "") -> None:
    """A tick that counts nothing."""


def images(net: nn.Module, count: int = 16) -> Batch:
    """Images that `net` gets right, all but image 3."""
    x = torch.rand((count, 3, 8, 8), generator=torch.Generator().manual_seed(1))
    label = predict(net, x)
    label[3] = (label[3] + 1) % net(x).shape[1]
    return Batch(x, label, tuple(range(count)))


def warnings_for(spec: AttackSpec, classes: int) -> list[str]:
    return AutoAttack().warnings(spec, "0" * 64, classes)


def spec_of(norm: str = "linf", eps: float | None = None, **options: Any) -> AttackSpec:
    eps = EPS[norm] if eps is None else eps
    parameters = AutoAttackParameters.of(options, "options")
    return AttackSpec("autoattack", norm, eps, parameters=parameters)


def plan_of(**options: Any) -> Cascade:
    parameters = AutoAttackParameters.of(options, "options")
    assert isinstance(parameters, AutoAttackParameters)
    return cascade_of(parameters)


def subject(
    net: nn.Module, batch: Batch, spec: AttackSpec, scratch: Scratch | None = None, **more: Any
) -> Subject:
    threat = Threat(spec.norm, spec.eps)
    settings: dict[str, Any] = {
        "judge": Referee(net, batch, threat),
        "tick": ignore,
        "classes": net(batch.x).shape[1],
        "scratch": scratch or Kept(),
        "most": len(batch.ids),
    }
    return Subject(net, batch, None, threat, 0, **{**settings, **more})


def short(spec: AttackSpec, classes: int = 10) -> tuple[Stage, ...]:
    assert isinstance(spec.parameters, AutoAttackParameters)
    plan, _ = reduced(cascade_of(spec.parameters), classes)
    return stages(plan, spec.norm, classes, SHORT)


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Tensor]:
    """Runs a spec with the package itself, without its check that stops coverage and debuggers."""
    from pyautoattack import autoattack

    def shortened(make: Callable[..., Any], iters: int) -> Callable[..., Any]:
        return lambda *args, **knobs: make(*args, **{**knobs, "n_iter": iters})

    def run(
        net: nn.Module, batch: Batch, spec: AttackSpec, size: int, effort: Effort = SHORT
    ) -> Tensor:
        with monkeypatch.context() as patch, untouched(net, 5):
            patch.setattr(autoattack.checks, "check_dynamic", lambda *args, **knobs: None)
            for name in ("APGDAttack", "APGDAttack_targeted", "FABAttack_PT"):
                made = shortened(getattr(autoattack, name), SHORT.iters)
                patch.setattr(autoattack, name, made)
            options = {
                "norm": NORMS[spec.norm],
                "eps": spec.eps,
                "seed": 0,
                **spec.parameters.plain,
            }
            whole = autoattack.AutoAttack(net, **options)
            whole.square.n_queries = SHORT.queries
            adv, _ = whole.run_standard_evaluation(batch.x, batch.label, batch_size=size)
        return adv

    return run


@pytest.mark.parametrize("norm", list(NORMS))
@pytest.mark.parametrize("name", list(PLANS))
def test_every_version_matches_the_packages_own_run_bit_for_bit(
    package: Callable[..., Tensor], norm: str, name: str
) -> None:
    net = frozen(Wavy())
    batch, spec = images(net), spec_of(norm, **PLANS[name])
    for size in (16, 5):
        whole = subject(net, batch, spec, most=size, reference=True)
        reading = run_stages(whole, short(spec))
        assert torch.equal(reading.adv, package(net, batch, spec, size))
    broken = set(reading.notes["broken_by"])
    assert {"clean", None} < broken, "some images must break, and some survive"


@pytest.mark.parametrize("norm", list(NORMS))
@pytest.mark.parametrize("version", ["standard", "plus", "rand"])
def test_the_settings_of_each_attack_are_the_packages(norm: str, version: str) -> None:
    from pyautoattack import AutoAttack

    net = frozen(Wavy())
    theirs = AutoAttack(net, eps=0.1, norm=NORMS[norm], seed=0, version=version)
    owner = {"apgd-t": "apgd_targeted", "fab": "fab", "fab-t": "fab", "square": "square"}
    set_later = {"loss", "targeted", "seed"}  # the package sets them right before the attack runs
    other = {"model", "predict", "logger", "device", *set_later}
    for stage in stages(plan_of(version=version), norm, 10):
        mine = _attacker(stage, net, Threat(norm, 0.1), 0, torch.device("cpu"))
        wanted = vars(getattr(theirs, owner.get(stage.attack, "apgd")))
        differ = {key for key, value in vars(mine).items() if wanted[key] != value}
        allowed = {"n_restarts", "n_target_classes"} if stage.attack.startswith("fab") else set()
        assert differ <= other | allowed, (stage, differ)
    restarts = {s.attack: s.restarts for s in stages(plan_of(version="plus"), norm, 10)}
    assert (restarts["fab"], restarts["fab-t"]) == (5, 1)


def test_broken_images_are_wrong_and_legal_and_the_others_are_unchanged() -> None:
    net = frozen(Wavy())
    for norm in NORMS:
        spec = spec_of(norm)
        batch = images(net)
        reading = run_stages(subject(net, batch, spec), short(spec))
        check(reading.adv, batch.x, Threat(norm, EPS[norm]))
        broken = torch.tensor([name is not None for name in reading.notes["broken_by"]])
        assert torch.equal(predict(net, reading.adv) != batch.label, broken)
        moved = (reading.adv != batch.x).flatten(1).any(1)
        assert reading.notes["broken_by"][3] == "clean"
        assert not moved[3]
        assert torch.equal(moved | (torch.arange(16) == 3), broken)


@pytest.mark.parametrize(("most", "parts"), [(16, 4), (10, 8)])
@pytest.mark.parametrize("saves", [1, 2, 3, 4])
def test_resuming_after_any_part_gives_the_same_images(saves: int, most: int, parts: int) -> None:
    net, spec = frozen(Wavy()), spec_of("l2", 0.02)
    batch = images(net)
    whole = run_stages(subject(net, batch, spec, most=most), short(spec))
    scratch, judged = Kept(saves), 0
    with pytest.raises(KeyboardInterrupt):
        run_stages(subject(net, batch, spec, scratch, most=most), short(spec))

    def judge(adv: Tensor, index: Tensor) -> Tensor:
        nonlocal judged
        judged += 1
        return Referee(net, batch, Threat("l2", 0.02))(adv, index)

    again = run_stages(subject(net, batch, spec, scratch, judge=judge, most=most), short(spec))
    assert torch.equal(again.adv, whole.adv)
    assert again.notes == whole.notes
    assert judged == parts - saves, "finished parts are not run again"


def everything_global() -> list[Any]:
    return [
        torch.get_rng_state().tolist(),
        str(np.random.get_state()),
        sys.gettrace(),
        logging.root.handlers[:],
        logging.getLogger("auto-attack").handlers[:],
        logging.getLogger("auto-attack").level,
        torch.is_grad_enabled(),
    ]


def test_global_state_and_the_network_are_unchanged() -> None:
    from pyautoattack import checks

    net = Wavy().eval()  # its parameters want gradients, and one has some
    batch, spec = images(net), spec_of(**PLANS["plus"])
    net.outer.bias.grad = torch.ones(10)
    x, funcs, trace = batch.x.clone(), dict(checks.funcs), sys.gettrace()

    def tracer(frame: Any, event: str, arg: Any) -> None:
        return None

    sys.settrace(tracer)
    try:
        before = everything_global()
        run_stages(subject(net, batch, spec), short(spec))
        square_alone(net, batch.x, batch.label, Threat("linf", 0.1), 0, 10)
        after = everything_global()
    finally:
        sys.settrace(trace)
    assert after == before
    assert checks.funcs == funcs
    assert torch.equal(batch.x, x)
    assert all(p.requires_grad for p in net.parameters())
    grads = {name: p.grad for name, p in net.named_parameters() if p.grad is not None}
    assert list(grads) == ["outer.bias"]
    assert torch.equal(grads["outer.bias"], torch.ones(10))


def draw_and_fail(net: nn.Module) -> None:
    with untouched(net, 3):
        torch.rand(1), np.random.rand(), random.random()
        raise RuntimeError("no")


def test_an_error_inside_an_attack_restores_every_generator() -> None:
    net = Wavy().eval()
    before, python = everything_global(), random.getstate()
    with pytest.raises(RuntimeError, match="no"):
        draw_and_fail(net)
    assert random.getstate() == python
    assert everything_global() == before
    assert net.outer.weight.requires_grad


def test_an_image_leaves_the_batch_only_if_the_judge_agrees() -> None:
    net, spec = frozen(Wavy()), spec_of(eps=0.02)
    batch = images(net)
    seen: list[int] = []

    def stubborn(adv: Tensor, index: Tensor) -> Tensor:
        seen.append(len(index))
        return batch.label[index]

    reading = run_stages(subject(net, batch, spec, judge=stubborn), short(spec))
    assert reading.notes["broken_by"] == [None] * 16
    assert torch.equal(reading.adv, batch.x)
    assert seen.count(16) >= 5  # at the start and after each attack
    assert len(seen) > 5  # and within the attacks


@pytest.mark.parametrize(("norm", "name"), [("linf", "rand"), ("l2", "custom"), ("l1", "standard")])
def test_progress_ends_at_the_planned_steps_if_nothing_breaks(norm: str, name: str) -> None:
    net, ticks = frozen(Wavy()), 0.0

    def tick(share: float = 1.0, stage: str = "") -> None:
        nonlocal ticks
        ticks += share

    plain = images(net, 4)
    batch = Batch(plain.x, predict(net, plain.x), plain.ids)
    spec = spec_of(norm, 1e-7, **PLANS[name])
    plan = short(spec)
    run_stages(subject(net, batch, spec, tick=tick), plan)
    assert ticks == pytest.approx(sum(stage.cost for stage in plan))
    cost = AutoAttack().cost(spec)
    assert cost > 10 * ticks
    ticks = 0.0
    wide = spec_of(norm, 2 * EPS[norm], **PLANS[name])
    run_stages(subject(net, images(net), wide, tick=tick), plan)
    assert ticks == pytest.approx(sum(stage.cost for stage in plan))  # broken images or not


def test_progress_is_redistributed_when_images_leave() -> None:
    """Nine of ten are gone before the first pass: each pass over the tenth counts tenfold."""
    plan, ticks = short(spec_of()), list[float]()

    def tick(share: float = 1.0, stage: str = "") -> None:
        ticks.append(share)

    x, left = torch.rand(10, 3, 2, 2), torch.tensor([7])
    broken_by = torch.zeros(10, dtype=torch.int64).index_fill(0, left, -1)
    net = _Progress(plan, tick).watch(
        nn.Identity(), _State(x, broken_by, broken_by, broken_by, 0, left)
    )
    net(torch.zeros(1, 10))
    assert ticks == [pytest.approx(1)]
    net(torch.zeros(1, 10, requires_grad=True))
    assert ticks[1] == pytest.approx(2)


def test_the_standard_version_costs_what_its_authors_state() -> None:
    """APGD 100 and 9 x 100 gradients, FAB 9 x 100 and as many passes more, Square 5000 passes."""
    about = 2 * (100 + 9 * 100) + 9 * 300 + 5000
    assert about < AutoAttack().cost(spec_of()) < 1.02 * about


@pytest.mark.parametrize(
    ("classes", "left"),
    [
        (2, ("apgd-ce", "fab-t", "square")),
        (3, ("apgd-ce", "fab-t", "square")),
        (4, ("apgd-ce", "apgd-t", "fab-t", "square")),
    ],
)
def test_few_classes_leave_out_attacks_whose_loss_needs_more(
    classes: int, left: tuple[str, ...]
) -> None:
    net, spec = frozen(Wavy(classes)), spec_of()
    plan, warning = reduced(plan_of(), classes)
    assert plan.attacks == left
    assert warnings_for(spec, classes) == ([warning] if warning else [])
    assert (warning is None) == ("apgd-t" in left)
    assert warning is None or f"apgd-t left out with {classes} classes" in warning
    settings = short(spec, classes)
    assert {s.targets for s in settings if s.attack.endswith("-t")} == {classes - 1}
    reading = run_stages(subject(net, images(net), spec), settings)
    assert set(reading.notes["broken_by"]) <= {"clean", None, *left}
    assert warnings_for(spec_of(version="plus"), 10) == []


def test_a_plan_without_a_usable_attack_is_refused() -> None:
    with pytest.raises(BadValue, match=r"no attack for 3 classes: apgd-t left out"):
        reduced(Cascade("custom", ("apgd-t",)), 3)
    with pytest.raises(BadValue, match="apgd-dlr left out with 2 classes"):
        warnings_for(spec_of(version="custom", attacks=["apgd-dlr"]), 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"versoin": "plus"}, "no key in options 'versoin'. Did you mean 'version'"),
        ({"version": "standart"}, "Did you mean 'standard'"),
        ({"version": "custom"}, "needs a list of attacks"),
        ({"version": "custom", "attacks": []}, "needs a list of attacks"),
        ({"version": "custom", "attacks": "fab"}, "attacks can't be 'fab'"),
        ({"version": "custom", "attacks": ["apgd"]}, "no attack of AutoAttack 'apgd'"),
        ({"version": "custom", "attacks": ["fab", "fab"]}, "names an attack twice"),
        ({"version": "plus", "attacks": ["fab"]}, "has its own attacks"),
        ({"attacks": ["fab"]}, "use version custom"),
        ({"version": "standard", "eot": 20}, "version rand, not standard"),
        ({"version": "rand", "eot": 0}, "whole number, 1 or more, got 0"),
        ({"version": "rand", "eot": True}, "eot can't be True"),
        ({"version": "rand", "eot": "20"}, "eot can't be '20'"),
    ],
)
def test_invalid_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(FdbenchError, match=message):
        spec_of(**options)


def test_options_become_plans() -> None:
    assert plan_of() == plan_of(version="standard")
    assert plan_of(version="rand").eot == 20
    assert plan_of(version="rand", eot=3).eot == 3
    assert plan_of(version="custom", attacks=list(KINDS)).attacks == tuple(KINDS)
    assert tuple(KINDS) == MEMBERS


def test_a_targeted_spec_and_an_unknown_norm_are_refused() -> None:
    with pytest.raises(BadValue, match="can't be targeted: give --untargeted"):
        replace(spec_of(), targeted=True)
    with pytest.raises(BadValue, match="no norm of autoattack 'l0'"):
        replace(spec_of(), norm="l0")


def test_acceleration_and_channels_last_change_no_verdict(
    batch: Batch,
) -> None:
    net, spec = frozen(Small(seed=3)), spec_of(eps=0.1, **PLANS["plus"])
    fast, why_not = accelerate(net, batch.x)
    assert why_not is None
    batch = Batch(batch.x, predict(net, batch.x), batch.ids)
    turned = Batch(batch.x.to(memory_format=torch.channels_last), batch.label, batch.ids)
    judge = Referee(net, batch, Threat("linf", 0.1))
    plain, other = (
        run_stages(subject(fast, b, spec, judge=judge), short(spec, 5)) for b in (batch, turned)
    )
    assert torch.equal(plain.adv, other.adv)
    assert plain.notes == other.notes
    reference = run_stages(subject(net, batch, spec), short(spec, 5))
    wrong = predict(net, reference.adv) != batch.label
    assert wrong.any()
    assert torch.equal(predict(net, plain.adv) != batch.label, wrong)


def test_a_stochastic_network_is_attacked_identically_in_every_run() -> None:
    net, spec = frozen(Noisy()), spec_of(**PLANS["rand"])
    batch = images(frozen(Wavy()))

    def run() -> Reading:
        torch.rand(3)
        return run_stages(subject(net, batch, spec), short(spec))

    first, second = run(), run()
    assert torch.equal(first.adv, second.adv)
    assert first.notes == second.notes
    assert Counter(first.notes["broken_by"])["apgd-ce"] > 0


def test_square_alone_is_legal_and_black_box_and_depends_on_its_seed_only() -> None:
    net = frozen(Linear(10, 8, seed=0))

    class Sealed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            assert not x.requires_grad
            with torch.no_grad():
                return net(x)

    batch, threat = images(net), Threat("linf", 0.02)
    run = [square_alone(Sealed(), batch.x, batch.label, threat, seed, 60) for seed in (0, 0, 1)]
    check(run[0], batch.x, threat)
    assert torch.equal(run[0], run[1])
    assert not torch.equal(run[0], run[2])
    right = [int((predict(net, adv) == batch.label).sum()) for adv in (batch.x, run[0])]
    assert right[0] == 15
    assert 0 < right[1] < 15


@pytest.mark.parametrize("norm", list(NORMS))
def test_only_images_that_rounding_made_illegal_are_projected(norm: str) -> None:
    x = torch.full((3, 3, 8, 8), 0.5)
    threat = Threat(norm, 0.3)
    adv = x.clone()
    adv[0, 0, 0, 0] += 0.3 + 5e-7  # within verify's tolerance
    adv[1, 0, 0, 0] += 0.3 + 3e-6
    adv[2, 0, 0, 0] += 0.2
    legal = _legal(adv, x, threat)
    check(legal, x, threat)
    assert torch.equal(legal[[0, 2]], adv[[0, 2]])
    assert torch.allclose(legal, adv, atol=1e-5)
    assert not torch.equal(legal[1], adv[1])
    below = _legal(torch.full_like(x, -1e-8), torch.zeros_like(x), threat)
    assert float(below.min()) == 0


@pytest.mark.slow
def test_autoattack_matches_its_package_on_a_real_network(real_data: Path) -> None:
    """cnn_a_adv, 500 CIFAR-10 images, linf 2/255: clean 66.4 %, standard 48.4 % (batch 250)."""
    from test_real_data import Normalised

    net = frozen(Normalised(real_data / "weights" / "cnn_a_adv.model"))
    data = open_data(f"npz:{real_data / 'data' / 'cifar10' / 'test.npz'}", "test")
    spec = spec_of(eps=2 / 255)
    broken: Counter[str | None] = Counter()
    for batch in data.batches(list(range(500)), 250):
        (reading,) = AutoAttack().run(subject(net, batch, spec), spec)
        check(reading.adv, batch.x, Threat("linf", 2 / 255))
        broken.update(reading.notes["broken_by"])
    assert 500 - broken["clean"] == 332
    assert broken[None] == 242, broken
