"""Each denoising operation against a reference that is slow and obviously right."""

import math
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from fdbench.models import denoise
from fdbench.models.attention import MAP_LIMIT
from fdbench.models.denoise import DESIGNS, DenoiseBlock

MODULES: dict[str, Callable[[int], nn.Module]] = {
    "nonlocal-gauss": denoise.NonlocalGauss,
    "nonlocal-dot": denoise.NonlocalDot,
    "bilateral-gauss": denoise.BilateralGauss,
    "bilateral-dot": denoise.BilateralDot,
    "mean": denoise.Mean,
    "median": denoise.Median,
    "null": denoise.Null,
}
Place = tuple[int, int]
SIZES = [(2, 4, 4, 5), (1, 4, 1, 1), (2, 3, 1, 5), (1, 2, 7, 1), (1, 8, 2, 3)]


def normal(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def places(x: Tensor) -> Iterator[Place]:
    yield from product(range(x.shape[2]), range(x.shape[3]))


def near(x: Tensor, place: Place) -> list[Place]:
    return [(i, j) for i, j in places(x) if abs(i - place[0]) <= 1 and abs(j - place[1]) <= 1]


def everywhere(x: Tensor, place: Place) -> list[Place]:
    return list(places(x))


def slowly(x: Tensor, vector: Callable[[int, Place], Tensor]) -> Tensor:
    """The map whose vector at each image and place is `vector`'s."""
    out = torch.empty_like(x)
    for image in range(len(x)):
        for place in places(x):
            out[(image, slice(None), *place)] = vector(image, place)
    return out


def slow_gauss(x: Tensor, theta: Tensor, phi: Tensor, region: Callable[..., Any]) -> Tensor:
    def vector(b: int, i: Place) -> Tensor:
        others = region(x, i)
        root = math.sqrt(theta.shape[1])
        scores = [float(theta[(b, slice(None), *i)] @ phi[(b, slice(None), *j)]) for j in others]
        total = sum(math.exp(s / root) for s in scores)
        weighted = [
            x[(b, slice(None), *j)] * math.exp(s / root)
            for s, j in zip(scores, others, strict=True)
        ]
        return torch.stack(weighted).sum(0) / total

    return slowly(x, vector)


def slow_dot(x: Tensor, region: Callable[..., Any]) -> Tensor:
    def vector(b: int, i: Place) -> Tensor:
        others = [x[(b, slice(None), *j)] for j in region(x, i)]
        centre = x[(b, slice(None), *i)]
        return torch.stack([(centre @ other) * other for other in others]).sum(0) / len(others)

    return slowly(x, vector)


def slow_mean(x: Tensor) -> Tensor:
    def vector(b: int, i: Place) -> Tensor:
        return torch.stack([x[(b, slice(None), *j)] for j in near(x, i)]).mean(0)

    return slowly(x, vector)


def slow_median(x: Tensor) -> Tensor:
    height, width = x.shape[2:]

    def vector(b: int, i: Place) -> Tensor:
        rows = [min(max(i[0] + d, 0), height - 1) for d in (-1, 0, 1)]
        columns = [min(max(i[1] + d, 0), width - 1) for d in (-1, 0, 1)]
        nine = [x[b, :, row, column] for row, column in product(rows, columns)]
        return torch.stack(nine).sort(0).values[4]

    return slowly(x, vector)


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize(
    ("fast", "region"),
    [(denoise.nonlocal_gauss, everywhere), (denoise.bilateral_gauss, near)],
)
def test_the_gaussian_forms_are_softmax_weighted_means(
    fast: Callable[..., Tensor], region: Callable[..., Any], shape: tuple[int, ...]
) -> None:
    x = normal(*shape)
    inner = max(1, shape[1] // 2)
    theta, phi = (2 * normal(shape[0], inner, *shape[2:], seed=seed) for seed in (1, 2))
    torch.testing.assert_close(fast(x, theta, phi), slow_gauss(x, theta, phi, region))


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize(
    ("fast", "region"), [(denoise.nonlocal_dot, everywhere), (denoise.bilateral_dot, near)]
)
def test_the_dot_forms_are_sums_weighted_by_dot_products(
    fast: Callable[[Tensor], Tensor], region: Callable[..., Any], shape: tuple[int, ...]
) -> None:
    x = normal(*shape)
    torch.testing.assert_close(fast(x), slow_dot(x, region))


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize(
    ("fast", "slow"), [(denoise.mean, slow_mean), (denoise.median, slow_median)]
)
def test_mean_and_median_are_those_of_the_neighbourhood(
    fast: Callable[[Tensor], Tensor], slow: Callable[[Tensor], Tensor], shape: tuple[int, ...]
) -> None:
    x = normal(*shape)
    torch.testing.assert_close(fast(x), slow(x))


@pytest.mark.parametrize("shape", [(1, 4, 2, 2), (2, 4, 1, 2)])
def test_bilateral_is_nonlocal_where_all_positions_are_neighbours(shape: tuple[int, ...]) -> None:
    x, theta = normal(*shape), normal(shape[0], 2, *shape[2:], seed=1)
    torch.testing.assert_close(denoise.bilateral_dot(x), denoise.nonlocal_dot(x))
    torch.testing.assert_close(
        denoise.bilateral_gauss(x, theta, -theta), denoise.nonlocal_gauss(x, theta, -theta)
    )


@pytest.mark.parametrize("seed", range(3))
def test_median_agrees_with_sorting_on_the_ties_of_a_relu(seed: int) -> None:
    x = normal(2, 3, 9, 8, seed=seed).relu()
    nine = F.pad(x, (1, 1, 1, 1), mode="replicate").unfold(2, 3, 1).unfold(3, 3, 1).flatten(4)
    assert torch.equal(denoise.median(x), nine.median(-1).values)


def test_nonlocal_gauss_in_tiles_is_nonlocal_gauss_with_the_map() -> None:
    side = math.isqrt(MAP_LIMIT) + 1  # the first square above the limit
    x, theta, phi = normal(2, 6, side, side), *(normal(2, 3, side, side, seed=s) for s in (1, 2))
    weights = torch.einsum("bchw,bcij->bhwij", theta, phi) / math.sqrt(3)
    weights = weights.flatten(3).softmax(3).view_as(weights)
    wanted = torch.einsum("bhwij,bcij->bchw", weights, x)
    torch.testing.assert_close(denoise.nonlocal_gauss(x, theta, phi), wanted)


@pytest.mark.parametrize("shape", [(1, 2, 3, 4), (1, 5, 2, 2), (1, 3, 1, 1)])
@pytest.mark.parametrize("name", MODULES)
def test_gradients_are_those_of_finite_differences(name: str, shape: tuple[int, ...]) -> None:
    operation = MODULES[name](shape[1]).double()
    for index, parameter in enumerate(operation.parameters()):
        parameter.data = normal(*parameter.shape, seed=index)
    x = normal(*shape, seed=9).requires_grad_()
    assert torch.autograd.gradcheck(operation, (x,))


def test_the_gradient_through_tiles_is_that_of_finite_differences() -> None:
    operation = denoise.NonlocalGauss(2).double()
    x = normal(1, 2, 17, 17).requires_grad_()
    assert x.shape[2] * x.shape[3] > MAP_LIMIT
    assert torch.autograd.gradcheck(operation, (x,), fast_mode=True)


def test_the_median_of_a_constant_map_passes_its_whole_gradient_on() -> None:
    x = torch.zeros(1, 2, 5, 6, requires_grad=True)
    (grad,) = torch.autograd.grad(denoise.median(x).sum(), x)
    assert grad.sum().item() == pytest.approx(x.numel())  # ties share it: a subgradient
    assert (grad >= 0).all()


def test_the_gradient_of_a_median_goes_only_to_elements_that_equal_it() -> None:
    x = normal(1, 1, 3, 3).relu().requires_grad_()
    centre = denoise.median(x)[0, 0, 1, 1]
    (grad,) = torch.autograd.grad(centre, x)
    assert grad.sum().item() == pytest.approx(1)
    assert (x[grad != 0] == centre).all()


class Largest(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The largest tensor that any operation made while it was active."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.elements = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        made = result if isinstance(result, tuple | list) else [result]
        sizes = [t.numel() for t in made if isinstance(t, Tensor)]
        self.elements = max([self.elements, *sizes])
        return result


def largest_of_a_step(operation: nn.Module, x: Tensor) -> int:
    with Largest() as largest:
        torch.autograd.grad(operation(x.requires_grad_()).sum(), x)
    return largest.elements


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_no_map_of_all_pairs_exists_at_the_first_stage_of_imagenet(
    layout: torch.memory_format,
) -> None:
    x = torch.ones(2, 256, 56, 56).contiguous(memory_format=layout)
    assert largest_of_a_step(denoise.NonlocalGauss(256), x) == x.numel() < (56 * 56) ** 2


def test_the_largest_tensor_of_a_small_input_is_the_map_of_all_pairs() -> None:
    x = torch.ones(1, 2, 11, 11)
    assert largest_of_a_step(denoise.NonlocalGauss(2), x) == (11 * 11) ** 2


@pytest.mark.parametrize("shape", [(1, 2, 9, 9), (1, 64, 3, 3)])
def test_the_dot_form_takes_the_cheaper_order(shape: tuple[int, ...]) -> None:
    x = torch.ones(shape)
    channels, positions = shape[1], shape[2] * shape[3]
    bound = max(x.numel(), min(channels, positions) ** 2)
    assert largest_of_a_step(denoise.NonlocalDot(channels), x) <= bound


@settings(max_examples=8, deadline=None)
@given(
    batch=st.integers(1, 3),
    channels=st.integers(1, 9),
    height=st.integers(1, 18),
    width=st.integers(1, 18),
    dtype=st.sampled_from([torch.bfloat16, torch.float32, torch.float64]),
    layout=st.sampled_from([torch.contiguous_format, torch.channels_last]),
)
@pytest.mark.parametrize("name", MODULES)
def test_shape_and_type_are_kept_and_gradients_finite(
    name: str,
    batch: int,
    channels: int,
    height: int,
    width: int,
    dtype: torch.dtype,
    layout: torch.memory_format,
) -> None:
    operation = MODULES[name](channels).to(dtype)
    x = normal(batch, channels, height, width).relu().to(dtype)
    x = x.contiguous(memory_format=layout).requires_grad_()
    out = operation(x)
    (grad,) = torch.autograd.grad(out.sum(), x)
    assert (out.shape, out.dtype) == (x.shape, dtype)
    assert out.isfinite().all()
    assert grad.isfinite().all()


@pytest.mark.parametrize("name", MODULES)
def test_the_layout_in_memory_changes_nothing(name: str) -> None:
    operation = MODULES[name](6).double()
    x = normal(2, 6, 17, 18)
    last = operation(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(last, operation(x))


@pytest.mark.parametrize("design", ["full", "no-1x1"])
@pytest.mark.parametrize("name", MODULES)
def test_a_silenced_block_is_the_identity(name: str, design: str) -> None:
    block = DenoiseBlock(4, MODULES[name](4), DESIGNS[design])
    block.silence()
    x = normal(2, 4, 5, 5).float()
    assert torch.equal(block(x), x)


def test_without_the_residual_the_block_starts_alive() -> None:
    block = DenoiseBlock(4, denoise.Mean(4), DESIGNS["no-residual"])
    block.silence()
    x = normal(2, 4, 5, 5).float().requires_grad_()
    out = block(x)
    (grad,) = torch.autograd.grad((out * normal(*x.shape, seed=1).float()).sum(), x)
    assert grad.abs().max() > 0
    torch.testing.assert_close(out, block.bn(block.conv(denoise.mean(x))))


@pytest.mark.parametrize("design", DESIGNS)
def test_the_block_is_the_papers_formula(design: str) -> None:
    block = DenoiseBlock(4, denoise.Median(4), DESIGNS[design]).double().eval()
    nn.init.constant_(block.bn.weight, 0.7)
    nn.init.constant_(block.bn.bias, -0.2)
    x = normal(2, 4, 5, 5)
    inner = denoise.median(x)
    if isinstance(block.conv, nn.Conv2d):
        inner = F.conv2d(inner, block.conv.weight)
    inner = 0.7 * inner / math.sqrt(1 + block.bn.eps) - 0.2
    wanted = {"full": x + inner, "no-1x1": x + inner, "no-residual": inner}[design]
    torch.testing.assert_close(block(x), wanted)
    assert isinstance(block.conv, nn.Identity) == (design == "no-1x1")


def test_the_embedding_has_half_the_channels_and_no_bias() -> None:
    theta = denoise.NonlocalGauss(10).theta
    assert theta.weight.shape == (5, 10, 1, 1)
    assert theta.bias is None
