"""Third-party networks, and the tensors in their downloaded files."""

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
    """A third-party network; `name` includes its weights, which a reference may leave open."""

    name: str
    net: Preprocessed
    account: str = ""  # of the file of its weights, for display


def verified_tensors(path: Path, url: str) -> dict[str, Tensor]:
    """Returns the tensors in a file from `url`, checked against the hash in its name."""
    again = f"Fetch it again: curl -o '{path}' {url}"
    digits = re.search(r"-([0-9a-f]{8,})\.", path.name)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digits and not digest.startswith(digits[1]):
        raise FdbenchError(
            f"{path} is damaged or cut short: its sha256 begins with {digest[: len(digits[1])]}, "
            f"not with {digits[1]} as in its name.\n{again}"
        )
    try:
        tensors: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as reason:
        raise FdbenchError(
            f"{path} holds more than tensors, and loading it is not safe.\n"
            f"{again}\n({str(reason).splitlines()[0]})"
        ) from reason
    return tensors
