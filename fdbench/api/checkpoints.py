"""Imports released weights, and labels folders of images."""

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
    """Reads the network in an .npz that the paper's authors released.

    `expected` holds the arch, denoise and denoise_at that the user expects (None: any). Raises
    FdbenchError for a file that does not match.
    """
    return read_pack(file, expected)


def import_release(pack: Pack, name: str, replace: bool, results: Path) -> Path:
    """Stores the weights with a card that names licence and source; returns their file.

    Storing the same weights again is no error. Raises FdbenchError if other weights have that name,
    unless `replace` is set.
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
    """Describes a release, for display."""
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
    """Returns the weights file of a model that can be opened; None for code, or with arguments."""
    if "?" in ref or "#" in ref or (":" in ref and not ref.endswith(".safetensors")):
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
    """Labels a folder of images as lines `filename,label`, as CAAD 2018 required; resumable.

    Args:
        ref: the model, as for `--model`.
        folder: the images, PNG or JPEG.
        output: the file of lines; its journal is OUTPUT.jsonl.
        label_base: number of the first class.
        px: side to resize to; None: the network's, no resizing if it resizes by itself.
        batch_size: images per batch.
        skip_bad: leave out unreadable images instead of raising an error.
        results: the results folder; named weights are in its checkpoints/.
        compute: device and threads.

    Returns:
        How many images were labelled, and the reason for each that was not.

    Raises:
        FdbenchError: if images, which it names, can't be read and `skip_bad` is not set.
    """
    device = start_torch(compute.device, compute.threads)
    model = open_model(ref, workspace_at(results))
    size = side(model, px)
    resized = f"at {size} px" if size else f"as they are ({model.preprocessing})"
    say(f"{model.name} on {folder}: whole images {resized}, labels from {label_base}")
    return classify_folder(
        Classification(model, folder, output, device, size, label_base, batch_size, skip_bad)
    )
