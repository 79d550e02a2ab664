"""What an attack keeps of the batch under way, so that a kill costs a part of it, not the whole."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from torch import Tensor

from fdbench.randomness import ImageId
from fdbench.store.tensors import read_tensors, write_tensors

_OWNER = "batch"  # the tensor-free part: whose scratch this is


class BatchScratch:
    """A file that belongs to one batch of images; another batch's is as good as none.

    So is another version's of fdbench, which may have kept other things.
    """

    def __init__(self, path: Path, ids: Sequence[ImageId]) -> None:
        self.path = path
        whose = json.dumps([version("fdbench"), *ids])
        self._owner = hashlib.sha256(whose.encode()).hexdigest()

    def load(self) -> dict[str, Tensor] | None:
        """What was saved of this batch, if anything was."""
        if not self.path.is_file():
            return None
        tensors, metadata = read_tensors(self.path)
        return tensors if metadata[_OWNER] == self._owner else None

    def save(self, tensors: Mapping[str, Tensor]) -> None:
        """Replaces what was saved, whole or not at all."""
        write_tensors(self.path, tensors, {_OWNER: self._owner})

    def clear(self) -> None:
        """The batch's rows are written: nothing is needed any more."""
        self.path.unlink(missing_ok=True)
