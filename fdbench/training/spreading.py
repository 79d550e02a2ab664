"""The network as several processes learn it: gradients averaged, batch norm apart or in common."""

import copy
from inspect import signature
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fdbench.training.team import Team

# torch 2.14 renames the argument, and warns of its old name.
_known = signature(DistributedDataParallel).parameters
_NO_BUFFERS: dict[str, Any] = {
    next(one for one in ("forward_sync_buffers", "broadcast_buffers") if one in _known): False
}


def spread(net: nn.Module, team: Team, sync_bn: bool) -> nn.Module:
    """Returns `net` for the learning pass: the same parameters and batch-norm statistics.

    The statistics are left to `Statistics`: DistributedDataParallel copies the first process's.
    """
    if team.world == 1:
        return net
    shared = _with_common_norms(net) if sync_bn else net
    gpus = [torch.cuda.current_device()] if dist.get_backend() == "nccl" else None
    return DistributedDataParallel(shared, gpus, **_NO_BUFFERS)


def _with_common_norms(net: nn.Module) -> nn.Module:
    """A copy that shares all tensors with `net`, whose batch norms see every process's images."""
    tensors = [*net.parameters(), *net.buffers()]
    shared = copy.deepcopy(net, {id(tensor): tensor for tensor in tensors})
    for module in shared.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = CommonBatchNorm
    return shared


class _Total(torch.autograd.Function):
    """The sum over all processes; so is its gradient."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].contiguous().clone()
        dist.all_reduce(total)
        return total


class CommonBatchNorm(nn.BatchNorm2d):
    """Batch norm over the images of all processes, on a CPU too (torch's SyncBatchNorm is not).

    Written out, it needs more memory than torch's.
    """

    def forward(self, input: Tensor) -> Tensor:
        """See torch."""
        if not self.training:
            return super().forward(input)
        x = input.float()
        count = x.new_full((1,), x.numel() / x.shape[1])
        sums = torch.cat([x.sum((0, 2, 3)), x.square().sum((0, 2, 3)), count])
        total: Tensor = _Total.apply(sums.double())
        mean, square, images = torch.split(total, [x.shape[1], x.shape[1], 1])
        mean, square = mean / images, square / images
        variance = square - mean.square()
        self._learn(mean.detach(), (variance * images / (images - 1)).detach())
        scale = (variance + self.eps).rsqrt().float() * self.weight
        shift = self.bias - mean.float() * scale
        return (x * scale[:, None, None] + shift[:, None, None]).to(input.dtype)

    @torch.no_grad()
    def _learn(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean.float(), self.momentum)
        self.running_var.lerp_(variance.float(), self.momentum)
        self.num_batches_tracked.add_(1)
