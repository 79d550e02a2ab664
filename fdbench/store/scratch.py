"""Intermediate results of the current batch, so that a kill loses only a part of it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from torch import Tensor

from fdbench.console import warn
from fdbench.randomness import ImageId
from fdbench.store.tensors import Damaged, read_sealed, write_sealed

_OWNER = "batch"  # metadata: the hash of the run, the batch and the version


class BatchScratch:
    """A file of intermediate results of one batch of images.

    A file left by another run, another batch or another version of fdbench is ignored, a damaged
    one removed with a warning: the batch starts over.

    Args:
        run: RunInfo.key.
    """

    def __init__(self, path: Path, ids: Sequence[ImageId], run: str = "") -> None:
        self.path = path
        owner = json.dumps([version("fdbench"), run, *ids])
        self._owner = hashlib.sha256(owner.encode()).hexdigest()

    def load(self) -> dict[str, Tensor] | None:
        """The tensors saved for this batch, or None."""
        if not self.path.is_file():
            return None
        try:
            tensors, metadata = read_sealed(self.path)
        except Damaged as reason:
            warn(f"{reason.message} The batch in progress starts over.")
            self.clear()
            return None
        return tensors if metadata.get(_OWNER) == self._owner else None

    def save(self, tensors: Mapping[str, Tensor]) -> None:
        """Replaces the saved tensors, completely or not at all."""
        write_sealed(self.path, tensors, {_OWNER: self._owner})

    def clear(self) -> None:
        """Removes the file; call it once the rows of the batch are written."""
        self.path.unlink(missing_ok=True)
