"""Opens the network that a --model reference names, ready to be attacked.

A reference is a name (a row with weights in results/checkpoints, or a network that an installed
package offers in the entry point group `fdbench.models`), a file (.safetensors from fdbench,
TorchScript, torch.export, weights with --arch or --factory), the user's code (zoo/code.py),
`tv:NAME[:WEIGHTS]` (torchvision), `timm:NAME[:TAG]`, `hf:OWNER/REPO`, `rb:DATA/THREAT/NAME`
(RobustBench) or `defense:DIR` (a submission); after a `#`, what the user states of it
(specs/stated.py). Nothing is downloaded unasked.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from fdbench.errors import BadValue
from fdbench.models.catalogue import OFFERED, ZOO
from fdbench.models.checkpoint import Card, fill, load_card, weights_hash
from fdbench.models.defences.preprocessed import Preprocessed, scaling
from fdbench.models.grafted import build_foreign
from fdbench.models.resnet import ResNet, build
from fdbench.models.stated import made_for, refuse_unknown_inputs, restated
from fdbench.models.unopened import missing_file, no_maker, no_model, no_onnx, no_weights
from fdbench.models.zoo.archive import (
    TRUST,
    archive_entries,
    file_hash,
    is_exported,
    is_torchscript,
    open_exported,
    open_torchscript,
)
from fdbench.models.zoo.code import Code, network_of, parse_code
from fdbench.models.zoo.consent import downloading
from fdbench.models.zoo.submission import Defense
from fdbench.models.zoo.weights_file import WeightsFile, read_weights, trusted_content
from fdbench.models.zoo.weights_only import has_card, no_card, no_network
from fdbench.specs import ModelSpec, Stated, recipe_files, split
from fdbench.store import Workspace
from fdbench.submission import fingerprint, open_submission

# What a file may be called, beside anything with a folder before it.
SUFFIXES = (
    ".safetensors", ".py", ".pt", ".pth", ".th", ".pt2", ".ts", ".ckpt", ".bin", ".model", ".pkl",
    ".onnx",
)  # fmt: skip


@dataclass(frozen=True)
class Model:
    """A frozen network in inference mode, RGB (B, 3, H, W) in [0, 1] -> logits (B, C)."""

    name: str
    ref: str
    net: nn.Module
    weights: str  # sha256 of parameters and buffers, or of the file or folder with all its code
    card: Card | None  # None for networks from elsewhere
    preprocessing: str = ""  # in words; empty if unknown
    warnings: tuple[str, ...] = ()  # what was changed to make it fit, for tables to repeat
    account: str = ""  # of the file of its weights, for display


def open_model(ref: str, workspace: Workspace, *, download: bool = False) -> Model:
    """Opens a reference. Raises BadValue or FdbenchError with what to type instead.

    For one name, weights in the workspace come before rows, and rows before installed packages.
    `download` lets the sources tv, timm and hf fetch missing weights.
    """
    bare, stated = split(ref)
    with downloading(download):
        if stated.arch or stated.factory or stated.trust_pickle:
            return _from_weights(Path(bare).expanduser(), stated)
        model = _opened(bare, workspace)
    return _restated(model, stated) if stated.preprocesses else model


def _restated(model: Model, stated: Stated) -> Model:
    """Returns the model with the preprocessing that the user states in place of its own."""
    if model.card or isinstance(model.net, Defense):
        raise BadValue(
            f"{model.ref} has its own preprocessing: leave --{next(iter(stated.named))} out."
        )
    net = restated(model.net, stated)
    name = f"{model.name}#{stated.fragment}"
    ref = f"{model.ref}#{stated.fragment}"
    weights = hash_elsewhere(name, net)
    words = net.description
    return replace(
        model, name=name, ref=ref, net=_frozen(net), weights=weights, preprocessing=words
    )


def _from_weights(path: Path, stated: Stated) -> Model:
    """Opens a file of weights with the network that the user names, or a pickle that he trusts."""
    if not path.is_file():
        raise missing_file(path, SUFFIXES)
    content = trusted_content(path) if stated.trust_pickle else read_weights(path)
    account, warnings = "", tuple[str, ...]()
    if stated.trust_pickle:
        warnings = (f"opened {path.name} with --trust-pickle: code in it may have run",)
    if isinstance(content, WeightsFile):
        if not (stated.arch or stated.factory):
            raise no_network(path)
        account, net = content.account, made_for(content, stated)
    elif stated.arch or stated.factory:
        raise BadValue(f"{path} holds a whole network: leave --arch and --factory out.")
    else:
        net = content
    refuse_unknown_inputs(net, stated, path.name)
    net = restated(net, stated)
    told = _absolute(stated)
    name = f"{path.name}#{stated.without_folders.fragment}"
    ref = f"{path.resolve()}#{told.fragment}"
    model = _from_elsewhere(path.name, ref, net, name)
    return replace(model, account=account, warnings=(*warnings, *model.warnings))


def _absolute(stated: Stated) -> Stated:
    code = parse_code(stated.factory) if stated.factory else None
    return replace(stated, factory=code.ref) if code else stated


def _opened(ref: str, workspace: Workspace) -> Model:
    """Opens a reference that states nothing."""
    code = parse_code(ref)
    if code and code.is_file:
        if not Path(code.home).is_file():
            raise missing_file(Path(code.home), (".py",))
        return _from_code(code)
    prefix, _, rest = ref.partition(":")
    path, _, query = ref.partition("?")
    if "/" in prefix or (prefix == ref and path.endswith(SUFFIXES)):
        return _from_file(Path(path).expanduser(), query)
    if rest and prefix in ZOO:
        foreign = ZOO[prefix](rest)
        return replace(_from_elsewhere(foreign.name, ref, foreign.net), account=foreign.account)
    if rest and prefix == "defense":
        return _from_submission(Path(rest))
    if code:
        return _from_code(code)
    return _by_name(ref, workspace)


def _by_name(name: str, workspace: Workspace) -> Model:
    checkpoints = workspace.weights()
    if name in checkpoints:
        return _from_checkpoint(checkpoints[name], name)
    rows = recipe_files("models")
    if name in rows:
        raise no_weights(name, workspace)
    if name in OFFERED:
        return _from_elsewhere(name, name, network_of(OFFERED[name], name))
    raise no_model(name, [*rows, *checkpoints, *OFFERED])


def _frozen(net: nn.Module) -> nn.Module:
    net = net.eval()
    for parameter in net.parameters():  # TorchScript has no requires_grad_ of all
        parameter.requires_grad = False
    return net


def _unfilled(spec: ModelSpec) -> ResNet:
    """Returns the network of `spec` with uninitialised weights, for `fill` to overwrite.

    Only what no checkpoint holds is set. Drawing initial weights would take longer than reading.
    """
    net = build(spec, device="meta").to_empty(device=torch.get_default_device())
    net.normalise.reset_parameters()
    return net


def _from_file(path: Path, query: str) -> Model:
    if not path.is_file():
        raise missing_file(path, SUFFIXES)
    if path.suffix == ".py":
        raise no_maker(path)
    if path.suffix == ".onnx":
        raise no_onnx(path)
    names, whole = archive_entries(path), str(path.resolve())
    if is_torchscript(names):
        return _from_archive(path, whole, open_torchscript(path))
    if is_exported(names):
        return _from_archive(path, f"{whole}?{TRUST}", open_exported(path, trusted=query == TRUST))
    if path.suffix == ".safetensors" or has_card(path):
        return _from_checkpoint(path, whole)
    raise no_network(path)


def _from_archive(path: Path, ref: str, net: nn.Module) -> Model:
    return _in_float32(Model(path.name, ref, _frozen(net), file_hash(path), None))


def _from_checkpoint(path: Path, ref: str) -> Model:
    if not has_card(path):
        raise no_card(path)
    tensors, card = load_card(path)
    spec = card.spec
    if spec.foreign:
        foreign = build_foreign(spec)
        fill(foreign, tensors, str(path))
        return Model(card.name, ref, _frozen(foreign), card.weights, card, foreign.description)
    net = _unfilled(spec)
    fill(net, tensors, str(path))
    words = f"no resize, {spec.order.upper()}, {scaling(spec.mean, spec.std)}"
    return Model(card.name, ref, _frozen(net), card.weights, card, words)


def _from_submission(folder: Path) -> Model:
    """Opens a competition's defence, identified by the hash of all its files."""
    submission = open_submission(folder, "defense")
    net = _frozen(Defense(submission))
    ref = f"defense:{folder.resolve()}"
    return Model(submission.folder.name, ref, net, fingerprint(folder), None)


def _from_code(code: Code) -> Model:
    # Hashed without folders: the same file is the same network on another machine.
    return _from_elsewhere(code.name, code.ref, code.network(), code.name)


def _from_elsewhere(name: str, ref: str, net: nn.Module, hashed: str | None = None) -> Model:
    net = _frozen(net)
    words = net.description if isinstance(net, Preprocessed) else ""
    weights = hash_elsewhere(hashed or ref, net)
    return _in_float32(Model(name, ref, net, weights, None, words))


def _in_float32(model: Model) -> Model:
    """Converts weights of other precisions: verdicts are float32's (contract C4)."""
    tensors = [*model.net.parameters(), *model.net.buffers()]
    kinds = {tensor.dtype for tensor in tensors if tensor.is_floating_point()} - {torch.float32}
    if not kinds:
        return model
    names = " and ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
    warning = f"weights were {names}: evaluated in float32"
    return replace(model, net=model.net.float(), warnings=(*model.warnings, warning))


def in_memory_model(net: nn.Module) -> Model:
    """Returns a network of this process as a Model, frozen."""
    name = type(net).__name__
    return _from_elsewhere(name, f"memory:{type(net).__module__}.{type(net).__qualname__}", net)


def hash_elsewhere(ref: str, net: nn.Module) -> str:
    """Returns the sha256 of a third-party network.

    Includes its reference, without folders: two functions may wrap the same parameters in different
    code, and then results for one network don't hold for the other.
    """
    return hashlib.sha256(f"{ref}\n{weights_hash(net.state_dict())}".encode()).hexdigest()
