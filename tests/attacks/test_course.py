"""A trajectory's losses say whether the climb was over, and whether the judge disagreed."""

import pytest
import torch
from conftest import Linear, frozen
from torch import Tensor, nn

from fdbench.attacks import ATTACKS, Course, cross_entropy, trajectory
from fdbench.attacks.protocol import NoScratch, Subject
from fdbench.specs import APGDParameters, AttackSpec, FastParameters
from fdbench.threat import Threat
from fdbench.types import Batch, Images, Labels


def course(losses: list[float]) -> Course:
    """One image's course, with these losses before each step."""
    made = Course.of(torch.zeros(1, dtype=torch.int64), len(losses))
    for step, loss in enumerate(losses, 1):
        made.learn(step, torch.tensor([0]), torch.tensor([loss]))
    return made


@pytest.mark.parametrize(
    ("losses", "incomplete"),
    [
        ([float(i) for i in range(20)], True),  # 2 of 19 in the last tenth
        ([0.0, 10.0] + 18 * [10.0], False),
        ([0.0] + 17 * [10.0] + [10.4, 10.5], False),  # 0.5 of 10.5: less than a twentieth
        ([0.0] + 17 * [10.0] + [10.4, 10.6], True),
        ([5.0] + 19 * [1.0], False),  # it only fell
        ([1.0], False),  # one step has no tail
    ],
)
def test_a_climb_is_incomplete_if_its_last_tenth_adds_a_twentieth(
    losses: list[float], incomplete: bool
) -> None:
    assert course(losses).incomplete.tolist() == [incomplete]


def test_images_that_left_are_not_followed() -> None:
    made = Course.of(torch.zeros(2, dtype=torch.int64), 3)
    made.learn(1, torch.tensor([0, 1]), torch.tensor([1.0, 2.0]))
    made.learn(2, torch.tensor([1]), torch.tensor([3.0]))
    assert made.best.tolist() == [1, 3]
    assert made.first.tolist() == [1, 2]


class Other(nn.Module):
    """The attacked copy: it takes every image for another class than the network does."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x).roll(1, 1)
        return logits


@pytest.mark.parametrize("differs", [False, True])
def test_images_that_only_the_attacked_copy_has_wrong_are_disputed(differs: bool) -> None:
    net = frozen(Linear(5, 8, seed=0))
    x = torch.rand((12, 3, 8, 8), generator=torch.Generator().manual_seed(1))
    label = net(x).argmax(1)

    def judge(adv: Images, index: Labels) -> Labels:
        return net(adv).argmax(1)

    path = trajectory(
        Other(net) if differs else net, x, label, Threat("linf", 1e-4), budgets=[3], alpha=1e-5,
        start=x, loss=cross_entropy, judge=judge,
    )  # fmt: skip
    assert path.course.disputed.tolist() == [differs] * 12
    assert path.first_wrong.tolist() == [0] * 12


@pytest.mark.parametrize("differs", [False, True])
@pytest.mark.parametrize(
    ("name", "parameters"),
    [("apgd", APGDParameters(iters=4)), ("fast", FastParameters(classes=2, queries=0))],
)
def test_auto_pgd_and_the_fast_verdict_see_it_too(
    name: str, parameters: APGDParameters | FastParameters, differs: bool
) -> None:
    net = frozen(Linear(5, 8, seed=0))
    x = torch.rand((12, 3, 8, 8), generator=torch.Generator().manual_seed(1))
    batch, threat = Batch(x, net(x).argmax(1), tuple(range(12))), Threat("linf", 1e-4)
    attacked = Other(net) if differs else net
    subject = Subject(
        attacked, batch, None, threat, 0, lambda adv, index: net(adv).argmax(1),
        lambda share=1.0, stage="": None, 5, NoScratch(), 250,
    )  # fmt: skip
    (reading,) = ATTACKS[name].run(subject, AttackSpec(name, eps=1e-4, parameters=parameters))
    assert reading.course is not None
    assert reading.course.disputed.tolist() == [differs] * 12
