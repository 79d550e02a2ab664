"""Builds the network of a ModelSpec: of this project's family, or of another package or file."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fdbench.models.grafted import build_foreign
from fdbench.models.resnet import build as build_resnet
from fdbench.specs import ModelSpec


def build(
    spec: ModelSpec,
    seed: int = 0,
    device: torch.device | str | None = None,
    start: Mapping[str, Tensor] | None = None,
) -> nn.Module:
    """Returns the network of `spec`, initialised from `seed`, in training mode.

    `start` holds the tensors from which a network of another package or file is fine-tuned. Raises
    as `resnet.build` and `build_foreign` do.
    """
    if not spec.foreign:
        return build_resnet(spec, seed, device)
    return build_foreign(spec, seed, start).to(device or torch.get_default_device())
