"""`timm:NAME[:TAG]`: timm's classifiers, with the preprocessing of their weights."""

import math
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from fdbench.errors import BadValue, FdbenchError, nearest, unknown
from fdbench.models.defences.preprocessed import Preprocessed
from fdbench.models.zoo.foreign import Foreign
from fdbench.models.zoo.hub import hub_file, package


def timm_package() -> Any:
    """Returns the package timm. Raises FdbenchError, with the line that installs it."""
    return package("timm", "timm:NAME", "pip install 'fdbench[timm]'")


def timm_network(name: str, classes: int) -> nn.Module:
    """Returns timm's network of that name, tag or not, with weights as it draws them.

    Raises BadValue for an unknown name.
    """
    timm = timm_package()
    architecture = name.partition(".")[0]
    if not timm.is_model(architecture):
        raise unknown("timm model", name, nearest(name, timm.list_models(), n=5))
    net: nn.Module = timm.create_model(architecture, pretrained=False, num_classes=classes)
    return net


def timm_names() -> list[str]:
    """Returns the names of timm's networks with weights, tags left out; none without timm."""
    try:
        known = import_module("timm").list_pretrained()
    except ModuleNotFoundError:
        return []
    return sorted({name.partition(".")[0] for name in known})


def _cached(cfg: Any) -> Path:
    """Returns a timm network's weights file in the local Hugging Face cache."""
    file = cfg.hf_hub_filename or "model.safetensors"
    if not cfg.hf_hub_id or not file.endswith(".safetensors"):
        raise FdbenchError(
            f"timm:{cfg.architecture}.{cfg.tag} has no .safetensors on the Hugging Face Hub, "
            "and loading other files can run code: choose other weights."
        )
    cached = hub_file(cfg.hf_hub_id, file)
    if cached is None:
        raise FdbenchError(
            f"timm:{cfg.architecture}.{cfg.tag} has no weights in the local Hugging Face cache, "
            "and fdbench does not download them unasked.\n"
            f"Add --download, or fetch them: hf download {cfg.hf_hub_id} {file}"
        )
    return cached


def from_timm(name: str) -> Foreign:
    """Returns the timm classifier of a reference `timm:NAME`, `timm:NAME.TAG` or `timm:NAME:TAG`.

    Size, interpolation, mean and std are those of its `pretrained_cfg`; its crop is noted. Raises
    BadValue for unknown names, FdbenchError if package or weights are missing or unfit.
    """
    timm, name = timm_package(), name.replace(":", ".", 1)
    if not timm.is_model_pretrained(name):
        known = timm.list_pretrained()
        same = [one for one in known if one.partition(".")[0] == name.partition(".")[0]]
        near = same or nearest(name, known, n=5)  # of two thousand
        raise unknown("timm model with weights", name, near, "timm.list_pretrained() shows all.")
    cfg = timm.get_pretrained_cfg(name)
    full = f"timm:{cfg.architecture}.{cfg.tag}" if cfg.tag else f"timm:{cfg.architecture}"
    channels, height, width = cfg.input_size
    if cfg.num_classes < 2 or channels != 3 or height != width:
        raise BadValue(
            f"{full} is not a classifier of square RGB images: {cfg.num_classes} classes, "
            f"input {cfg.input_size}."
        )
    path = _cached(cfg)
    # `custom_load` reads some authors' own formats; the Hub's file is safetensors.
    overlay = {"file": str(path), "custom_load": False}
    try:
        with torch.random.fork_rng(devices=[]):
            net = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay)
    except (SafetensorError, RuntimeError) as reason:
        raise FdbenchError(f"{path} does not hold the weights of {full}:\n{reason}") from reason
    edge = crop_of(width, cfg.crop_pct, cfg.crop_mode)
    return Foreign(
        full, Preprocessed(net, width, cfg.mean, cfg.std, cfg.interpolation, source_crop=edge)
    )


def crop_of(px: int, share: float | None, mode: str | None) -> int | None:
    """Returns the edge that timm resizes to before a crop of px; None if it crops otherwise."""
    return math.floor(px / share) if share and mode in (None, "center") else None
