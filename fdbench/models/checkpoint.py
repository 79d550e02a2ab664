"""Checkpoints: safetensors with the card in the header, and a readable copy of the card (C8)."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fdbench.errors import FdbenchError
from fdbench.files import parse_json, write_atomically
from fdbench.specs import ModelSpec, TrainSpec, parsed
from fdbench.store import read_finished, write_sealed


@dataclass(frozen=True)
class Card:
    """Describes the weights: enough to rebuild the network and to know how it was trained."""

    name: str
    spec: ModelSpec
    train: TrainSpec | None = None
    data: dict[str, Any] = field(default_factory=dict)  # name, fingerprints, classes
    epochs: int = 0  # completed when these weights were saved
    finished: bool = False  # training ran to its end
    log: tuple[dict[str, Any], ...] = ()  # one entry per epoch
    environment: dict[str, Any] = field(default_factory=dict)
    weights: str = ""  # sha256, see weights_hash
    # For third-party weights; empty for our own.
    licence: str = ""
    source: str = ""
    source_sha256: str = ""  # of the file they were read from

    @classmethod
    def of(cls, table: object, where: str) -> "Card":
        """Builds a card from JSON. Raises FdbenchError for missing, unknown or wrong fields."""
        if not isinstance(table, dict) or "spec" not in table:
            raise FdbenchError(f"{where} has no card of this version: it has no spec.")
        train = table.get("train")
        parts = {
            "spec": ModelSpec.of(table["spec"], f"{where}, spec"),
            "train": TrainSpec.of(train, f"{where}, train") if train else None,
        }
        return parsed(cls, {**table, **parts}, f"{where}, card")


def weights_hash(state: dict[str, Tensor]) -> str:
    """Returns the sha256 of names, types, shapes and bytes: only equal networks share it."""
    total = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def save_card(path: Path, state: dict[str, Tensor], card: Card) -> None:
    """Writes the weights with the card in their header, and the card as a JSON file."""
    text = json.dumps(asdict(card), indent=1)
    write_sealed(path, state, {"card": text})
    write_atomically(path.with_suffix(".json"), text + "\n")


def load_card(path: Path) -> tuple[dict[str, Tensor], Card]:
    """Returns weights and card of a file from `save_card`, checked against their hash."""
    tensors, metadata = read_finished(path)
    if "card" not in metadata:
        raise FdbenchError(f"{path} has no card: it was not written by fdbench.")
    try:
        table = parse_json(metadata["card"])
    except ValueError as reason:
        raise FdbenchError(f"{path} has a card that can't be read: {reason}.") from reason
    card = Card.of(table, str(path))
    if weights_hash(tensors) != card.weights:
        raise FdbenchError(f"{path}: the weights are not the ones its card was written for.")
    return tensors, card


def fill(net: nn.Module, tensors: dict[str, Tensor], where: str) -> None:
    """Loads the weights. Raises FdbenchError listing every missing, unexpected or misshapen one."""
    wanted = net.state_dict()
    wrong = [f"missing {name}" for name in wanted if name not in tensors]
    wrong += [f"unexpected {name}" for name in tensors if name not in wanted]
    wrong += [
        f"{name} is {tuple(tensors[name].shape)}, not {tuple(wanted[name].shape)}"
        for name in wanted
        if name in tensors and tensors[name].shape != wanted[name].shape
    ]
    if wrong:
        raise FdbenchError(f"{where} does not fit this network:{os.linesep}  " + "\n  ".join(wrong))
    net.load_state_dict(tensors)
