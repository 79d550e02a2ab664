"""From what stands after --model to a network that can be attacked.

A reference is a name (a row with weights in results/checkpoints, or a network that an installed
package offers in the entry point group `fdbench.models`), a .safetensors file, `tv:NAME[:WEIGHTS]`
(torchvision), `timm:NAME`, or `module:function`: a Python function without arguments that returns a
network of RGB images in [0, 1]. Nothing is downloaded.
"""

import hashlib
import importlib
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fdbench.errors import BadValue, FdbenchError, unknown
from fdbench.models.catalogue import OFFERED, ZOO
from fdbench.models.checkpoint import Card, fill, load_card, weights_hash
from fdbench.models.defences.preprocessed import Preprocessed, scaling
from fdbench.models.resnet import ResNet, build
from fdbench.models.zoo.submission import Defense
from fdbench.specs import ModelSpec, model_recipe, recipe_files
from fdbench.store import Workspace
from fdbench.submission import fingerprint, open_submission

FORMS = "a name, a .safetensors file, tv:NAME[:WEIGHTS], timm:NAME, defense:DIR or module:function"


@dataclass(frozen=True)
class Model:
    """A frozen network in inference mode, RGB (B, 3, H, W) in [0, 1] -> logits (B, C)."""

    name: str
    ref: str
    net: nn.Module
    weights: str  # sha256 of parameters and buffers
    card: Card | None  # None for networks from elsewhere
    preprocessing: str = ""  # in words; empty where the network keeps it to itself


def open_model(ref: str, workspace: Workspace) -> Model:
    """The model behind a reference. Raises BadValue or FdbenchError saying what to type instead.

    Of one name, weights in the workspace come before rows, and rows before installed packages.
    """
    prefix, _, rest = ref.partition(":")
    if ref.endswith(".safetensors") or "/" in prefix:
        return _from_file(Path(ref), ref)
    if rest and prefix in ZOO:
        found = ZOO[prefix](rest)
        return _from_elsewhere(found.name, ref, found.net)
    if rest and prefix == "defense":
        return _from_submission(Path(rest), ref)
    if prefix and rest:
        return _from_function(ref)
    known = workspace.weights()
    if ref in known:
        return _from_file(known[ref], ref)
    rows = recipe_files("models")
    if ref in rows:
        raise FdbenchError(
            f"model {ref!r} has no weights in {workspace.checkpoints}.\n{_ways(ref)}"
        )
    if ref in OFFERED:
        return _made_by(OFFERED[ref], ref)
    hint = f"--model takes {FORMS}.\n`fdbench list models` shows all names."
    raise unknown("model", ref, [*rows, *known, *OFFERED], hint)


def _ways(row: str) -> str:
    """How weights for a row of models/ are come by."""
    recipe = model_recipe(row)
    spec = recipe.spec
    words = f"fdbench train --arch {spec.arch}"
    words += f" --denoise {spec.denoise}" if spec.denoise != "none" else ""
    words += f" --denoise-at {spec.denoise_at}" if spec.denoise_at != "stages" else ""
    words += f" --block {spec.block}" if spec.block != "full" else ""
    fetch = f"\nOr fetch {recipe.weights}: fdbench import FILE.npz" if recipe.weights else ""
    return f"Train it: {words}{fetch}"


def _frozen(net: nn.Module) -> nn.Module:
    return net.eval().requires_grad_(False)


def _unfilled(spec: ModelSpec) -> ResNet:
    """The network of `spec` whose weights hold anything at all: `fill` overwrites each of them.

    Only what no checkpoint holds is set. Drawing initial weights would take longer than reading.
    """
    net = build(spec, device="meta").to_empty(device=torch.get_default_device())
    net.normalise.reset_parameters()
    return net


def _from_file(path: Path, ref: str) -> Model:
    tensors, card = load_card(path)
    net = _unfilled(card.spec)
    fill(net, tensors, str(path))
    spec = card.spec
    words = f"no resize, {spec.order.upper()}, {scaling(spec.mean, spec.std)}"
    return Model(card.name, ref, _frozen(net), card.weights, card, words)


def _from_submission(folder: Path, ref: str) -> Model:
    """A competition's defence: known by all its files, as a network is by its weights."""
    found = open_submission(folder, "defense")
    return Model(found.folder.name, ref, _frozen(Defense(found)), fingerprint(folder), None)


def _from_elsewhere(name: str, ref: str, net: nn.Module) -> Model:
    net = _frozen(net)
    words = net.description if isinstance(net, Preprocessed) else ""
    return Model(name, ref, net, hash_elsewhere(ref, net), None, words)


def in_memory_model(net: nn.Module) -> Model:
    """A network that only this process has; it is frozen."""
    name = type(net).__name__
    return _from_elsewhere(name, f"memory:{type(net).__module__}.{type(net).__qualname__}", net)


def hash_elsewhere(ref: str, net: nn.Module) -> str:
    """sha256 of a network that is not one of ours.

    Of its reference too: two functions may wrap the same parameters in other code, and then what
    is known of one network says nothing of the other.
    """
    return hashlib.sha256(f"{ref}\n{weights_hash(net.state_dict())}".encode()).hexdigest()


def _made_by(function: Callable[[], Any], ref: str) -> Model:
    with redirect_stdout(sys.stderr):  # what it says must not end up among our results
        net = function()
    if not isinstance(net, nn.Module):
        raise FdbenchError(f"{ref} returned {type(net).__name__}, not a torch.nn.Module.")
    return _from_elsewhere(ref, ref, net)


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
            f"no module {module_name!r} for --model {ref}, looked in {here} and in the "
            f"environment.\n--model takes {FORMS}."
        ) from reason
    function = getattr(module, function_name, None)
    if not callable(function):
        names = [name for name, value in vars(module).items() if callable(value)]
        raise unknown(f"function in {module_name}", function_name, names)
    return _made_by(function, ref)
