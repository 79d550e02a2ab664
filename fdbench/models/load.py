"""From what stands after --model to a network that can be attacked.

A reference is a name (a row with weights in results/checkpoints), a .safetensors file, or
`module:function`, a Python function without arguments that returns a network of RGB images in
[0, 1]. Nothing is downloaded.
"""

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from fdbench import recipes
from fdbench.errors import BadValue, FdbenchError, unknown
from fdbench.models.checkpoint import Card, fill, load_card, weights_hash
from fdbench.models.resnet import build


@dataclass(frozen=True)
class Model:
    """A frozen network in inference mode, RGB (B, 3, H, W) in [0, 1] -> logits (B, C)."""

    name: str
    ref: str
    net: nn.Module
    weights: str  # sha256 of parameters and buffers
    card: Card | None  # None for networks from elsewhere


def checkpoints(results: Path) -> dict[str, Path]:
    """Weights on this disk, by name."""
    return {path.stem: path for path in sorted((results / "checkpoints").glob("*.safetensors"))}


def open_model(ref: str, results: Path) -> Model:
    """The model behind a reference. Raises BadValue or FdbenchError saying what to type instead."""
    if ref.endswith(".safetensors") or "/" in ref:
        return _from_file(Path(ref), ref)
    if ":" in ref:
        return _from_function(ref)
    known = checkpoints(results)
    if ref in known:
        return _from_file(known[ref], ref)
    rows = recipes.files("models")
    if ref not in rows:
        hint = "Or give a .safetensors file, or module:function.\n`fdbench list models` shows all."
        raise unknown("model", ref, [*rows, *known], hint)
    recipe = recipes.model(ref)
    spec = recipe.spec
    words = f"fdbench train --arch {spec.arch}"
    words += f" --denoise {spec.denoise}" if spec.denoise != "none" else ""
    words += f" --denoise-at {spec.denoise_at}" if spec.denoise_at != "stages" else ""
    words += f" --block {spec.block}" if spec.block != "full" else ""
    ways = f"Train it: {words}"
    ways += f"\nOr fetch {recipe.weights}: fdbench import FILE.npz" if recipe.weights else ""
    raise FdbenchError(f"model {ref!r} has no weights in {results}/checkpoints.\n{ways}")


def _frozen(net: nn.Module) -> nn.Module:
    return net.eval().requires_grad_(False)


def _from_file(path: Path, ref: str) -> Model:
    tensors, card = load_card(path)
    net = build(card.spec)
    fill(net, tensors, str(path))
    return Model(card.name, ref, _frozen(net), card.weights, card)


def _from_function(ref: str) -> Model:
    module_name, _, function_name = ref.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)  # the user's own file lies where they stand
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as reason:
        if reason.name and not module_name.startswith(reason.name):
            raise  # their module was found; something it imports was not
        raise BadValue(
            f"no module {module_name!r} for --model {ref}, looked in {here} and in the environment."
        ) from reason
    function = getattr(module, function_name, None)
    if not callable(function):
        names = [name for name, value in vars(module).items() if callable(value)]
        raise unknown(f"function in {module_name}", function_name, names)
    net = function()
    if not isinstance(net, nn.Module):
        raise FdbenchError(f"{ref} returned {type(net).__name__}, not a torch.nn.Module.")
    net = _frozen(net)
    return Model(ref, ref, net, weights_hash(net.state_dict()), None)
