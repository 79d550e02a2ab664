"""Faster copies of networks for attacks: frozen, BN-folded, channels_last.

An attack in inference mode multiplies by the same batch-norm scales thousands of times. Folding
them into the convolutions and using channels_last took 20 to 45 % off a forward and backward pass
of an r20 (28 px, batches of 64 to 250, two cores with AVX-512, torch 2.15). The copy is compared
with its original before it is used. It has no gradients of weights, which are what some strided
convolutions can't safely compute in channels_last (VECTOR in resnet.py).
"""

import copy
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fdbench.errors import FdbenchError, unknown
from fdbench.models.zoo.users_code import brief, users_code
from fdbench.types import Images, Logits
from fdbench.verdict import relative_difference

RELATIVE = 1e-4  # largest difference of logits, as verdict.relative_difference measures it
# Largest difference of input gradients, by their norms. Rounding that moves an activation over a
# kink of ReLU or max-pooling changes them by up to 0.009 (vgg11_bn; under 1e-6 on most networks); a
# hook that is lost with a batch norm changes them by more.
GRADIENT = 0.05


class _Watch:
    """Records, in one forward pass, which batch norms take exactly one convolution's output."""

    def __init__(self) -> None:
        self.made: dict[int, str] = {}
        self.kept: list[Tensor] = []  # keeps outputs alive, so that no id is used twice
        self.calls: Counter[str] = Counter()
        self.pairs: list[tuple[str, str]] = []

    def conv(self, name: str, module: nn.Module, args: Any, output: Tensor) -> None:
        self.calls[name] += 1
        self.made[id(output)] = name
        self.kept.append(output)

    def norm(self, name: str, module: nn.Module, args: Any) -> None:
        self.calls[name] += 1
        if id(args[0]) in self.made:
            self.pairs.append((self.made[id(args[0])], name))


def _conv_bn_pairs(net: nn.Module, example: Images) -> list[tuple[str, str]]:
    """Returns the names of convolutions and the batch norms after them, each called once per pass.

    Observed by hooks, so it works however the network's forward is written. Hooks can't see whether
    an output is used elsewhere too: comparing the copy with its original detects that.
    """
    watch, handles = _Watch(), []
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            handles.append(module.register_forward_hook(partial(watch.conv, name)))
        elif isinstance(module, nn.BatchNorm2d) and module.running_var is not None:
            handles.append(module.register_forward_pre_hook(partial(watch.norm, name)))
    try:
        with torch.no_grad():
            net(example)
    finally:
        for handle in handles:
            handle.remove()
    pairs = [pair for pair in watch.pairs if all(watch.calls[name] == 1 for name in pair)]
    modules = dict(net.named_modules())
    return [pair for pair in pairs if all(_is_plain(modules[name]) for name in pair)]


def _is_plain(module: nn.Module) -> bool:
    """Whether a module does what its class does: no hook, no parametrised or normalised weight."""
    hooks = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
    own = type(module) in (nn.Conv2d, nn.BatchNorm2d)
    return own and not any(getattr(module, name) for name in hooks)


def _tensors(net: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers; one under two names by its first."""
    return {**dict(net.named_parameters()), **dict(net.named_buffers())}


class Folded:
    """A frozen copy of `net` without its foldable batch norms; `refresh` copies new weights.

    `net` must be in inference mode when `Folded` is created, and may train between refreshes. In
    "bf16" the copy computes in bfloat16: for gradients, never for verdicts.
    """

    def __init__(
        self,
        net: nn.Module,
        example: Images,
        layout: torch.memory_format = torch.channels_last,
        precision: str = "fp32",
    ) -> None:
        self._source = net
        self._pairs = _conv_bn_pairs(net, example)
        self._copy = copy.deepcopy(net).eval().requires_grad_(False)
        for conv, norm in self._pairs:
            module = self._copy.get_submodule(conv)
            assert isinstance(module, nn.Conv2d)
            if module.bias is None:
                module.bias = nn.Parameter(torch.empty_like(module.weight[:, 0, 0, 0]), False)
            self._copy.set_submodule(norm, nn.Identity())
        self._copy = self._copy.to(memory_format=layout)
        # Casts the copy itself: `refresh` rounds the folded float32 weights into it.
        self.net: nn.Module = _Bfloat16(self._copy) if precision == "bf16" else self._copy
        self.refresh()

    @torch.no_grad()
    def refresh(self) -> None:
        """Copies the current weights and statistics of the original."""
        source = _tensors(self._source)
        for conv, norm in self._pairs:
            weight, bias = source[f"{conv}.weight"], source.get(f"{conv}.bias", 0)
            module = self._source.get_submodule(norm)
            assert isinstance(module, nn.BatchNorm2d)
            mean, var = module.running_mean, module.running_var
            assert mean is not None
            assert var is not None
            scale = (var + module.eps).rsqrt()
            scale = scale if module.weight is None else scale * module.weight
            shift = 0 if module.bias is None else module.bias
            source[f"{conv}.weight"] = weight * scale[:, None, None, None]
            source[f"{conv}.bias"] = (bias - mean) * scale + shift
        for name, tensor in _tensors(self._copy).items():
            tensor.copy_(source[name])


class _Bfloat16(nn.Module):
    """Takes and returns float32; computes in bfloat16, whose exponents have float32's range, so
    that small gradients do not vanish.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net.to(torch.bfloat16)

    def forward(self, x: Images) -> Logits:
        return self.net(x.to(torch.bfloat16)).float()


# "reference" is the network itself: not folded, memory layout unchanged.
PRECISIONS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "fp32": lambda net: net,
    "bf16": lambda net: _Bfloat16(copy.deepcopy(net)),
    "reference": lambda net: net,
}


def accelerate(
    net: nn.Module, example: Images, precision: str = "fp32", *, compiled: bool = False
) -> tuple[nn.Module, str | None]:
    """Returns a frozen copy of `net` to attack, and why it is not the fast one (None if it is).

    The copy is compared in float32, before it is cast. In bfloat16 it is a slightly different
    function: good for gradients, never for verdicts.

    Args:
        net: frozen and in inference mode; images in [0, 1] -> logits.
        example: images to compare the two on.
        precision: a key of PRECISIONS.
        compiled: let torch.compile fuse its kernels, if that gives the same logits.

    Raises BadValue for an unknown precision.
    """
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    if precision == "reference":
        return net, None
    exact, why_not = _folded(net, example)
    fast, fails = _in_precision(exact, example, precision)
    why_not = fails or why_not
    if not compiled:
        return fast, why_not
    try:
        with users_code("the compiled copy"):
            fused = torch.compile(fast)
            assert isinstance(fused, nn.Module)
            logits, grad = _deciding_gradient(fused, example)
    except FdbenchError as failed:
        return (
            fast,
            f"attacked uncompiled: torch.compile fails ({brief(failed.__cause__ or failed)})",
        )
    wanted, wanted_grad = _deciding_gradient(fast, example)
    if _same(logits, wanted) and _same_gradient(grad, wanted_grad):
        return fused, why_not
    return fast, "attacked uncompiled: the compiled copy differs"


def _in_precision(net: nn.Module, example: Images, precision: str) -> tuple[nn.Module, str | None]:
    """Returns a copy of `net` in that precision, or `net` and why: fixed code may refuse it."""
    if precision == "fp32":
        return net, None
    try:
        with users_code("the copy"):
            fast = PRECISIONS[precision](net)
            _deciding_gradient(fast, example)
    except FdbenchError as failed:
        why = brief(failed.__cause__ or failed)
        return net, f"attacked in float32: the network can't compute in {precision} ({why})"
    return fast, None


def _same(got: Logits, wanted: Logits) -> bool:
    """Returns whether logits agree within RELATIVE, and all predictions agree."""
    close = relative_difference(got, wanted) <= RELATIVE
    return bool(close and (got.argmax(1) == wanted.argmax(1)).all())


def _deciding_gradient(net: nn.Module, x: Images) -> tuple[Logits, Images | None]:
    """Returns the logits, and the gradient of the gap between the two highest; None without one.

    Unlike the cross-entropy's it does not vanish where a network is sure.
    """
    with torch.enable_grad():
        leaf = x.detach().clone().requires_grad_()
        logits = net(leaf)
        top = logits.topk(min(2, logits.shape[1]), 1).values
        gap = (top[:, 0] - top[:, -1]).sum()
        if not gap.requires_grad:
            return logits.detach(), None
        (grad,) = torch.autograd.grad(gap, leaf, allow_unused=True)
    return logits.detach(), grad


def _same_gradient(got: Images | None, wanted: Images | None) -> bool:
    if got is None or wanted is None:
        return got is wanted
    return bool((got - wanted).norm() <= GRADIENT * wanted.norm())


def _folded(net: nn.Module, example: Images) -> tuple[nn.Module, str | None]:
    """Returns the folded copy, or `net` and why not; some code needs the layout it was made for."""
    logits, grad = _deciding_gradient(net, example)
    why = ""
    for layout in (torch.channels_last, torch.contiguous_format):
        try:
            with users_code("the folded copy"):
                fast = Folded(net, example, layout).net
                own_logits, own_grad = _deciding_gradient(fast, example)
        except FdbenchError as failed:
            why = f"a folded copy fails ({brief(failed.__cause__ or failed)})"
            continue
        if _same(own_logits, logits) and _same_gradient(own_grad, grad):
            return fast, None
        why = "the folded copy computes something else"
    return net, f"attacked without acceleration: {why}"
