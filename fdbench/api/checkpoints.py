"""Weights taken over from elsewhere, and networks asked for classes."""

from collections.abc import Mapping
from pathlib import Path

import torch

from fdbench.api.opening import workspace_at
from fdbench.api.requests import Compute
from fdbench.console import say
from fdbench.errors import FdbenchError
from fdbench.evaluation import Classification, Classified, classify_folder, side
from fdbench.machine import environment, start_torch
from fdbench.models import (
    LICENCE,
    SOURCE,
    Card,
    Pack,
    load_card,
    open_model,
    read_pack,
    save_card,
    weights_hash,
)


def read_release(file: Path, expected: Mapping[str, str | None]) -> Pack:
    """The network in an .npz that the paper's authors released.

    `expected` holds what the user says of it (arch, denoise, denoise_at; None: nothing). Raises
    FdbenchError for a file that does not fit.
    """
    return read_pack(file, expected)


def import_release(pack: Pack, name: str, replace: bool, results: Path) -> Path:
    """Stores the weights with a card that names licence and source; the file of weights.

    The same weights again are no error. Raises FdbenchError for other weights of that name, unless
    `replace` is set.
    """
    path = workspace_at(results).checkpoint(name)
    weights = weights_hash(pack.tensors)
    if path.exists() and not replace:
        if load_card(path)[1].weights == weights:
            return path
        raise FdbenchError(
            f"{path} holds other weights.\nGive another --name, or --replace to overwrite them."
        )
    card = Card(
        name=name,
        spec=pack.spec,
        data={"name": "imagenet", "classes": pack.spec.classes, "px": pack.spec.px},
        finished=True,
        environment=environment(torch.device("cpu")),
        weights=weights,
        licence=LICENCE,
        source=SOURCE,
        source_sha256=pack.sha256,
    )
    save_card(path, pack.tensors, card)
    return path


def release_facts(pack: Pack, name: str) -> dict[str, str]:
    """What a release holds, for the eye."""
    spec = pack.spec
    placed = "" if spec.denoise == "none" else f", {spec.denoise_at}"
    return {
        "name": name,
        "architecture": spec.arch,
        "denoiser": f"{spec.denoise}{placed}",
        "variables": f"{pack.variables / 1e6:.6f} million, batch norm's statistics included",
        "input": f"RGB in [0, 1]; inside: {spec.order}, (x - 0.5) / 0.5, {spec.padding} padding",
        "source": SOURCE,
        "licence": LICENCE,
        "sha256": pack.sha256,
    }


def weights_behind(ref: str, results: Path) -> Path | None:
    """The file behind a model that can be opened; None for a module:function."""
    if ":" in ref and not ref.endswith(".safetensors"):
        return None
    workspace = workspace_at(results)
    open_model(ref, workspace)
    return workspace.weights().get(ref, Path(ref))


def classify(
    ref: str,
    folder: Path,
    output: Path,
    *,
    label_base: int = 0,
    px: int | None = None,
    batch_size: int = 50,
    skip_bad: bool = False,
    results: Path = Path("results"),
    compute: Compute = Compute(),  # noqa: B008 frozen
) -> Classified:
    """Labels a folder of images into lines `filename,label`, as CAAD 2018 asked; resumable.

    Args:
        ref: the model, as after `--model`.
        folder: the images; PNG and JPEG.
        output: the file of lines; beside it lies a journal until all images are labelled.
        label_base: the number of the first class.
        px: side to resize to; None: the network's, none if it resizes by itself.
        batch_size: images at a time.
        skip_bad: leave unreadable images out, instead of an error.
        results: folder under whose checkpoints/ named weights lie.
        compute: device and threads.

    Returns:
        How many images were labelled, and the reason for each that was not.

    Raises:
        FdbenchError: naming them, where images can't be read and `skip_bad` is not set.
    """
    device = start_torch(compute.device, compute.threads)
    model = open_model(ref, workspace_at(results))
    size = side(model, px)
    resized = f"at {size} px" if size else f"as they are ({model.preprocessing})"
    say(f"{model.name} on {folder}: whole images {resized}, labels from {label_base}")
    return classify_folder(
        Classification(model, folder, output, device, size, label_base, batch_size, skip_bad)
    )
