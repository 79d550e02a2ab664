"""`tv:NAME[:WEIGHTS]`: torchvision's classifiers, with the preprocessing of their weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fdbench.errors import BadValue, FdbenchError, unknown
from fdbench.models.defences.preprocessed import Preprocessed
from fdbench.models.zoo.consent import fetched, may_download
from fdbench.models.zoo.foreign import Foreign, verified_tensors

_WITH_HEADS = ("googlenet", "inception_v3")


@contextmanager
def _in_place_of_download(weights: Any, tensors: dict[str, Tensor]) -> Iterator[None]:
    """Makes torchvision's builders take `tensors` as those of `weights`.

    The builders handle the rest (sizes, renamed tensors, auxiliary heads); by themselves they would
    unpickle without `weights_only`, and download missing files.
    """
    weights.get_state_dict = lambda *_, **__: tensors
    try:
        yield
    finally:
        del weights.get_state_dict


def _torchvision_weights(name: str, wanted: str) -> Any:
    """Returns the entry of torchvision's table of weights; `wanted` "" is its default."""
    from torchvision import models

    known = torchvision_names()
    if name not in known:
        raise unknown("torchvision model", name, known)
    table = models.get_model_weights(name)
    try:
        weights = table[wanted or "DEFAULT"]
    except KeyError:
        raise unknown(f"weights of tv:{name}", wanted, [one.name for one in table]) from None
    if not weights.meta["categories"]:
        raise BadValue(f"tv:{name}:{wanted} is not a classifier: its last layers were not trained.")
    return weights


def torchvision_names() -> list[str]:
    """Returns the names of torchvision's classifiers."""
    from torchvision import models

    return models.list_models(module=models)  # its submodules hold detectors and others


def torchvision_network(name: str, classes: int) -> nn.Module:
    """Returns torchvision's network of that name with weights as it draws them.

    Raises BadValue for an unknown name.
    """
    from torchvision import models

    if name not in torchvision_names():
        raise unknown("torchvision model", name, torchvision_names())
    # Training's auxiliary heads are left out: they answer with a tuple, and no image needs them.
    heads = {"aux_logits": False, "init_weights": False} if name in _WITH_HEADS else {}
    net: nn.Module = models.get_model(name, weights=None, num_classes=classes, **heads)
    return net


def _weights_file(name: str, url: str) -> Path:
    """Returns the file that torchvision keeps for `url`, fetched if the user said so."""
    path = Path(torch.hub.get_dir(), "checkpoints", url.rsplit("/", 1)[-1])
    if not path.is_file() and may_download():
        path.parent.mkdir(parents=True, exist_ok=True)
        fetched(f"tv:{name}, {url}", lambda: _fetch(url, path))
    if not path.is_file():
        raise FdbenchError(
            f"tv:{name} has no weights on this disk: {path} is missing, and fdbench does not "
            f"download it unasked.\nAdd --download, or fetch it: "
            f"curl --create-dirs -o '{path}' {url}"
        )
    return path


def _fetch(url: str, path: Path) -> Path:
    torch.hub.download_url_to_file(url, str(path), progress=False)
    return path


def from_torchvision(rest: str) -> Foreign:
    """Returns the torchvision classifier of `tv:NAME[:WEIGHTS]`; `rest` follows the `tv:`.

    Size, mean and std are those of the weights' own `transforms()`; its crop is noted. Raises
    BadValue for unknown names, FdbenchError if the weights file is missing or damaged.
    """
    from torchvision import models

    name, _, wanted = rest.partition(":")
    weights = _torchvision_weights(name, wanted)
    path = _weights_file(name, weights.url)
    tensors = verified_tensors(path, weights.url)
    # The initial weights drawn here are overwritten; the generator is restored (C3).
    with torch.random.fork_rng(devices=[]), _in_place_of_download(weights, tensors):
        net = models.get_model(name, weights=weights)
    preset = weights.transforms()
    px, kind = preset.crop_size[0], preset.interpolation.value
    antialias = bool(preset.antialias)
    edge = preset.resize_size[0]
    wrapped = Preprocessed(
        net, px, preset.mean, preset.std, kind, antialias=antialias, source_crop=edge
    )
    return Foreign(f"tv:{name}:{weights.name}", wrapped)
