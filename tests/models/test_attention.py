import pytest
import torch
from torch import Tensor

from fdbench.models import attention
from fdbench.models.attention import MAP_LIMIT, ROWS, attend

Triple = tuple[Tensor, Tensor, Tensor]


def triple(positions: int, channels: int, dtype: torch.dtype = torch.float64) -> Triple:
    rng = torch.Generator().manual_seed(positions)

    def draw(width: int) -> Tensor:
        return torch.randn((2, positions, width), generator=rng).to(dtype).requires_grad_()

    return draw(channels // 2), draw(channels // 2), draw(channels)


def plain(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    return torch.einsum("bnd,bmd->bnm", query, key).mul(scale).softmax(-1) @ value


# Positions that use the map, and that end in a full and in a partial block of rows.
SIZES = [9, MAP_LIMIT, MAP_LIMIT + 1, 2 * ROWS, 2 * ROWS + 7]


@pytest.mark.parametrize("narrow", [0, 10**9], ids=["rows", "tiles"])
@pytest.mark.parametrize("positions", SIZES)
def test_every_implementation_matches_plain_attention_and_its_gradient(
    monkeypatch: pytest.MonkeyPatch, positions: int, narrow: int
) -> None:
    monkeypatch.setattr(attention, "NARROW", narrow)
    inputs = triple(positions, 6)
    weight = torch.randn(inputs[2].shape, generator=torch.Generator().manual_seed(0)).double()
    wanted, got = plain(*inputs, scale=0.6), attend(*inputs, scale=0.6)
    torch.testing.assert_close(got, wanted)
    wanted_grads = torch.autograd.grad((wanted * weight).sum(), inputs)
    got_grads = torch.autograd.grad((got * weight).sum(), inputs)
    for mine, theirs in zip(got_grads, wanted_grads, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_the_gradient_of_rows_is_that_of_finite_differences(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attention, "NARROW", 0)
    monkeypatch.setattr(attention, "MAP_LIMIT", 1)
    monkeypatch.setattr(attention, "ROWS", 3)
    inputs = triple(8, 4)
    assert torch.autograd.gradcheck(lambda q, k, v: attend(q, k, v, 0.7), inputs)


def test_rows_in_bfloat16_are_as_close_as_the_map_in_bfloat16() -> None:
    positions = 2 * ROWS + 7
    exact = triple(positions, 64)
    low = triple(positions, 64, torch.bfloat16)
    wanted = torch.autograd.grad(plain(*exact, scale=0.2).square().sum(), exact)
    rows = torch.autograd.grad(attend(*low, scale=0.2).square().sum(), low)
    whole = torch.autograd.grad(plain(*low, scale=0.2).square().sum(), low)
    for one, other, truth in zip(rows, whole, wanted, strict=True):
        error = (one.double() - truth).norm() / truth.norm()
        assert error < 1.5 * (other.double() - truth).norm() / truth.norm()
        assert error < 0.05
