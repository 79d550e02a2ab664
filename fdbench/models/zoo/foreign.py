"""A network from elsewhere, and the tensors in a file that was fetched for it."""

import hashlib
import pickle
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fdbench.errors import FdbenchError
from fdbench.models.defences.preprocessed import Preprocessed


@dataclass(frozen=True)
class Foreign:
    """A network from elsewhere; `name` says which weights, where a reference may leave it open."""

    name: str
    net: Preprocessed


def verified_tensors(path: Path, url: str) -> dict[str, Tensor]:
    """The tensors in a file that was fetched from `url`, whose name ends in its hash."""
    again = f"Delete it and fetch {url} again."
    digits = re.search(r"-([0-9a-f]{8,})\.", path.name)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if digits and not found.startswith(digits[1]):
        raise FdbenchError(
            f"{path} is damaged or cut short: its sha256 begins with {found[: len(digits[1])]}, "
            f"not with {digits[1]} as its name says.\n{again}"
        )
    try:
        tensors: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as reason:
        raise FdbenchError(
            f"{path} does not hold tensors alone, and running what else is in it is not safe.\n"
            f"{again}\n({str(reason).splitlines()[0]})"
        ) from reason
    return tensors
