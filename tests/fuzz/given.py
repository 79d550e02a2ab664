"""Files that people hand to fdbench: weights, images, claims, options."""

import contextlib
import io
import json
import random
from collections import OrderedDict
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from safetensors.torch import save
from target import Target, json_file, toml

from fdbench.commands.cli import main
from fdbench.data.claimed import read_claimed
from fdbench.models.zoo.weights_file import read_weights
from fdbench.reporting.robustbench import read_entry

_WEIGHTS = {"conv.weight": torch.ones(4, 3, 3, 3), "fc.weight": torch.ones(10, 4)}
_OBJECTS: tuple[Any, ...] = (
    _WEIGHTS, {"state_dict": _WEIGHTS}, OrderedDict(_WEIGHTS), list(_WEIGHTS.values()), {},
    {"net": {"module.fc.weight": torch.ones(2, 2)}, "epoch": 3}, None, 7, "x", {1: torch.ones(1)},
    {"": torch.ones(())}, torch.ones(2), {"a": {"a": {"a": _WEIGHTS}}}, {"state_dict": None},
)  # fmt: skip
_IMAGES: tuple[Any, ...] = (
    torch.zeros(2, 3, 8, 8), torch.zeros(2, 8, 8, 3), torch.zeros(2, 3, 8, 8, dtype=torch.uint8),
    torch.zeros(0, 3, 8, 8), torch.zeros(3), torch.zeros(2, 3, 8, 8, dtype=torch.complex64),
    torch.full((2, 3, 8, 8), torch.nan), torch.zeros(2, 3, 0, 0), [torch.zeros(3, 8, 8)], None, "x",
    torch.zeros(2, 3, 8, 8, dtype=torch.float64), torch.zeros(2, 3, 8, 8).to_sparse(),
    torch.zeros(2, 3, 8, 8, dtype=torch.bool), torch.zeros(2, 3, 8, 8, device="meta"),
)  # fmt: skip
_LABELS: tuple[Any, ...] = (torch.zeros(2, dtype=torch.int64), torch.zeros(2), None, [0, 1], "x")


def torch_saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def weights_of_torch(folder: Path) -> Target:
    path = folder / "best.pt"
    path.write_bytes(torch_saved(_WEIGHTS))
    return Target(path, lambda: read_weights(path), lambda rng: torch_saved(rng.choice(_OBJECTS)))


def weights_of_safetensors(folder: Path) -> Target:
    path = folder / "best.safetensors"
    path.write_bytes(save(_WEIGHTS, {"format": "pt"}))
    return Target(path, lambda: read_weights(path))


def images_of_torch(folder: Path) -> Target:
    path = folder / "adv.pt"
    path.write_bytes(torch_saved({"adv_complete": _IMAGES[0], "y": _LABELS[0]}))

    def edit(rng: random.Random) -> bytes:
        images, labels = rng.choice(_IMAGES), rng.choice(_LABELS)
        key = rng.choice(("adv_complete", "adv", "", 3))
        return torch_saved(rng.choice((images, {key: images, "y": labels})))

    return Target(path, lambda: read_claimed(path, (0, 1)), edit)


def images_of_numpy(folder: Path) -> Target:
    path = folder / "adv.npz"
    np.savez(path, x_adv=np.zeros((2, 3, 8, 8), np.float32), y=np.arange(2))
    arrays: tuple[Any, ...] = (
        np.zeros((2, 8, 8, 3), np.uint8), np.zeros((2, 3, 8, 8)), np.zeros(()), np.array(["a"] * 2),
        np.zeros((2, 3, 8, 8), np.complex64), np.zeros((2, 3, 8, 8), np.uint16), np.arange(2),
        np.array([None, {}]), np.zeros((1,) * 32, np.uint8), np.zeros((2, 3, 8, 8), ">f4"),
    )  # fmt: skip

    def edit(rng: random.Random) -> bytes:
        buffer = io.BytesIO()
        np.savez(
            buffer, **{rng.choice(("x_adv", "z")): rng.choice(arrays), "y": rng.choice(arrays)}
        )
        return buffer.getvalue()

    return Target(path, lambda: read_claimed(path, (0, 1)), edit)


def one_array(folder: Path) -> Target:
    path = folder / "adv.npy"
    np.save(path, np.zeros((2, 3, 8, 8), np.float32))
    return Target(path, lambda: read_claimed(path, (0, 1)))


def claim(folder: Path) -> Target:
    table = {
        "link": "https://example.org", "name": "A network", "dataset": "cifar10", "eps": "8/255",
        "clean_acc": "89.7", "reported": "62.5", "autoattack_acc": "59.53", "external": None,
        "additional_data": True, "number_forward_passes": 1, "unreliable": False,
    }  # fmt: skip
    path = folder / "cifar10" / "Linf" / "A.json"
    return json_file(path, json.loads(json.dumps(table)), lambda: read_entry(path))


OPTIONS = """
[attack.pgd]
model = ["r20"]
iters = [10, 100]
eps = "8/255"
save-adv = true
limit = 20
[train]
epochs = 3
lr = 0.1
"""


def options(folder: Path) -> Target:
    path = folder / "configs" / "run.toml"

    def read() -> None:
        arguments = ["--config", str(path), "--show-config", "attack", "pgd"]
        with contextlib.suppress(click.ClickException):  # a value that an option refuses, named
            main.main(arguments, standalone_mode=False)

    return toml(path, OPTIONS, read)


GIVEN = {
    "weights.pt": weights_of_torch,
    "weights.safetensors": weights_of_safetensors,
    "images.pt": images_of_torch,
    "images.npz": images_of_numpy,
    "images.npy": one_array,
    "a claim": claim,
    "--config": options,
}
