import sys
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fdbench.models import attention
from fdbench.models.attention import MAP_LIMIT, ROWS, attend
from fdbench.models.attention_cpu import attend_on_cpu

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


def cast(inputs: Triple, dtype: torch.dtype) -> Triple:
    """Leaves of their own with the same values in `dtype`."""
    query, key, value = (each.detach().to(dtype).requires_grad_() for each in inputs)
    return query, key, value


def detached(inputs: Triple) -> Triple:
    query, key, value = (each.detach() for each in inputs)
    return query, key, value


def error(one: Tensor, truth: Tensor) -> float:
    return float((one.detach().double() - truth.detach()).norm() / truth.detach().norm())


# Queries and channels that are and are not multiples of four; one position.
@pytest.mark.parametrize("channels", [2, 6, 16, 34])
@pytest.mark.parametrize("positions", [1, 9, 64, MAP_LIMIT + 1])
def test_the_compiled_attention_is_exact_to_float32(positions: int, channels: int) -> None:
    exact = triple(positions, channels)
    low = triple(positions, channels, torch.float32)
    weight = torch.randn(exact[2].shape, generator=torch.Generator().manual_seed(0))
    wanted, got = plain(*exact, scale=0.6), attend_on_cpu(*low, scale=0.6)
    assert error(got, wanted) < 1e-6
    wanted_grads = torch.autograd.grad((wanted * weight).sum(), exact)
    got_grads = torch.autograd.grad((got * weight).sum(), low)
    for mine, theirs in zip(got_grads, wanted_grads, strict=True):
        torch.testing.assert_close(mine.double(), theirs, rtol=1e-5, atol=1e-5)


def test_the_compiled_attention_in_bfloat16_only_rounds_what_goes_in_and_out() -> None:
    low = triple(MAP_LIMIT + 1, 16, torch.bfloat16)
    same = cast(low, torch.float64)
    got = attend_on_cpu(*low, scale=0.6)
    assert got.dtype is torch.bfloat16
    assert error(got, plain(*same, scale=0.6)) < 2**-8
    mine = torch.autograd.grad(got.sum(), low)
    theirs = torch.autograd.grad(plain(*same, scale=0.6).sum(), same)
    assert all(each.dtype is torch.bfloat16 for each in mine)
    assert error(mine[2], theirs[2]) < 2**-8


@given(size=st.sampled_from([1e-30, 1.0, 1e2, 1e5]), shift=st.sampled_from([-1e3, 0.0, 1e3]))
def test_large_and_small_scores_neither_overflow_nor_vanish(size: float, shift: float) -> None:
    """Rows whose scores are all far below zero are means, and sharp ones maxima."""
    query, key, value = detached(triple(12, 4))
    low = detached(cast((query * size, key + shift, value), torch.float32))
    wanted = plain(*cast(low, torch.float64), scale=0.5).detach()
    got = attend_on_cpu(*low, scale=0.5)
    scores = (low[0].double() @ low[1].double().mT * 0.5).abs().max()
    assert torch.isfinite(got).all()
    assert (got - wanted).abs().max() < 1e-6 + 1e-6 * scores * value.abs().max()


@pytest.mark.parametrize("which", range(3), ids=["query", "key", "value"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_visible(which: int, bad: float) -> None:
    inputs = detached(triple(MAP_LIMIT + 1, 8, torch.float32))
    inputs[which][0, 5] = bad
    got, wanted = attend_on_cpu(*inputs, scale=0.6), plain(*inputs, scale=0.6)
    assert torch.equal(torch.isfinite(got), torch.isfinite(wanted))
    assert not torch.isfinite(got[0]).all()
    assert torch.isfinite(got[1]).all()  # the other image


def test_an_image_has_the_same_bytes_in_every_batch_and_on_every_number_of_threads(
    one_thread: None,
) -> None:
    query, key, value = detached(triple(MAP_LIMIT + 1, 8, torch.float32))
    together = attend_on_cpu(query, key, value, 0.6)
    alone = [attend_on_cpu(query[i : i + 1], key[i : i + 1], value[i : i + 1], 0.6) for i in (0, 1)]
    assert torch.equal(torch.cat(alone), together)
    several = [each.repeat(3, 1, 1) for each in (query, key, value)]
    torch.set_num_threads(4)  # of six images, two threads take one and two take two
    assert torch.equal(
        attend_on_cpu(several[0], several[1], several[2], 0.6), together.repeat(3, 1, 1)
    )


def chosen(
    monkeypatch: pytest.MonkeyPatch, positions: int, channels: int, dtype: torch.dtype
) -> str:
    """Which implementation `attend` chooses."""
    names: list[str] = []

    def noted(name: str, function: Any) -> Any:
        def called(*args: Any) -> Tensor:
            names.append(name)
            return function(*args)

        return called

    def compiled() -> Any:
        return noted("compiled", attend_on_cpu)

    monkeypatch.setattr(attention, "_compiled", compiled)
    monkeypatch.setattr(attention, "_tiled", noted("tiles", attention._tiled))
    attend(*detached(triple(positions, channels, dtype)), scale=0.6)
    return names[0] if names else "PyTorch's"


@pytest.mark.parametrize(
    ("positions", "channels", "dtype", "name"),
    [
        (128, 16, torch.float32, "PyTorch's"),
        (129, 16, torch.float32, "compiled"),
        (MAP_LIMIT, 16, torch.bfloat16, "PyTorch's"),
        (MAP_LIMIT + 1, 64, torch.float32, "compiled"),
        (MAP_LIMIT + 1, 66, torch.float32, "PyTorch's"),
        (MAP_LIMIT + 1, 16, torch.bfloat16, "compiled"),
        (MAP_LIMIT + 1, 34, torch.bfloat16, "tiles"),
        (MAP_LIMIT + 1, 16, torch.float64, "tiles"),
    ],
)
def test_the_fastest_is_chosen(
    monkeypatch: pytest.MonkeyPatch, positions: int, channels: int, dtype: torch.dtype, name: str
) -> None:
    assert chosen(monkeypatch, positions, channels, dtype) == name


def test_without_numba_pytorch_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    attention._compiled.cache_clear()
    monkeypatch.setitem(sys.modules, "fdbench.models.attention_cpu", None)
    inputs = detached(triple(MAP_LIMIT + 1, 8, torch.float32))
    with_pytorch = attend(*inputs, scale=0.6)
    attention._compiled.cache_clear()
    assert error(with_pytorch, plain(*inputs, scale=0.6).double()) < 1e-6


def test_where_numba_may_write_nothing_it_compiles_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    import numba

    from fdbench.models.attention_cpu import _compiled

    def locked(*args: Any, cache: bool = False, **options: Any) -> Any:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return made(*args, **options)

    made = numba.njit
    monkeypatch.setattr(numba, "njit", locked)
    assert _compiled(lambda x: x + 1)(2) == 3


def test_no_images_are_no_images() -> None:
    query, key, value = detached(triple(9, 4, torch.float32))
    assert attend_on_cpu(query[:0], key[:0], value[:0], 0.6).shape == (0, 9, 4)


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # opcheck reads it itself
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_an_operation_that_torch_compile_leaves_whole(dtype: torch.dtype) -> None:
    """PyTorch's own check of its schema, of its shapes without data and of its gradient."""
    query, key, value = triple(9, 6, dtype)
    attend_on_cpu(query, key, value, 0.6)  # defines it
    torch.library.opcheck(torch.ops.fdbench.attention, (query, key, value, 0.6))
