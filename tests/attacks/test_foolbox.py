"""fdbench/attacks/foolbox: every attack of the installed Foolbox, in our loop."""

import json
import random
from dataclasses import dataclass, replace
from inspect import isabstract
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Linear, frozen
from torch import Tensor, nn

from fdbench.attacks.foolbox import (
    LEFT_OUT,
    Foolbox,
    FoolboxAttack,
    check_foolbox,
    foolbox_attacks,
    foolbox_norm,
    parse_foolbox_settings,
)
from fdbench.attacks.foolbox.catalogue import named, package
from fdbench.attacks.foolbox.run import _own_numbers
from fdbench.attacks.protocol import Reading, Subject
from fdbench.errors import BadValue
from fdbench.specs import AttackSpec, FoolboxParameters
from fdbench.threat import Threat
from fdbench.types import Batch
from fdbench.verdict import Referee
from fdbench.verdict import check as verify

PGD = "LinfProjectedGradientDescentAttack"
BALLS = {"linf": 0.1, "l2": 0.7, "l1": 5.0, "l0": 20.0}
FEW = {  # knobs that make an attack short
    "steps": 4,
    "directions": 3,
    "repeats": 3,
    "population": 4,
    "binary_search_steps": 2,
    "initial_gradient_eval_steps": 5,
}
COMPILED = "BrendelBethgeAttack"  # by Numba, for 10 to 30 seconds in each process
CASES = [
    pytest.param(
        *(attack, norm, goal),
        id=f"{attack.name}-{norm}-{goal}",
        marks=[pytest.mark.slow] if attack.name.endswith(COMPILED) else [],
    )
    for attack in foolbox_attacks()
    for norm in attack.norms
    for goal in attack.goals
]


@dataclass
class Ticks:
    """Sums the ticks that a progress bar would get."""

    total: float = 0.0

    def __call__(self, share: float = 1.0, stage: str = "") -> None:
        self.total += share


class NoScratch:
    def load(self) -> None:
        return None

    def save(self, tensors: Any) -> None:
        raise AssertionError("nothing to keep")


@pytest.fixture
def net() -> nn.Module:
    return frozen(Linear(3, 4, seed=0))


@pytest.fixture
def images(net: nn.Module) -> Batch:
    """Twelve images that the network gets right, four of each class, far from the box."""
    rng = torch.Generator().manual_seed(1)
    x = 0.3 + 0.4 * torch.rand((500, 3, 4, 4), generator=rng)
    label = net(x).argmax(1)
    chosen = torch.cat([(label == one).nonzero()[:4, 0] for one in range(3)])
    return Batch(x[chosen], label[chosen], tuple(range(12)))


def spec_of(name: str, norm: str, goal: str = "untargeted", **settings: Any) -> AttackSpec:
    parameters = FoolboxParameters(name=name, settings=settings)
    return AttackSpec("foolbox", norm, BALLS[norm], goal == "targeted", parameters=parameters)


def run(
    net: nn.Module, batch: Batch, spec: AttackSpec, seed: int = 0, ticks: Ticks | None = None
) -> Reading:
    """Runs the attack; returns its one reading, checked by verify."""
    threat = Threat(spec.norm, spec.eps)
    subject = Subject(
        net=net,
        batch=batch,
        target=(batch.label + 1) % 3 if spec.targeted else None,
        threat=threat,
        seed=seed,
        judge=Referee(net, batch, threat),
        tick=ticks or Ticks(),
        classes=3,
        scratch=NoScratch(),
        most=len(batch.ids),
    )
    (reading,) = Foolbox().run(subject, spec)
    verify(reading.adv, batch.x, threat)
    return reading


@pytest.mark.parametrize(("attack", "norm", "goal"), CASES)
def test_every_attack_runs_within_its_ball_and_its_ticks(
    net: nn.Module, images: Batch, attack: FoolboxAttack, norm: str, goal: str
) -> None:
    few = {key: value for key, value in FEW.items() if key in attack.knobs}
    spec, ticks, x = spec_of(attack.name, norm, goal, **few), Ticks(), images.x.clone()
    reading = run(net, images, spec, ticks=ticks)
    assert reading.name == attack.name
    assert ticks.total == Foolbox().cost(spec)
    assert not any(reading.notes["gave_up"])
    assert torch.equal(images.x, x)
    assert not torch.equal(reading.adv, x), "the attack changed the images"


def test_the_catalogue_is_all_of_foolbox() -> None:
    offered = {attack.name for attack in foolbox_attacks()}
    assert {norm for attack in foolbox_attacks() for norm in attack.norms} == set(BALLS)
    public = {
        cls.__name__
        for cls in vars(package().attacks).values()
        if isinstance(cls, type) and hasattr(cls, "run") and not isabstract(cls)
    }
    compiled = {name for name in public if name.endswith(COMPILED)}
    assert public - offered - compiled == set(LEFT_OUT)
    assert len(offered) >= 48


def test_without_numba_its_attacks_are_not_offered_and_the_error_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    family = package().attacks.brendel_bethge
    monkeypatch.setattr(family, "NUMBA_IMPORT_ERROR", ImportError("no numba"))
    foolbox_attacks.cache_clear()
    try:
        assert not any(attack.name.endswith(COMPILED) for attack in foolbox_attacks())
        with pytest.raises(BadValue, match=r"needs Numba: pip install 'fdbench\[numba\]'"):
            named(f"L2{COMPILED}")
    finally:
        foolbox_attacks.cache_clear()


def test_pgd_breaks_exactly_the_images_that_the_closed_form_predicts() -> None:
    """Two classes, linear: within eps the margin can fall by the sum of |w| times the room left."""
    net = frozen(Linear(2, 4, seed=3))
    x = torch.rand((200, 3, 4, 4), generator=torch.Generator().manual_seed(2))
    logits, eps = net(x), 0.03
    batch = Batch(x, logits.argmax(1), tuple(range(200)))
    w = net.get_parameter("fc.weight")
    away = (w[1] - w[0]) * (1 - 2 * batch.label[:, None])  # (B, 48): what raises the other class
    room = torch.where(away > 0, 1 - x.flatten(1), x.flatten(1)).clamp(max=eps)
    margin = (logits[:, 0] - logits[:, 1]).abs() - (away.abs() * room).sum(1)
    # 40 steps of eps / 30 don't reach the far corner of the ball from every random start.
    adv = run(net, batch, replace(spec_of(PGD, "linf", steps=80), eps=eps)).adv
    broken = net(adv).argmax(1) != batch.label
    assert 40 < broken.sum() < 160
    assert margin.abs().min() > 1e-4
    assert torch.equal(broken, margin < 0)


def test_deepfool_needs_the_distance_to_the_plane(net: nn.Module, images: Batch) -> None:
    """Far from the box, the nearest wrong image lies across the nearest of two planes."""
    logits, w = net(images.x), net.get_parameter("fc.weight")
    rows = torch.arange(12)
    gap = logits[rows, images.label][:, None] - logits  # (B, C)
    far = gap / (w[images.label][:, None] - w[None]).norm(dim=2).clamp(min=1e-9)
    nearest = torch.where(gap > 0, far, torch.inf).amin(1)
    eps = float(nearest.median()) + 1e-3
    adv = run(net, images, replace(spec_of("L2DeepFoolAttack", "l2"), eps=eps)).adv
    reached = nearest < eps
    assert torch.equal(net(adv).argmax(1) != images.label, reached)
    moved = (adv - images.x).flatten(1).norm(dim=1)
    assert torch.allclose(moved[reached], nearest[reached], rtol=0.03, atol=3e-4)  # it overshoots


def test_a_legal_image_is_kept_to_the_last_bit(net: nn.Module, images: Batch) -> None:
    adv = run(net, images, replace(spec_of("L2FMNAttack", "l2"), eps=100.0)).adv
    fb = package()
    model = fb.PyTorchModel(net, bounds=(0, 1), device="cpu")
    raw, _, _ = fb.attacks.L2FMNAttack()(model, images.x, images.label, epsilons=100.0)
    assert torch.equal(adv, raw)


def test_targets_are_reached(net: nn.Module, images: Batch) -> None:
    spec = replace(spec_of(PGD, "linf", goal="targeted"), eps=0.3)
    assert torch.equal(net(run(net, images, spec).adv).argmax(1), (images.label + 1) % 3)


@pytest.mark.parametrize(
    "spec",
    [
        spec_of(PGD, "linf"),
        spec_of("PointwiseAttack", "l0"),
        spec_of("GenAttack", "linf", "targeted", steps=3),
        spec_of("L2RepeatedAdditiveGaussianNoiseAttack", "l2"),
    ],
    ids=lambda spec: spec.parameters.name,
)
def test_images_depend_on_seed_and_batch_alone(
    net: nn.Module, images: Batch, spec: AttackSpec
) -> None:
    first = run(net, images, spec).adv
    torch.rand(7), np.random.rand(7), random.random()
    assert torch.equal(run(net, images, spec).adv, first)
    assert not torch.equal(run(net, images, spec, seed=1).adv, first)
    renamed = replace(images, ids=tuple(range(100, 112)))
    assert not torch.equal(run(net, renamed, spec).adv, first)


def test_the_global_generators_are_unchanged(net: nn.Module, images: Batch) -> None:
    torch.manual_seed(5), np.random.seed(5)
    expected = (torch.rand(3), np.random.rand(3))
    torch.manual_seed(5), np.random.seed(5)
    run(net, images, spec_of("GenAttack", "linf", "targeted", steps=3))
    assert torch.equal(torch.rand(3), expected[0])
    assert np.array_equal(np.random.rand(3), expected[1])


def test_pythons_generator_is_unchanged() -> None:
    """Tested alone: in a whole run, the shape checks draw from it."""
    before = random.getstate()
    with _own_numbers(3, torch.device("cpu")):
        first = random.random()
    assert random.getstate() == before
    with _own_numbers(3, torch.device("cpu")):
        assert random.random() == first


def test_a_network_in_training_gets_no_parameter_gradients(images: Batch) -> None:
    net = Linear(3, 4, seed=0)
    run(net, images, spec_of("L2CarliniWagnerAttack", "l2", steps=3))
    assert all(parameter.grad is None for parameter in net.parameters())
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert net.training


def test_a_knob_is_used(net: nn.Module, images: Batch) -> None:
    one, twenty = (
        run(net, images, spec_of(PGD, "linf", steps=steps, random_start=False)).adv
        for steps in (1, 20)
    )
    stride = BALLS["linf"] / 30
    assert (one - images.x).abs().max() == pytest.approx(stride, rel=1e-4)
    assert (twenty - images.x).abs().max() == pytest.approx(20 * stride, rel=1e-4)


def test_an_image_without_a_start_is_given_up_and_left_alone(net: nn.Module, images: Batch) -> None:
    ones = images.label == 1
    batch = Batch(images.x[ones], images.label[ones], images.ids[:4])
    spec = spec_of("BoundaryAttack", "l2", "targeted", steps=5)
    reading = run(net, batch, spec)  # neither noise nor an image of the batch hits a target
    assert reading.notes["gave_up"] == [True] * 4
    assert torch.equal(reading.adv, batch.x)


class Broken(Linear):
    """Its gradient is NaN where an image's first value is above a half; its logits are fine."""

    def forward(self, x: Tensor) -> Tensor:
        logits, first = super().forward(x), x[:, 0, 0, 0]
        bad = first[first > 0.5]
        logits[first > 0.5] += (bad - bad.detach()).sqrt()[:, None]  # 0, with a slope of inf
        return logits


def test_an_image_that_comes_back_as_nan_is_given_up(images: Batch) -> None:
    net = frozen(Broken(3, 4, seed=0))
    gave_up = run(net, images, spec_of("L2FastGradientAttack", "l2")).notes["gave_up"]
    assert any(gave_up)
    assert gave_up == (images.x[:, 0, 0, 0] > 0.5).tolist()


def test_the_network_stays_on_the_batchs_device(
    net: nn.Module, images: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Foolbox left to itself would move the network to the first GPU that it sees."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert run(net, images, spec_of("LinfFastGradientAttack", "linf")).adv.device.type == "cpu"


def test_settings_are_json_scalars_else_text() -> None:
    pairs = ["steps=20", "gamma=1e-2", "random_start=false", "loss=logits", "x=null", "y=[1]"]
    expected = [20, 0.01, False, "logits", None, "[1]"]
    assert list(parse_foolbox_settings(pairs).values()) == expected
    for wrong in (["steps"], ["=3"], ["steps=1", "steps=2"]):
        with pytest.raises(BadValue, match=r"key=value|twice"):
            parse_foolbox_settings(wrong)


def test_settings_are_kept_in_one_form() -> None:
    kept = check_foolbox("L2CarliniWagnerAttack", {"stepsize": 1, "abort_early": True}, "l2")
    assert json.dumps(kept) == '{"abort_early": true, "stepsize": 1.0}'


@pytest.mark.parametrize(
    ("name", "settings", "norm", "message"),
    [
        ("LinfPGD", {}, "linf", f"LinfPGD is short for {PGD}"),
        ("LinfDeepFool", {}, "linf", "Did you mean 'LinfDeepFoolAttack'"),
        ("SpatialAttack", {}, "linf", "it rotates and shifts"),
        (PGD, {"stesp": 3}, "linf", "Did you mean 'steps'"),
        (PGD, {"eps": 0.1}, "linf", "give --eps"),
        (PGD, {"norm": "l2"}, "linf", "give --norm"),
        ("HopSkipJumpAttack", {"constraint": "l2"}, "l2", "give --norm"),
        (PGD, {"steps": "many"}, "linf", "Allowed: a whole number from 1 on"),
        (PGD, {"steps": True}, "linf", "Allowed: a whole number from 1 on"),
        (PGD, {"steps": 0}, "linf", "Allowed: a whole number from 1 on"),
        ("L2DeepFoolAttack", {"candidates": 1}, "l2", "null from 2 on"),
        (PGD, {"rel_stepsize": float("nan")}, "linf", "Allowed: a number from 0 on"),
        (PGD, {"random_start": 1}, "linf", "Allowed: true or false"),
        ("L2DeepFoolAttack", {"loss": "hinge"}, "l2", "Allowed: logits or crossentropy"),
        ("L0FMNAttack", {"binary_search_steps": 5}, "l0", "Allowed: gamma"),
        ("InversionAttack", {"steps": 5}, "l2", "has no knobs"),
        ("BoundaryAttack", {"tensorboard": "logs"}, "l2", "Allowed: source_step"),
        ("VirtualAdversarialAttack", {}, "l2", "give --set steps=VALUE"),
        (PGD, {}, "l2", "does not work in l2: give --norm linf"),
        ("HopSkipJumpAttack", {}, "l1", "give --norm linf or l2"),
    ],
)
def test_invalid_attacks_and_settings_are_refused(
    name: str, settings: dict[str, Any], norm: str, message: str
) -> None:
    with pytest.raises(BadValue) as refusal:
        check_foolbox(name, settings, norm)
    assert message in refusal.value.message


def test_a_goal_that_an_attack_lacks_is_refused() -> None:
    with pytest.raises(BadValue, match="can't be targeted: give --untargeted"):
        check_foolbox("LinfFastGradientAttack", {}, "linf", targeted=True)
    with pytest.raises(BadValue, match="can't be untargeted: give --targeted"):
        check_foolbox("GenAttack", {}, "linf", targeted=False)


def test_the_norm_defaults_to_the_attacks_own() -> None:
    assert foolbox_norm(PGD) == "linf"
    assert foolbox_norm("InversionAttack", "l1") == "l1"
    with pytest.raises(BadValue, match="give one as --norm"):
        foolbox_norm("InversionAttack")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nmae": PGD}, "Did you mean 'name'"),
        ({}, "needs the name of an attack"),
        ({"name": "P"}, "no Foolbox"),
    ],
)
def test_a_batterys_options_are_checked(options: dict[str, Any], message: str) -> None:
    def parse() -> None:
        parameters = FoolboxParameters.of(options, "options")
        Foolbox().cost(AttackSpec("foolbox", parameters=parameters))

    with pytest.raises(BadValue, match=message):
        parse()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1", "l0"])
def test_an_attack_that_the_package_does_not_project_carries_a_warning(norm: str) -> None:
    """Foolbox 3.3.4 divides the l2 length of the image by itself in place of eps by the length."""
    name = {"linf": "LInf", "l2": "L2", "l1": "L1", "l0": "L0"}[norm] + "FMNAttack"
    spec = AttackSpec("foolbox", norm, BALLS[norm], parameters=FoolboxParameters(name=name))
    warnings = Foolbox().warnings(spec, "weights", 10)
    far = torch.full((1, 3, 4, 4), 9.0)
    tensor = package().attacks.base.ep.astensor
    attack = getattr(package().attacks, name)()
    moved = attack.project(tensor(far), tensor(0 * far), tensor(torch.full((1,), BALLS[norm])))
    outside = bool(
        (Threat(norm, BALLS[norm]).distance(moved.raw, 0 * far) > 1.01 * BALLS[norm]).any()
    )
    assert outside == bool(warnings)
    assert all("DDNAttack" in text for text in warnings)


def test_other_attacks_carry_none() -> None:
    spec = AttackSpec("foolbox", "l2", 0.5, parameters=FoolboxParameters(name="DDNAttack"))
    assert Foolbox().warnings(spec, "weights", 10) == []
