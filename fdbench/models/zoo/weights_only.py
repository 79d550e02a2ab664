"""Files that hold weights without their network: the loader to write, ready to paste."""

import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from fdbench.errors import FdbenchError
from fdbench.models.zoo.archive import archive_entries
from fdbench.models.zoo.users_code import brief

_AGAIN = "Copy it again from where it came from, or train again; keep this one until that worked."
_NO_FILE = "{path} is truncated or not a file of torch.save ({reason}).\n" + _AGAIN
# DataParallel, torch.compile, and what a LightningModule usually calls its network.
_WRAPPERS = ("module.", "_orig_mod.", "model.", "net.")
# The format before PyTorch 1.6, or damage: the error does without the names of classes.
_NO_NAMES = (
    pickle.UnpicklingError, ArithmeticError, AttributeError, EOFError, LookupError, OSError,
    RuntimeError, TypeError, ValueError,
)  # fmt: skip
_DEEPEST = 3  # mappings inside mappings, in checkpoints of training scripts


@dataclass(frozen=True)
class _Weights:
    """A state dict in a file."""

    keys: tuple[str, ...]  # that lead to it: ("state_dict",)
    shapes: dict[str, tuple[int, ...]]

    @property
    def prefix(self) -> str:
        """What all names begin with, if it is the name of a wrapper: "_orig_mod.module."."""
        prefix = ""
        while longer := [
            prefix + one
            for one in _WRAPPERS
            if all(name.startswith(prefix + one) for name in self.shapes)
        ]:
            prefix = longer[0]
        return prefix

    @property
    def classes(self) -> int | None:
        """The rows of the last matrix, as a classifier's last layer has one per class."""
        matrices = [shape for shape in self.shapes.values() if len(shape) == 2]
        return matrices[-1][0] if matrices else None


def _state_dicts(content: object, keys: tuple[str, ...] = ()) -> Iterator[_Weights]:
    """Yields every mapping from names to tensors."""
    if not isinstance(content, Mapping) or len(keys) > _DEEPEST:
        return
    shapes = {
        str(name): tuple(value.shape)
        for name, value in content.items()
        if isinstance(value, Tensor)
    }
    if shapes:
        yield _Weights(keys, shapes)
    for name, value in content.items():
        yield from _state_dicts(value, (*keys, str(name)))


def _largest(content: object) -> _Weights | None:
    return max(_state_dicts(content), key=lambda one: len(one.shapes), default=None)


def has_card(path: Path) -> bool:
    """Returns whether a file is one of fdbench's .safetensors.

    Raises FdbenchError if it should be a .safetensors file, and is none or cut short.
    """
    try:
        with safe_open(path, "pt") as file:
            return "card" in (file.metadata() or {})
    except SafetensorError as reason:
        if path.suffix != ".safetensors":
            return False
        raise not_safetensors(path, reason) from reason


def not_safetensors(path: Path, reason: SafetensorError) -> FdbenchError:
    """Returns the error for a .safetensors file that is none, or cut short."""
    return FdbenchError(f"{path} is truncated or not a safetensors file ({reason}).\n{_AGAIN}")


def found_weights(content: object) -> tuple[tuple[str, ...], str, dict[str, Tensor]] | None:
    """Returns the keys to the largest state dict, its wrappers' prefix, and its tensors."""
    weights = _largest(content)
    if weights is None:
        return None
    for key in weights.keys:
        assert isinstance(content, Mapping)
        content = content[key]
    assert isinstance(content, Mapping)
    named = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    return weights.keys, weights.prefix, named


def no_card(path: Path) -> FdbenchError:
    """Returns the error for a readable .safetensors file that fdbench did not write."""
    with safe_open(path, "pt") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    return _loader(
        path, _Weights((), shapes), "safetensors.torch.load_file(ckpt)", "safetensors.torch"
    )


def no_network(path: Path) -> FdbenchError:
    """Returns the error for a file of `torch.save`. Raises FdbenchError for any other file."""
    content = plain_content(path)
    weights = _largest(content)
    if weights is None:
        return FdbenchError(f"{path} holds a {type(content).__name__} without any weights.")
    keys = "".join(f"[{key!r}]" for key in weights.keys)
    source = f'torch.load(ckpt, map_location="cpu", weights_only=True){keys}'
    return _loader(path, weights, source)


def _loader(path: Path, weights: _Weights, source: str, needed: str = "") -> FdbenchError:
    """Returns the error that shows how to load the weights."""
    prefix, classes = weights.prefix, weights.classes
    lines = ["import torch", *([f"import {needed}"] if needed else [])]
    lines += ["from mynet import Net  # your network's class", "", ""]
    lines += ["def load(ckpt):", f"    state = {source}"]
    if prefix:
        pair = f"name.removeprefix({prefix!r}): tensor for name, tensor in state.items()"
        lines += [f"    state = {{{pair}}}"]
    lines += [f"    net = Net({f'num_classes={classes}' if classes else ''})"]
    lines += ["    net.load_state_dict(state)", "    return net"]
    where = f" under {'/'.join(weights.keys)}" if weights.keys else ""
    outputs = f"; the last matrix has {classes} rows, perhaps its classes" if classes else ""
    return FdbenchError(
        f"{path} holds {len(weights.shapes)} tensors{where}, but not the network they belong to"
        f"{outputs}.\nWrite a loader.py, with your network's class:\n\n"
        + "\n".join(lines)
        + "\n\nThen type: "
        f"--model 'loader.py:load?ckpt={path}'\n"
        "The network takes RGB in [0, 1]. If it was trained on normalised images, end with\n"
        "    return fdbench.Preprocessed(net, mean=(...), std=(...))\n"
        f"Or, without a loader: --model {path} --factory mynet.py:Net --mean ... --std ...,\n"
        "with --arch tv:NAME or timm:NAME for a network of torchvision or timm"
    )


def _whole_objects(path: Path) -> FdbenchError:
    """Returns the error for pickled objects, which weights_only=True refuses."""
    names = _classes_in(path)
    listed = f" ({', '.join(names[:4])}{', ...' * (len(names) > 4)})" if names else ""
    return FdbenchError(
        f"{path} holds pickled Python objects{listed}, not only weights, and opening it can run "
        "code.\nIf you trust whoever made it, take the weights out, where its classes can be "
        "imported:\n\n"
        "import torch\n"
        f'content = torch.load({str(path)!r}, map_location="cpu", weights_only=False)\n'
        'torch.save(content.state_dict(), "weights.pt")  # or of the part that is the network\n'
        "\nThen type: --model weights.pt. Or let fdbench run its code: --trust-pickle"
    )


def plain_content(path: Path) -> object:
    """Returns what `torch.save` wrote. Raises FdbenchError if it is more than plain data."""
    with path.open("rb") as file:
        pickled = file.read(1) == pickle.PROTO  # the format before PyTorch 1.6
    if not pickled and not archive_entries(path):
        raise FdbenchError(_NO_FILE.format(path=path, reason="neither a zip file nor a pickle"))
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as reason:
        raise _whole_objects(path) from reason
    except Exception as reason:  # its unpickler raises anything on what is cut short
        raise FdbenchError(_NO_FILE.format(path=path, reason=brief(reason))) from reason


def _classes_in(path: Path) -> list[Any]:
    try:
        return torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except _NO_NAMES:
        return []
