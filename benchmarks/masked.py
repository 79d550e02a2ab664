"""Networks that mask their gradients by removing small activations, made from trained ones.

    --model 'benchmarks/masked.py:kwta?base=r20.safetensors&share=0.3'
    --model 'benchmarks/masked.py:meansparse?base=r20.safetensors&data=npz:cifar10&width=0.5'

Each puts its operation behind every block of one of fdbench's ResNets, without further training:
the networks that AutoAttack overrates most are of this kind (k-WTA, Xiao et al. 2020; MeanSparse,
Amini et al. 2024). They are no defences; they are what a guard must see through.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from fdbench.data import open_data
from fdbench.models import open_model
from fdbench.store import Workspace

_IMAGES = 1000  # of the training set, for the statistics of activations


class LargestShare(nn.Module):
    """k-WTA: of an image's activations, the largest share passes, the others become zero."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        count = max(int(self.share * flat.shape[1]), 1)
        least = flat.topk(count, 1).values[:, -1:]
        return torch.where(flat >= least, flat, 0.0).view_as(x)


class MeanSparse(nn.Module):
    """Activations within `width` standard deviations of their channel's mean become the mean."""

    def __init__(self, activations: Tensor, width: float) -> None:
        super().__init__()
        self.register_buffer("mean", activations.mean((0, 2, 3))[:, None, None])
        self.register_buffer("near", width * activations.std((0, 2, 3))[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        near = (x - self.get_buffer("mean")).abs() <= self.get_buffer("near")
        return torch.where(near, self.get_buffer("mean").expand_as(x), x)


def _behind_blocks(base: str, make: Callable[[str], nn.Module]) -> nn.Module:
    """The network with an operation behind each of its blocks, made from the block's name."""
    net = _opened(base)
    for number, stage in enumerate(_stages(net)):
        longer = nn.Sequential()
        for name, block in stage.named_children():
            longer.add_module(name, block)
            longer.add_module(f"{name}_operation", make(f"{number}.{name}"))
        _stages(net)[number] = longer
    return net.eval()


def _opened(base: str) -> nn.Module:
    path = Path(base)
    model = open_model(base, Workspace(path.parent))
    model.net.px = model.card.spec.px if model.card else None  # type: ignore[assignment]
    return model.net


def _stages(net: nn.Module) -> nn.Sequential:
    stages = net.get_submodule("stages")
    assert isinstance(stages, nn.Sequential)
    return stages


def kwta(base: str, share: float = 0.3) -> nn.Module:
    """A k-WTA network of a checkpoint of fdbench's."""
    return _behind_blocks(base, lambda name: LargestShare(float(share)))


def meansparse(base: str, data: str, width: float = 0.5) -> nn.Module:
    """A MeanSparse network of a checkpoint of fdbench's; `data` has a training set."""
    net, seen, handles = _opened(base), dict[str, Tensor](), []
    for number, stage in enumerate(_stages(net)):
        for name, block in stage.named_children():

            def keep(
                module: nn.Module, args: object, output: Tensor, at: str = f"{number}.{name}"
            ) -> None:
                seen[at] = output

            handles.append(block.register_forward_hook(keep))
    with torch.no_grad():
        net(open_data(data, "train").fetch(range(_IMAGES)).x)
    for handle in handles:
        handle.remove()
    return _behind_blocks(base, lambda name: MeanSparse(seen[name], float(width)))
