"""Weights in a file, and the network that the user says they belong to."""

import pickle
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from fdbench.errors import FdbenchError
from fdbench.models.zoo.archive import file_hash
from fdbench.models.zoo.users_code import brief, users_code
from fdbench.models.zoo.weights_only import found_weights, not_safetensors, plain_content

# What counts steps in training and is read by no inference; files of old PyTorch lack it.
_COUNTER = "num_batches_tracked"
_LISTED = 6  # names in an error


@dataclass(frozen=True)
class WeightsFile:
    """The tensors of a file, by their names in it; `prefix` is what a wrapper added to all."""

    path: Path
    tensors: dict[str, Tensor]
    where: str  # "state_dict"; empty if at the file's top
    prefix: str
    sha256: str

    @property
    def classes(self) -> int | None:
        """The rows of the last matrix, as a classifier's last layer has one per class."""
        matrices = [one for one in self.tensors.values() if one.ndim == 2]
        return matrices[-1].shape[0] if matrices else None

    @property
    def account(self) -> str:
        """`resnet20.th: 65 tensors of state_dict without 'module.', sha256 12fca82f...`."""
        of = f" of {self.where}" if self.where else ""
        of += f" without {self.prefix!r}" if self.prefix else ""
        return f"{self.path.name}: {len(self.tensors)} tensors{of}, sha256 {self.sha256}"

    def _named_as(self, wanted: Iterable[str]) -> dict[str, Tensor]:
        """The tensors by the names of a network: without the wrapper's prefix, with it, or below
        `model.`, whichever has most of them.
        """
        names = set(wanted)
        bare = {name.removeprefix(self.prefix): one for name, one in self.tensors.items()}
        below = {f"model.{name}": one for name, one in bare.items()}
        return max((bare, self.tensors, below), key=lambda named: len(names & set(named)))

    def fill(self, net: nn.Module, optional: tuple[str, ...] = ()) -> None:
        """Loads the tensors. Raises FdbenchError that lists what is missing, too much, misshapen.

        Only the counters of batch norm and the `optional` names may be missing.
        """
        wanted = net.state_dict()
        tensors = self._named_as(wanted)
        missing = [name for name in wanted if name not in tensors and name not in optional]
        missing = [name for name in missing if not name.endswith(_COUNTER)]
        extra = [name for name in tensors if name not in wanted]
        other = [
            f"{name} is {tuple(tensor.shape)}, not {tuple(wanted[name].shape)}"
            for name, tensor in tensors.items()
            if name in wanted and wanted[name].shape != tensor.shape
        ]
        if missing or extra or other:
            texts = [_listed("missing ", missing), _listed("too much ", extra), _listed("", other)]
            raise FdbenchError(
                f"{self.path} does not hold the weights of this {type(net).__name__}:\n"
                + "\n".join(filter(None, texts))
            )
        net.load_state_dict({**wanted, **tensors})


def _listed(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f", and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"  {what}{', '.join(names[:_LISTED])}{more}"


def read_weights(path: Path) -> WeightsFile:
    """Returns the weights of a .safetensors file, or of one of `torch.save`, without its code.

    Of several state dicts it takes the one with most tensors. Raises FdbenchError for a file that
    is damaged, holds no weights, or holds objects whose opening can run code.
    """
    if path.suffix == ".safetensors":
        try:
            return _weights_in(load_file(path), path)
        except SafetensorError as reason:
            raise not_safetensors(path, reason) from reason
    return _weights_in(plain_content(path), path)


def _weights_in(content: object, path: Path) -> WeightsFile:
    found = found_weights(content)
    if found is None:
        raise FdbenchError(f"{path} holds a {type(content).__name__} without any weights.")
    keys, prefix, tensors = found
    return WeightsFile(path, tensors, "/".join(keys), prefix, file_hash(path))


def trusted_content(path: Path) -> nn.Module | WeightsFile:
    """Opens a pickle that may run code, because the user said so: its network, or its weights.

    Raises FdbenchError if its code fails, or it holds neither.
    """
    with users_code(f"opening {path}"):
        try:
            content = torch.load(path, map_location="cpu", weights_only=False)
        except (pickle.UnpicklingError, EOFError, RuntimeError) as reason:
            raise FdbenchError(f"{path} is damaged: {brief(reason)}") from reason
    parts = [content, *(content.values() if isinstance(content, dict) else ())]
    nets = [one for one in parts if isinstance(one, nn.Module)]
    return nets[0] if nets else _weights_in(content, path)
