"""`tv:NAME[:WEIGHTS]`: torchvision's classifiers, with the preprocessing of their weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fdbench.errors import BadValue, FdbenchError, unknown
from fdbench.models.defences.preprocessed import Preprocessed
from fdbench.models.zoo.foreign import Foreign, verified_tensors


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


def from_torchvision(rest: str) -> Foreign:
    """Returns the torchvision classifier of `tv:NAME[:WEIGHTS]`; `rest` follows the `tv:`.

    Resizing, mean and std are those of the weights' own `transforms()`, without its crop. Raises
    BadValue for unknown names, FdbenchError if the weights file is missing or damaged.
    """
    from torchvision import models

    name, _, wanted = rest.partition(":")
    weights = _torchvision_weights(name, wanted)
    path = Path(torch.hub.get_dir(), "checkpoints", weights.url.rsplit("/", 1)[-1])
    if not path.is_file():
        raise FdbenchError(
            f"tv:{name} has no weights on this disk: {path} is missing, and fdbench does not "
            f"download it.\nFetch it: curl --create-dirs -o '{path}' {weights.url}"
        )
    tensors = verified_tensors(path, weights.url)
    # The initial weights drawn here are overwritten; the generator is restored (C3).
    with torch.random.fork_rng(devices=[]), _in_place_of_download(weights, tensors):
        net = models.get_model(name, weights=weights)
    preset = weights.transforms()
    px, kind = preset.crop_size[0], preset.interpolation.value
    antialias = bool(preset.antialias)
    wrapped = Preprocessed(net, px, preset.mean, preset.std, kind, antialias=antialias)
    return Foreign(f"tv:{name}:{weights.name}", wrapped)
