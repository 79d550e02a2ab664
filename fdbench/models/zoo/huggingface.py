"""`hf:OWNER/REPO` and `hf:FOLDER`: image classifiers in timm's and transformers' format.

Only their libraries' own classes are used: no code of a repository ever runs.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fdbench.errors import FdbenchError
from fdbench.models.defences.preprocessed import Preprocessed
from fdbench.models.zoo.foreign import Foreign
from fdbench.models.zoo.hub import hub_file, package
from fdbench.models.zoo.timm import crop_of, timm_package
from fdbench.models.zoo.users_code import users_code
from fdbench.models.zoo.weights_file import WeightsFile, read_weights

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # the second is read as tensors only
_RESAMPLING = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers
_FORMS = "hf: opens image classifiers in timm's or transformers' format"


def from_hub(repo: str) -> Foreign:
    """Returns the classifier of `hf:OWNER/REPO`, or of `hf:FOLDER` with a repository's files.

    Its size, interpolation, mean and std are those of the repository's own metadata. Raises
    FdbenchError if files are missing, of another kind, or need code of the repository.
    """
    config = _json(repo, "config.json")
    if config is None:
        raise FdbenchError(
            f"hf:{repo} has no config.json in a folder of that name or in the local Hugging Face "
            f"cache, and fdbench downloads nothing unasked.\n"
            f"Add --download, or fetch it: hf download {repo}"
        )
    name = f"hf:{Path(repo).name if Path(repo).expanduser().is_dir() else repo}"
    if "architecture" in config:
        return Foreign(name, _of_timm(repo, config), _account(repo))
    if "model_type" in config:
        return Foreign(name, _of_transformers(repo, config), _account(repo))
    raise FdbenchError(f"hf:{repo}: config.json names no architecture.\n{_FORMS}.")


def _json(repo: str, name: str) -> dict[str, Any] | None:
    path = hub_file(repo, name)
    if path is None:
        return None
    try:
        table = json.loads(path.read_text())
    except ValueError as reason:
        raise FdbenchError(f"{path} is not JSON: {reason}") from reason
    if not isinstance(table, dict):
        raise FdbenchError(f"{path} is not a JSON object.")
    return table


def _weights(repo: str) -> WeightsFile:
    for name in _WEIGHTS:
        path = hub_file(repo, name)
        if path is not None:
            return read_weights(path)
    raise FdbenchError(
        f"hf:{repo} has none of {', '.join(_WEIGHTS)} here.\n"
        f"Add --download, or fetch it: hf download {repo}"
    )


def _account(repo: str) -> str:
    return _weights(repo).account


def _of_timm(repo: str, config: dict[str, Any]) -> Preprocessed:
    timm = timm_package()
    cfg = config.get("pretrained_cfg", config)  # older repositories have it at the top
    missing = [key for key in ("mean", "std", "input_size") if key not in cfg]
    if missing:
        raise _unknown_inputs(repo, missing)
    name, classes = config["architecture"], config.get("num_classes", cfg.get("num_classes"))
    if not timm.is_model(name):
        raise FdbenchError(f"hf:{repo} is a {name}, which this timm ({timm.__version__}) lacks.")
    with users_code(f"building {name}"), torch.random.fork_rng(devices=[]):
        net = timm.create_model(
            name, pretrained=False, num_classes=classes, **config.get("model_args", {})
        )
    _weights(repo).fill(net)
    px = cfg["input_size"][-1]
    edge = crop_of(px, cfg.get("crop_pct"), cfg.get("crop_mode"))
    kind = cfg.get("interpolation", "bicubic")
    return Preprocessed(net, px, cfg["mean"], cfg["std"], kind, source_crop=edge)


def _unknown_inputs(repo: str, missing: list[str]) -> FdbenchError:
    return FdbenchError(
        f"hf:{repo} does not say how its images were prepared: {', '.join(missing)} missing.\n"
        "Ask its authors, write a loader, and say it: fdbench.Preprocessed(net, px, mean, std)"
    )


class _Logits(nn.Module):
    """A classifier of transformers, returning its logits alone."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(pixel_values=x).logits
        return logits


def _of_transformers(repo: str, config: dict[str, Any]) -> Preprocessed:
    transformers = package(
        "transformers", "hf:OWNER/REPO of this format", "pip install 'fdbench[hf]'"
    )
    if "auto_map" in config:
        raise FdbenchError(
            f"hf:{repo} needs Python code of its repository, which fdbench does not run.\n"
            "If you trust it, load it in a loader of your own: --model loader.py:load"
        )
    inputs = _inputs(repo)
    with users_code(f"building hf:{repo}"), torch.random.fork_rng(devices=[]), _quiet():
        table = {key: value for key, value in config.items() if key != "model_type"}
        made = transformers.AutoConfig.for_model(config["model_type"], **table)
        net = transformers.AutoModelForImageClassification.from_config(made)
    _weights(repo).fill(net)
    return Preprocessed(_Logits(net), **inputs)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps transformers' own log, about speed and versions, off the terminal."""
    log = import_module("transformers.utils.logging")
    before = log.get_verbosity()
    log.set_verbosity_error()
    try:
        yield
    finally:
        log.set_verbosity(before)


def _inputs(repo: str) -> dict[str, Any]:
    """Returns what `preprocessor_config.json` says, as arguments of Preprocessed."""
    said = _json(repo, "preprocessor_config.json")
    if said is None:
        raise _unknown_inputs(repo, ["preprocessor_config.json"])
    normal = said.get("do_normalize", True)
    size = said.get("crop_size") if said.get("do_center_crop") else said.get("size")
    wanted = {"size": size, **({key: said.get(key) for key in _NORMAL} if normal else {})}
    if missing := [key for key, value in wanted.items() if value is None]:
        raise _unknown_inputs(repo, missing)
    # It computes (factor * p - mean) / std of pixels p = 255 x.
    factor = 255 * said.get("rescale_factor", 1 / 255) if said.get("do_rescale", True) else 255
    mean, std = (said["image_mean"], said["image_std"]) if normal else ((0.0,) * 3, (1.0,) * 3)
    sides: dict[str, int] = {"height": size} if isinstance(size, int) else dict(size or {})
    return {
        "px": sides.get("height", sides.get("shortest_edge")),
        "mean": [value / factor for value in mean],
        "std": [value / factor for value in std],
        "interpolation": _RESAMPLING.get(said.get("resample", 2), "bilinear"),
        "source_crop": _shortest(said.get("size")) if said.get("do_center_crop") else None,
        "order": "bgr" if said.get("do_flip_channel_order") else "rgb",
    }


def _shortest(size: int | dict[str, int] | None) -> int | None:
    """Returns the shortest edge that a repository's `size` means."""
    return size if isinstance(size, int) or size is None else size.get("shortest_edge")


_NORMAL = ("image_mean", "image_std")
