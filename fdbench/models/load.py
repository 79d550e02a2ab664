"""Opens the network that a --model reference names, ready to be attacked.

A reference is a name (a row with weights in results/checkpoints, or a network that an installed
package offers in the entry point group `fdbench.models`), a .safetensors file, `tv:NAME[:WEIGHTS]`
(torchvision), `timm:NAME`, `defense:DIR` (a submission), or `module:function`: a Python function
without arguments that returns a network of RGB images in [0, 1]. Nothing is downloaded.
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
    preprocessing: str = ""  # in words; empty if unknown


def open_model(ref: str, workspace: Workspace) -> Model:
    """Opens a reference. Raises BadValue or FdbenchError with what to type instead.

    For one name, weights in the workspace come before rows, and rows before installed packages.
    """
    prefix, _, rest = ref.partition(":")
    if ref.endswith(".safetensors") or "/" in prefix:
        return _from_file(Path(ref), ref)
    if rest and prefix in ZOO:
        foreign = ZOO[prefix](rest)
        return _from_elsewhere(foreign.name, ref, foreign.net)
    if rest and prefix == "defense":
        return _from_submission(Path(rest), ref)
    if prefix and rest:
        return _from_function(ref)
    checkpoints = workspace.weights()
    if ref in checkpoints:
        return _from_file(checkpoints[ref], ref)
    rows = recipe_files("models")
    if ref in rows:
        raise FdbenchError(
            f"model {ref!r} has no weights in {workspace.checkpoints}.\n{_ways(ref)}"
        )
    if ref in OFFERED:
        return _made_by(OFFERED[ref], ref)
    hint = f"--model takes {FORMS}.\n`fdbench list models` shows all names."
    raise unknown("model", ref, [*rows, *checkpoints, *OFFERED], hint)


def _ways(row: str) -> str:
    """Returns how to get weights for a row of models/."""
    recipe = model_recipe(row)
    spec = recipe.spec
    command = f"fdbench train --arch {spec.arch}"
    command += f" --denoise {spec.denoise}" if spec.denoise != "none" else ""
    command += f" --denoise-at {spec.denoise_at}" if spec.denoise_at != "stages" else ""
    command += f" --block {spec.block}" if spec.block != "full" else ""
    fetch = f"\nOr fetch {recipe.weights}: fdbench import FILE.npz" if recipe.weights else ""
    return f"Train it: {command}{fetch}"


def _frozen(net: nn.Module) -> nn.Module:
    return net.eval().requires_grad_(False)


def _unfilled(spec: ModelSpec) -> ResNet:
    """Returns the network of `spec` with uninitialised weights, for `fill` to overwrite.

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
    """Opens a competition's defence, identified by the hash of all its files."""
    submission = open_submission(folder, "defense")
    net = _frozen(Defense(submission))
    return Model(submission.folder.name, ref, net, fingerprint(folder), None)


def _from_elsewhere(name: str, ref: str, net: nn.Module) -> Model:
    net = _frozen(net)
    words = net.description if isinstance(net, Preprocessed) else ""
    return Model(name, ref, net, hash_elsewhere(ref, net), None, words)


def in_memory_model(net: nn.Module) -> Model:
    """Returns a network of this process as a Model, frozen."""
    name = type(net).__name__
    return _from_elsewhere(name, f"memory:{type(net).__module__}.{type(net).__qualname__}", net)


def hash_elsewhere(ref: str, net: nn.Module) -> str:
    """Returns the sha256 of a third-party network.

    Includes its reference: two functions may wrap the same parameters in different code, and then
    results for one network don't hold for the other.
    """
    return hashlib.sha256(f"{ref}\n{weights_hash(net.state_dict())}".encode()).hexdigest()


def _made_by(function: Callable[[], Any], ref: str) -> Model:
    with redirect_stdout(sys.stderr):  # its output must not mix with our results
        net = function()
    if not isinstance(net, nn.Module):
        raise FdbenchError(f"{ref} returned {type(net).__name__}, not a torch.nn.Module.")
    return _from_elsewhere(ref, ref, net)


def _from_function(ref: str) -> Model:
    module_name, _, function_name = ref.partition(":")
    cwd = str(Path.cwd())
    if cwd not in sys.path:
        sys.path.insert(0, cwd)  # for a file of the user's in the working directory
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as reason:
        if reason.name and not module_name.startswith(reason.name):
            raise  # the module exists; something it imports does not
        raise BadValue(
            f"no module {module_name!r} for --model {ref}, looked in {cwd} and in the "
            f"environment.\n--model takes {FORMS}."
        ) from reason
    function = getattr(module, function_name, None)
    if not callable(function):
        names = [name for name, value in vars(module).items() if callable(value)]
        raise unknown(f"function in {module_name}", function_name, names)
    return _made_by(function, ref)
