"""RayS: the boundary along the best ray of a linear network, each image on its own."""

import pytest
import torch
from conftest import Linear, frozen
from torch import Tensor, nn

from fdbench.attacks.ascent import Climb
from fdbench.attacks.rays import rays_search
from fdbench.threat import Threat
from fdbench.types import Images, Labels


def linear() -> tuple[nn.Module, Images, Labels, Tensor]:
    """A network of two classes, images that the box does not hold back, and their distances."""
    net = Linear(2, 4, seed=0)
    frozen(net)
    x = 0.35 + 0.3 * torch.rand((12, 3, 4, 4), generator=torch.Generator().manual_seed(0))
    logits = net(x)
    weight = (net.fc.weight[0] - net.fc.weight[1]).abs().sum()
    return net, x, logits.argmax(1), (logits[:, 0] - logits[:, 1]).abs() / weight


def searched(
    net: nn.Module, x: Images, label: Labels, eps: float, queries: int = 2000, norm: str = "linf"
) -> Climb:
    return rays_search(
        net, x, label, Threat(norm, eps), queries=queries,
        judge=lambda adv, index: net(adv).argmax(1), tick=lambda share=1.0, stage="": None,
    )  # fmt: skip


@pytest.mark.parametrize(("norm", "corner"), [("linf", 1.0), ("l2", 48**0.5), ("l1", 48.0)])
def test_it_finds_the_corner_that_a_linear_network_fears_most(norm: str, corner: float) -> None:
    net, x, label, distance = linear()
    distance = distance * corner  # of the nearest boundary along a ray
    eps = float(distance.median())
    result = searched(net, x, label, eps, norm=norm)
    assert not result.broken[distance > eps].any(), "nothing is there"
    assert result.broken[distance < 0.9 * eps].all()
    assert (net(result.adv[result.broken]).argmax(1) != label[result.broken]).all()
    assert Threat(norm, eps).distance(result.adv, x).max() <= eps * (1 + 1e-5)


def test_no_image_depends_on_the_others_and_queries_are_counted() -> None:
    net, x, label, distance = linear()
    eps = float(distance.median())
    together = searched(net, x, label, eps, queries=300)
    for i in range(len(x)):
        alone = searched(net, x[i : i + 1], label[i : i + 1], eps, queries=300)
        assert bool(alone.broken[0]) == bool(together.broken[i])
        assert int(alone.passes[0]) == int(together.passes[i])
        torch.testing.assert_close(alone.adv[0], together.adv[i])
    left = ~together.broken
    assert left.any()
    assert (together.passes[left] == 300).all()
    assert (together.passes[~left] == together.step[~left] + 2).all()
