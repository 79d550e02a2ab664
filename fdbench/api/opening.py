"""Opens models and data by reference, and fills in settings that were left open (contract C7)."""

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import nn

from fdbench.api import inputs
from fdbench.api.requests import AttackRequest, DataRequest
from fdbench.attacks import checked
from fdbench.console import say, warn
from fdbench.data import DATA, Dataset, open_data, sampled
from fdbench.errors import BadValue, FdbenchError
from fdbench.models import Model, Preprocessed, in_memory_model, open_model
from fdbench.specs import AttackSpec, default_eps, default_targeted
from fdbench.store import Workspace
from fdbench.units import usual_sizes

EMBEDDED = "fashion-mini"  # for sets of images that no network of ours makes


def workspace_at(results: Path | str | Workspace) -> Workspace:
    """Returns the results folder as a Workspace."""
    return results if isinstance(results, Workspace) else Workspace(Path(results))


def load_model(ref: str, results: Path | str = "results") -> nn.Module:
    """Loads a network, frozen and in inference mode.

    Args:
        ref: a reference as for `--model`: a name, a .safetensors file, FILE.py:FUNCTION, a
            TorchScript or torch.export file, tv:NAME[:WEIGHTS], timm:NAME[:TAG], hf:OWNER/REPO,
            rb:DATA/THREAT/NAME, defense:DIR or module:function. Functions take arguments:
            "net.py:load?ckpt=best.pt&width=16". What the options --mean, --std, --arch, ... say
            stands after a #: "best.pt#arch=tv:resnet18&mean=0.5&std=0.5".
        results: the results folder; named weights are in its checkpoints/.

    Returns:
        The network, RGB (B, 3, H, W) in [0, 1] -> logits (B, C), its parameters float32 and
        without gradients.

    Raises:
        BadValue: if the reference is unknown.
        FdbenchError: if a file is missing or damaged, holds weights without a network, or if code
            in it fails.

    Example:
        >>> net = fdbench.load_model("mynets:small")
        >>> net = fdbench.load_model("./mynets.py:small")
    """
    return open_model(ref, workspace_at(results)).net


def model_of(model: str | nn.Module, workspace: Workspace) -> Model:
    """Opens a model by reference, or makes a frozen copy of a network in memory.

    Raises FdbenchError for a network in training mode.
    """
    if isinstance(model, str):
        return open_model(model, workspace)
    inputs.inference_mode(model)
    return in_memory_model(copy.deepcopy(model))


def open_models(
    refs: Sequence[str], workspace: Workspace, *, download: bool = False
) -> Iterator[Model]:
    """Yields each model named, or all trained or imported here, one in memory at a time.

    `download` lets missing weights of other libraries be fetched. Raises FdbenchError if there is
    no model.
    """
    chosen = list(refs) or list(workspace.weights())
    if not chosen:
        raise FdbenchError(
            f"no weights in {workspace.checkpoints}, and no --model given.\n"
            "Train one first: fdbench train --arch r20\n"
            "or name one: --model FILE.safetensors, --model module:function"
        )
    if not refs:
        say(f"models: {', '.join(chosen)} (all in {workspace.checkpoints})")
    for ref in chosen:
        model = open_model(ref, workspace, download=download)
        for warning in model.warnings:
            warn(f"{model.name}: {warning}")
        for line in _introduction(model):
            say(f"{model.name}: {line}")
        yield model


def _introduction(model: Model) -> list[str]:
    """What is printed of a network before it is used: its images, its file, its authors."""
    uncropped = model.net.uncropped if isinstance(model.net, Preprocessed) else ""
    card = model.card
    source = f"{card.source}, licence {card.licence}" if card and card.source else ""
    account = model.account.removeprefix(f"{model.name}: ")
    return [line for line in (model.preprocessing, uncropped, account, source) if line]


def open_images(model: Model, request: DataRequest) -> Dataset:
    """Opens the data set named, else the one the model was trained on.

    Raises BadValue, with the data sets that fit, for a network from elsewhere and no data named.
    """
    default = trained_on(model)
    if request.data is None and default is None:
        raise BadValue(
            f"which images? {model.ref} does not say what it was trained on: give --data.\n"
            f"{_fitting(model.net)}Your own images: --data folder:DIR or npz:PATH."
        )
    return open_requested(request, default or EMBEDDED)


def _fitting(net: nn.Module) -> str:
    """The named data sets whose images the network takes and whose classes it has, as a line."""
    fitting = []
    for name in DATA:
        kind = DATA[name]
        if kind.size and _outputs(net, kind.size[0]) == kind.size[1]:
            fitting.append(f"--data {kind.form}")
    return f"Fitting its input and its classes: {', '.join(fitting)}.\n" if fitting else ""


def _outputs(net: nn.Module, px: int) -> int | None:
    """The network's number of classes, or None if it takes no such images."""
    try:
        with torch.no_grad():
            logits = net(torch.full((2, 3, px, px), 0.5))
    except (RuntimeError, ValueError, AssertionError, TypeError):
        return None  # it says so itself, in its own words, once there are images
    return int(logits.shape[1]) if isinstance(logits, torch.Tensor) and logits.ndim == 2 else None


def trained_on(model: Model) -> str | None:
    """Returns the data set that a model's card names."""
    return model.card.data.get("name") if model.card else None


def open_requested(
    request: DataRequest, default: str, split: str = "test", sample: str | None = None
) -> Dataset:
    """Opens the data set, split and sample of a request, else `default`, `split` and `sample`.

    The split val is test; data ordered by class are balanced unless a sample is given.
    """
    part = request.split or split
    images = open_data(
        request.data or default,
        "test" if part == "val" else part,
        data_dir=request.data_dir,
        download=request.download,
        px=request.px,
    )
    return in_order(images, request.sample or sample)


def in_order(images: Dataset, sample: str | None) -> Dataset:
    """The images in the order of `sample`; prints it where none was given and it is not theirs."""
    ordered = sampled(images, sample)
    if sample is None and ordered.sample != images.sample:
        say(
            f"{images.name} is ordered by class: a --limit takes one image of each class in turn "
            f"(--sample {ordered.sample})"
        )
    return ordered


def complete(request: AttackRequest, model: Model, images: Dataset) -> AttackSpec:
    """Completes an attack's open settings from the model and the data (contract C7).

    Raises BadValue if the norm has no default eps.
    """
    norm, card, eps = request.norm, model.card, request.eps
    trained = card.train if card else None
    if eps is None and trained and not trained.clean and trained.norm == norm:
        eps = trained.eps
    if eps is None and norm != "linf":
        raise BadValue(
            f"--norm {norm} needs an --eps: {model.name} was not trained with that norm.\n"
            f"{usual_sizes(norm)}"
        )
    if eps is None:
        eps = default_eps(card.data["name"] if card else images.name)
    targeted = request.targeted
    if targeted is None:
        goals = request.parameters.goals
        targeted = default_targeted(images.classes) if len(goals) > 1 else goals == ("targeted",)
    spec = AttackSpec(request.attack, norm, eps, targeted, request.targets, request.parameters)
    return checked(spec)
