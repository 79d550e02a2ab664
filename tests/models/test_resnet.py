"""The ResNet family: parameter counts, initialisation, padding, inputs and outputs."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fdbench.errors import BadValue, FdbenchError
from fdbench.models.catalogue import DENOISERS, denoise_choices
from fdbench.models.denoise import DenoiseBlock, Embedding
from fdbench.models.resnet import VECTOR, ConvBN, SamePad, build, same_tf
from fdbench.specs.model import ARCHS, BLOCKS, PLACES, ModelSpec

TINY = ModelSpec("r20", width=4, classes=10, px=32)
DENOISING = list(DENOISERS)


def images(batch: int = 2, px: int = 16) -> Tensor:
    return torch.rand(batch, 3, px, px, generator=torch.Generator().manual_seed(0))


def parameters(spec: ModelSpec) -> int:
    return sum(p.numel() for p in build(spec, device="meta").parameters())


def with_statistics(spec: ModelSpec) -> int:
    """Parameters and running means and variances: what the released checkpoints hold."""
    state = build(spec, device="meta").state_dict()
    return sum(t.numel() for name, t in state.items() if "num_batches_tracked" not in name)


@pytest.mark.parametrize(
    ("denoiser", "millions"),
    [
        ("null", "5.578"),
        ("mean", "5.578"),
        ("median", "5.578"),
        ("nonlocal-dot", "5.578"),
        ("bilateral-dot", "5.578"),
        ("nonlocal-gauss", "11.149"),
        ("bilateral-gauss", "11.149"),
        ("bottleneck", "5.930"),
    ],
)
def test_a_denoiser_costs_r152_what_the_paper_says(denoiser: str, millions: str) -> None:
    cost = parameters(ModelSpec("r152", denoise=denoiser)) - parameters(ModelSpec("r152"))
    assert f"{cost / 1e6:.3f}" == millions


@pytest.mark.parametrize(
    ("spec", "count"),
    [
        (ModelSpec("r152"), 60_344_232),
        (ModelSpec("r152", denoise="nonlocal-gauss"), 71_500_712),
        (ModelSpec("x101", denoise="nonlocal-dot", denoise_at="all"), 127_069_608),
    ],
)
def test_the_released_networks_have_this_many_values(spec: ModelSpec, count: int) -> None:
    assert with_statistics(spec) == count


def test_r152_with_bottlenecks_is_r164() -> None:
    longer = build(ModelSpec("r152", denoise="bottleneck"), device="meta").state_dict()
    deeper = build(ModelSpec("r164"), device="meta").state_dict()
    assert {k: v.shape for k, v in longer.items()} == {k: v.shape for k, v in deeper.items()}


def logits_shape(spec: ModelSpec) -> torch.Size:
    net = build(spec, device="meta")
    return net(torch.empty(2, 3, spec.px, spec.px, device="meta")).shape


@pytest.mark.parametrize("arch", ["r20", "r26", "x50"])  # the shallowest of each kind of block
@pytest.mark.parametrize("denoiser", denoise_choices())
def test_every_denoiser_fits_every_kind_of_residual_block(arch: str, denoiser: str) -> None:
    for px, padding in ((32, "symmetric"), (224, "same-tf")):
        spec = ModelSpec(arch, denoise=denoiser, classes=7, px=px, padding=padding)
        assert logits_shape(spec) == (2, 7)


class Scaled(nn.Module):
    """A denoiser whose scale no initialisation knows."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale[:, None, None]


def test_a_denoiser_with_tensors_that_nothing_initialises_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offered = {**DENOISERS.built_in, "scaled": lambda: Scaled}
    monkeypatch.setattr("fdbench.models.resnet.DENOISERS", replace(DENOISERS, built_in=offered))
    with pytest.raises(FdbenchError, match=r"Scaled.*'scale'.*\n.*compute it in forward"):
        build(ModelSpec("r20", denoise="scaled", classes=10, px=32))


@pytest.mark.parametrize("arch", ARCHS)
def test_every_architecture_gives_logits(arch: str) -> None:
    assert logits_shape(ModelSpec(arch, denoise="nonlocal-gauss")) == (2, 1000)


@pytest.mark.parametrize("arch", ARCHS)
def test_denoising_blocks_are_placed_as_specified(arch: str) -> None:
    for place in PLACES:
        net = build(ModelSpec(arch, denoise="null", denoise_at=place), device="meta")
        names = [[name for name, _ in stage.named_children()] for stage in net.stages]
        for stage, depth in zip(names, ARCHS[arch].blocks, strict=True):
            after = range(depth) if place == "all" else [depth - 1]
            wanted = [name for i in range(depth) for name in (f"block{i}", f"denoise{i}")]
            wanted = [n for n in wanted if "block" in n or n in [f"denoise{i}" for i in after]]
            assert stage == wanted


@pytest.mark.parametrize(("px", "kernel", "side"), [(64, 3, 64), (65, 7, 17), (224, 7, 56)])
def test_small_images_keep_their_size_in_the_stem(px: int, kernel: int, side: int) -> None:
    for padding in ("symmetric", "same-tf"):
        stem = build(ModelSpec("r18", px=px, padding=padding), device="meta").stem
        first = next(m for m in stem.modules() if isinstance(m, nn.Conv2d))
        assert first.kernel_size == (kernel, kernel)
        out = stem(torch.empty(1, 3, px, px, device="meta"))
        assert out.shape == (1, 64, side, side)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pads"),
    [
        (224, 7, 2, (2, 3)),  # the stem's convolution: 2 top-left, 3 bottom-right
        (112, 3, 2, (0, 1)),  # its pool
        (7, 3, 2, (1, 1)),
        (56, 1, 2, (0, 0)),
        (9, 3, 1, (1, 1)),
        (1, 3, 2, (1, 1)),
    ],
)
def test_same_padding_is_tensorflows(
    size: int, kernel: int, stride: int, pads: tuple[int, int]
) -> None:
    assert same_tf(size, kernel, stride) == pads


def test_a_strided_convolution_with_same_padding_looks_down_and_right() -> None:
    layer = ConvBN(1, 1, 3, 2, same=True)
    nn.init.ones_(layer.conv.weight)
    x = torch.arange(16.0).view(1, 1, 4, 4)  # rows 0..3, 4..7, 8..11, 12..15
    # Windows start at rows and columns 0 and 2; index 4 is padding, zero.
    wanted = torch.tensor([[45.0, 39.0], [66.0, 50.0]])
    assert torch.equal(layer.conv(layer.before(x))[0, 0], wanted)


def test_a_symmetric_strided_convolution_looks_around_its_centre() -> None:
    layer = ConvBN(1, 1, 3, 2, same=False)
    nn.init.ones_(layer.conv.weight)
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert torch.equal(
        layer.conv(layer.before(x))[0, 0], torch.tensor([[10.0, 24.0], [51.0, 90.0]])
    )


def test_the_pool_never_takes_its_padding_for_a_pixel() -> None:
    stem: Any = build(ModelSpec("r18", px=224, padding="same-tf")).stem
    pool = stem[2]
    assert torch.equal(pool(torch.full((1, 1, 4, 4), -1.0)), torch.full((1, 1, 2, 2), -1.0))


def test_same_padding_moves_height_and_width_apart() -> None:
    assert SamePad(3, 2)(torch.zeros(1, 1, 4, 5)).shape == (1, 1, 5, 7)


def test_the_input_is_rgb_in_the_unit_range_whatever_the_network_wants() -> None:
    spec = replace(TINY, mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 4.0))
    x = images(1)
    centred = x - torch.tensor(spec.mean).view(3, 1, 1)
    torch.testing.assert_close(
        build(spec).normalise(x), centred / torch.tensor(spec.std).view(3, 1, 1)
    )
    bgr = build(replace(spec, order="bgr")).normalise(x)
    torch.testing.assert_close(bgr[:, 0], x[:, 2] - 0.1)  # blue first, with the first mean


def test_scaling_is_not_part_of_the_weights() -> None:
    assert not any("normalise" in name for name in build(TINY, device="meta").state_dict())


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("denoiser", DENOISING)
def test_a_fresh_denoiser_computes_the_baselines_function(denoiser: str, block: str) -> None:
    spec = replace(TINY, denoise=denoiser, denoise_at="all", block=block)
    same = torch.equal(build(spec, seed=3).eval()(images()), build(TINY, seed=3).eval()(images()))
    assert same == (block != "no-residual")


def test_the_same_seed_gives_the_same_weights_and_another_others() -> None:
    spec = replace(TINY, denoise="nonlocal-gauss")
    first, again, other = (build(spec, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["fc.weight"], other["fc.weight"])


def test_no_layer_repeats_the_numbers_of_another() -> None:
    net = build(TINY)
    weights = [m.weight.flatten()[:16] for m in net.modules() if isinstance(m, nn.Conv2d)]
    ratios = {tuple((w / w[0]).tolist()) for w in weights}
    assert len(ratios) == len(weights)


def test_building_neither_reads_nor_changes_the_global_generator() -> None:
    weights = []
    with torch.random.fork_rng():
        for global_seed in (1, 2):
            state = torch.manual_seed(global_seed).get_state()
            weights.append(build(TINY).fc.weight)
            assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(*weights)


def test_initial_weights_are_the_papers() -> None:
    net = build(ModelSpec("r26", denoise="nonlocal-gauss", width=32, classes=100, px=32))
    for module in net.modules():
        if type(module) is nn.Conv2d and module.weight.numel() > 2000:
            fan_out = module.out_channels * module.kernel_size[0] ** 2
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.1)
            assert module.bias is None
        if isinstance(module, Embedding | nn.Linear):
            assert module.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert net.fc.bias.eq(0).all()


def test_only_the_last_gamma_of_each_branch_starts_at_zero() -> None:
    for arch, last in (("r20", "conv2.bn"), ("r26", "conv3.bn")):
        net = build(ModelSpec(arch, denoise="mean", width=8, px=32))
        for name, module in net.named_modules():
            if isinstance(module, nn.BatchNorm2d):
                zero = name.endswith(last) or "denoise" in name
                assert module.weight.eq(0 if zero else 1).all(), name
                assert module.bias.eq(0).all()
                assert module.running_mean is not None
                assert module.running_mean.eq(0).all()
                assert module.running_var is not None
                assert module.running_var.eq(1).all()
                assert (module.eps, module.momentum) == (1e-5, 0.1)


def test_every_batch_norm_directly_follows_a_convolution() -> None:
    net = build(replace(TINY, denoise="nonlocal-gauss", denoise_at="all")).eval()
    made: dict[int, Tensor] = {}  # outputs of convolutions, alive so that no id comes twice
    followed = []

    def remember(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        made[id(output)] = output

    def look(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        followed.append(id(args[0]) in made)

    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(remember)
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_pre_hook(look)
    net(images())
    assert followed
    assert all(followed)


def test_the_stride_is_on_the_3x3_convolution() -> None:
    block: Any = build(ModelSpec("r50"), device="meta").stages[1].block0
    strides = [block.get_submodule(f"conv{i}.conv").stride for i in (1, 2, 3)]
    assert strides == [(1, 1), (2, 2), (1, 1)]
    assert block.shortcut.conv.stride == (2, 2)


def test_x50_has_32_groups_of_8_channels() -> None:
    block: Any = build(ModelSpec("x50"), device="meta").stages[0].block0
    assert block.conv2.conv.weight.shape == (256, 8, 3, 3)


def test_a_width_that_splits_a_group_is_refused_with_a_valid_one() -> None:
    with pytest.raises(
        BadValue, match=r"--width 12 .*1\.5 channels.*\n.*multiple of 8.*--width 16"
    ):
        build(ModelSpec("x50", width=12), device="meta")


def test_a_block_is_its_formula_with_the_shortcut_inside_the_relu() -> None:
    net = build(replace(TINY, width=2)).double().eval()
    block: Any = net.stages[1].block0
    nn.init.ones_(block.conv2.bn.weight)
    x = images(1, 8).double()[:, :2]
    y = F.relu(block.conv1.bn(F.conv2d(x, block.conv1.conv.weight, stride=2, padding=1)))
    y = block.conv2.bn(F.conv2d(y, block.conv2.conv.weight, padding=1))
    shortcut = block.shortcut.bn(F.conv2d(x, block.shortcut.conv.weight, stride=2))
    torch.testing.assert_close(block(x), F.relu(y + shortcut))


def _awake(spec: ModelSpec) -> nn.Module:
    """A network in inference mode whose residual and denoising branches are not zero."""
    net = build(spec).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.weight, 0.5)
    return net


@pytest.mark.parametrize("padding", ["symmetric", "same-tf"])
@pytest.mark.parametrize("denoiser", denoise_choices())
def test_channels_last_gives_the_same_logits(denoiser: str, padding: str) -> None:
    net = _awake(replace(TINY, denoise=denoiser, padding=padding)).double()
    x = images(2, 18).double()
    wanted = net(x)
    last = net.to(memory_format=torch.channels_last)
    torch.testing.assert_close(last(x.contiguous(memory_format=torch.channels_last)), wanted)


@settings(max_examples=10, deadline=None)
@given(
    height=st.integers(1, 21),
    width=st.integers(1, 21),
    denoiser=st.sampled_from(denoise_choices()),
    padding=st.sampled_from(["symmetric", "same-tf"]),
    px=st.sampled_from([32, 224]),
)
def test_images_of_any_size_have_finite_logits_and_gradients(
    height: int, width: int, denoiser: str, padding: str, px: int
) -> None:
    net = _awake(replace(TINY, denoise=denoiser, padding=padding, px=px))
    x = torch.rand(2, 3, height, width).requires_grad_()
    logits = net(x)
    (grad,) = torch.autograd.grad(logits.sum(), x)
    assert logits.shape == (2, 10)
    assert logits.isfinite().all()
    assert grad.isfinite().all()


def test_a_bf16_copy_reads_float32_images() -> None:
    spec = replace(TINY, denoise="nonlocal-gauss")
    exact = _awake(spec)(images())
    rough = _awake(spec).bfloat16()(images())
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - exact).abs().max() < 0.05 * exact.abs().max()


def test_the_input_gradient_of_a_network_is_that_of_finite_differences() -> None:
    net = _awake(replace(TINY, denoise="nonlocal-gauss", classes=2)).double()
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    x = images(1, 4).double().requires_grad_()
    assert torch.autograd.gradcheck(net, (x,), eps=1e-7)


def test_the_default_device_decides_where_a_network_is_built() -> None:
    with torch.device("meta"):
        assert build(TINY).fc.weight.is_meta
    assert build(TINY).fc.weight.device.type == "cpu"


def test_every_denoiser_of_the_table_makes_a_block() -> None:
    for name in DENOISING:
        net = build(replace(TINY, denoise=name), device="meta")
        blocks = [m for m in net.modules() if isinstance(m, DenoiseBlock)]
        assert len(blocks) == len(ARCHS[TINY.arch].blocks)


@pytest.mark.parametrize(("inputs", "strides"), [(VECTOR - 1, (1, 1)), (VECTOR, (2, 2))])
def test_only_narrow_strided_1x1_convolutions_subsample_beforehand(
    inputs: int, strides: tuple[int, int]
) -> None:
    layer = ConvBN(inputs, 5, 1, 2, same=False).eval()
    assert layer.conv.stride == strides
    x = torch.rand((2, inputs, 9, 9), generator=torch.Generator().manual_seed(0))
    strided = nn.functional.conv2d(x, layer.conv.weight, stride=2)
    torch.testing.assert_close(layer(x), layer.bn(strided))
