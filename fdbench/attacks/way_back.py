"""Another way back: the identity as the gradient of operations that mask it.

Source: Athalye et al. 2018, "Obfuscated Gradients", Sec. 4.1 (BPDA). An operation that removes
small activations, rounds or sorts passes little or no gradient, though its output stays close to
its input: the identity then points where its own gradient does not. All numbers that the network
computes stay the same.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float32
from torch import Tensor, nn

from fdbench import randomness
from fdbench.errors import NoGradient
from fdbench.models import DenoiseBlock
from fdbench.types import Images, Logits

# PyTorch's own modules that set activations to zero, besides ReLU, which every attack copes with.
_SPARSIFYING = (nn.Hardshrink, nn.Softshrink, nn.Threshold)
_PROBES = 8  # images of each kind
_LIKE_IDENTITY = 0.9  # cosine of the two gradients: another way back adds nothing


class _Through(torch.autograd.Function):
    """The output of an operation, with the gradient of the identity."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, output: Tensor) -> Tensor:
        return output.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


def _own_operations(net: nn.Module) -> list[nn.Module]:
    """The modules that may mask gradients: denoising operations, and parameterless ones of users.

    What a forward method does without a module can't be seen.
    """
    denoising = [one.operation for one in net.modules() if isinstance(one, DenoiseBlock)]
    inner = {id(part) for one in denoising for part in one.modules()}
    others = [
        one
        for one in net.modules()
        if id(one) not in inner
        and (isinstance(one, _SPARSIFYING) or not type(one).__module__.startswith("torch."))
        and not any(True for _ in one.parameters())
        and not any(True for _ in one.children())
    ]
    return [*denoising, *others]


class BlockFree(nn.Module):
    """The network without its denoising blocks, a surrogate for it.

    They are passed by within each of its forward passes only: the network itself, which may be the
    one that judges, keeps them.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.blocks = [one for one in net.modules() if isinstance(one, DenoiseBlock)]

    def forward(self, x: Images) -> Logits:
        handles = [one.register_forward_hook(_past) for one in self.blocks]
        try:
            logits: Logits = self.net(x)
        finally:
            for handle in handles:
                handle.remove()
        return logits


def _past(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """What went into a block, as what comes out of it."""
    return args[0]


class _Watch:
    """Records the input and output of each operation that keeps its input's shape."""

    def __init__(self) -> None:
        self.seen: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        x = args[0] if args else None
        if not (isinstance(x, Tensor) and isinstance(output, Tensor)):
            return
        if x.shape == output.shape and x.ndim == 4 and x.is_floating_point():
            self.seen[module] = x, output


def masking_operations(net: nn.Module, x: Images) -> list[nn.Module]:
    """The operations whose gradient is far from the identity's, on some images.

    Compared along the gradient of the gap between the two highest logits.
    """
    watch = _Watch()
    handles = [one.register_forward_hook(watch) for one in _own_operations(net)]
    try:
        with torch.enable_grad():
            logits = net(x.detach().clone().requires_grad_())
            top = logits.topk(min(2, logits.shape[1]), 1).values
            gap = (top[:, 0] - top[:, -1]).sum()
            return [one for one, pair in watch.seen.items() if _far(gap, *pair)]
    except NoGradient:
        return list(watch.seen)
    finally:
        for handle in handles:
            handle.remove()


def _far(gap: Tensor, x: Tensor, output: Tensor) -> bool:
    """Whether an operation changes the direction of the gradient that passes it."""
    if not output.requires_grad:
        return x.requires_grad
    (after,) = torch.autograd.grad(gap, output, retain_graph=True, allow_unused=True)
    if after is None or not x.requires_grad:
        return False
    (before,) = torch.autograd.grad(output, x, after, retain_graph=True, allow_unused=True)
    if before is None:
        return True
    return not bool(torch.cosine_similarity(before.flatten(), after.flatten(), 0) > _LIKE_IDENTITY)


def probes(like: Images) -> Float32[Tensor, "P 3 H W"]:
    """Images to look for masking operations on: smooth ones and noise, always the same.

    Not images of the batch, or a verdict would depend on which images are attacked together.
    """
    size = like.shape[2:]
    coarse = torch.from_numpy(randomness.uniform(0, "smooth", range(_PROBES), (3, 4, 4)))
    smooth = F.interpolate(coarse, size=size, mode="bilinear", align_corners=False)
    noise = torch.from_numpy(randomness.uniform(0, "noise", range(_PROBES), (3, *size)))
    return torch.cat([smooth, noise]).to(like.device)


@contextmanager
def identity_back(operations: list[nn.Module]) -> Iterator[None]:
    """Gives these operations the gradient of the identity, inside."""

    def through(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        passed: Tensor = _Through.apply(args[0], output.detach())
        return passed

    handles = [one.register_forward_hook(through) for one in operations]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
