"""What a network's features make of an adversarial image, stage by stage.

Xie et al. 2019, Sec. 1 and Fig. 1 to 3: features of adversarial images are noisy where those of the
clean image are not, and a denoising block quietens them. Distances are of the paper's idea, not in
it: |f(adv) - f(x)| / |f(x)|, per image. Their levels in two architectures are hard to compare: each
has its own scale of what matters to its next layer.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from fdbench.errors import BadValue
from fdbench.types import Images

Distances = Float[np.ndarray, "places images"]
Maps = Float[np.ndarray, "images height width"]
Places = Mapping[str, nn.Module]  # in the order of the forward pass, by what a figure calls them

_OURS = re.compile(r"(?:.*\.)?stages\.(\d+)\.(block|denoise)\d+")
_TORCHVISION = re.compile(r"(?:.*\.)?layer(\d+)")  # and what was built after it
_BATCH = 25
DENOISED = " denoised"  # the end of a place's name: after a denoising block


def places_of(net: nn.Module) -> dict[str, nn.Module]:
    """Where the network's features are read: at the end of each stage, before and after a denoiser.

    Raises BadValue for a network without stages that are known here.
    """
    places: dict[str, nn.Module] = {}
    for name, module in net.named_modules():
        if ours := _OURS.fullmatch(name):
            ending = DENOISED if ours[2] == "denoise" else ""
            places[f"stage {int(ours[1]) + 1}{ending}"] = module  # the last of a stage stays
        elif theirs := _TORCHVISION.fullmatch(name):
            places[f"stage {theirs[1]}"] = module
    if not places:
        raise BadValue(
            "this network has no stages that are known: fdbench's ResNets have (`fdbench list "
            "models`), and torchvision's."
        )
    return places


@contextmanager
def _watching(places: Places) -> Iterator[dict[str, Tensor]]:
    """What each place's module returns, once the network has run."""
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> object:
        def hook(module: nn.Module, inputs: object, output: Tensor) -> None:
            seen[name] = output.detach().clone()  # later layers may work in place

        return hook

    hooks = [
        module.register_forward_hook(keep(name))  # type: ignore[arg-type]
        for name, module in places.items()
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def features(net: nn.Module, x: Images, places: Places) -> dict[str, Tensor]:
    """The features of each place, (B, C, h, w)."""
    with _watching(places) as seen:
        net(x)
    return {name: seen[name].float() for name in places}


def distances(net: nn.Module, x: Images, other: Images, places: Places) -> Distances:
    """|f(other) - f(x)| / |f(x)| at each place, for each image."""
    parts = []
    for start in range(0, len(x), _BATCH):
        clean, changed = x[start : start + _BATCH], other[start : start + _BATCH]
        ours, theirs = features(net, clean, places), features(net, changed, places)
        moved = [(theirs[name] - ours[name]).flatten(1).norm(dim=1) for name in places]
        size = [ours[name].flatten(1).norm(dim=1).clamp(min=1e-12) for name in places]
        parts.append(torch.stack([one / norm for one, norm in zip(moved, size, strict=True)]))
    return torch.cat(parts, 1).cpu().numpy().astype(np.float64)


@dataclass(frozen=True, eq=False)
class MapPair:
    """One channel's maps of some images, clean and adversarial."""

    place: str
    channel: int
    clean: Maps
    adv: Maps


def _liveliest(maps: Float[Tensor, "B C h w"]) -> int:
    """The channel whose clean maps vary most over the image: one that shows something."""
    return int(maps.var(dim=(2, 3)).mean(0).argmax())


def map_pairs(
    net: nn.Module, x: Images, adv: Images, stage: int, channel: int | None
) -> list[MapPair]:
    """The maps at the end of a stage, and after its denoising block if it has one.

    The channel is the same in both; None: the one whose clean maps vary most. Raises BadValue for a
    stage or a channel that the network has not.
    """
    every = places_of(net)
    wanted = [name for name in every if name.removesuffix(DENOISED) == f"stage {stage}"]
    if not wanted:
        raise BadValue(f"--stage {stage}: the network has {', '.join(every)}.")
    places = {name: every[name] for name in wanted}
    clean, changed = features(net, x, places), features(net, adv, places)
    first = clean[wanted[0]]
    if channel is not None and not 0 <= channel < first.shape[1]:
        raise BadValue(f"--channel {channel}: stage {stage} has 0 .. {first.shape[1] - 1}.")
    shown = _liveliest(first) if channel is None else channel
    return [
        MapPair(name, shown, *(one[name][:, shown].cpu().numpy() for one in (clean, changed)))
        for name in wanted
    ]


def signs(x: Images, eps: float, seed: int) -> Images:
    """The images with noise of the attack's size: plus or minus eps at random, inside [0, 1]."""
    rng = torch.Generator().manual_seed(seed)
    noise = torch.randint(0, 2, x.shape, generator=rng).to(x) * 2 - 1  # the same on every device
    return (x + eps * noise).clamp(0, 1)


def in_order(several: Sequence[Sequence[str]]) -> list[str]:
    """All places of several networks: by stage, after a denoiser last."""
    return sorted(dict.fromkeys(name for one in several for name in one), key=lambda n: (
        int(n.split()[1]), n.endswith(DENOISED)))  # fmt: skip
