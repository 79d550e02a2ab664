"""Converts the authors' released networks: a Tensorpack .npz to a ModelSpec and our state dict.

Source: Xie et al. 2019, released code and weights, for TensorFlow 1. The result is the same
function: asymmetric SAME padding, BGR, x * 2/255 - 1. The ModelSpec holds all of that, so the
public input is RGB in [0, 1] as everywhere.
"""

import hashlib
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fdbench.data import UNREADABLE_NPZ
from fdbench.errors import FdbenchError
from fdbench.models.resnet import build
from fdbench.specs import ARCHS, ModelSpec

LICENCE = "CC-BY-NC-4.0"  # of the released weights, as their repository states it
SOURCE = "facebookresearch/ImageNet-Adversarial-Training (Xie et al. 2019)"
DENOISERS = ("none", "nonlocal-gauss", "nonlocal-dot")  # what the released code can build

Array = npt.NDArray[Any]
Shapes = Mapping[str, tuple[int, ...]]

_LISTED = 8  # faulty variables that one error names
# Training state that TensorFlow 1 and Tensorpack save too: counters, rates, optimiser slots.
_BESIDE = re.compile(
    r"global_step|learning_rate|beta[12]_power|EMA/.+"
    r"|.+/(?:Momentum|Adam|Adam_1|RMSProp|RMSProp_1|Adagrad|AccumGrad)"
)
_BLOCK = re.compile(r"group(\d)/block(\d+)/.+")
_PLACES = {"stages": r"group\1_denoise", "all": r"group\1/block\2/non_local"}
# Our names -> theirs: the layer, then the variable in it. `{place}` is one of _PLACES.
_HEADS = (
    (r"stem\.0\.", "conv0/"),
    (r"stages\.(\d+)\.block(\d+)\.shortcut\.", r"group\1/block\2/convshortcut/"),
    (r"stages\.(\d+)\.block(\d+)\.(conv\d)\.", r"group\1/block\2/\3/"),
    (r"stages\.(\d+)\.denoise(\d+)\.operation\.(theta|phi)\.", r"{place}/embedding_\3/"),
    (r"stages\.(\d+)\.denoise(\d+)\.", "{place}/conv/"),
    (r"fc\.", "linear/"),
)
_TAILS = {
    "conv.weight": "W",
    "weight": "W",
    "bias": "b",
    "bn.weight": "bn/gamma",
    "bn.bias": "bn/beta",
    "bn.running_mean": "bn/mean/EMA",
    "bn.running_var": "bn/variance/EMA",
}
_COUNTER = "num_batches_tracked"  # PyTorch's own, unused in inference
# Permutes a variable's axes to PyTorch's order: kernels are HWIO, matrices (in, out).
_AXES = {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}


@dataclass(frozen=True)
class Pack:
    """The content of one of the authors' .npz files: the network, its weights, their source."""

    spec: ModelSpec
    tensors: dict[str, Tensor]  # a state dict of `build(spec)`
    sha256: str  # of the file
    variables: int  # numbers in the network, batch norm's running statistics included


def theirs(name: str, spec: ModelSpec) -> str:
    """Returns the authors' name of one of our tensors: `conv0/bn/gamma` for `stem.0.bn.weight`."""
    for pattern, head in _HEADS:
        match = re.match(pattern, name)
        if match:
            layer = match.expand(head.replace("{place}", _PLACES[spec.denoise_at]))
            return layer + _TAILS[name[match.end() :]]
    raise KeyError(name)


def _named(spec: ModelSpec) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Returns our name -> (their name, their shape) for every variable of the network."""
    state = build(spec, device="meta").state_dict()
    named = {}
    for name, tensor in state.items():
        if not name.endswith(_COUNTER):
            shape = [0] * tensor.ndim
            for ours, axis in enumerate(_AXES[tensor.ndim]):
                shape[axis] = tensor.shape[ours]
            named[name] = theirs(name, spec), tuple(shape)
    return named


def _read(path: Path) -> dict[str, Array]:
    """Returns the network's variables by name, without `:0` and without training state."""
    if not zipfile.is_zipfile(path):
        raise FdbenchError(f"{path} is not a .npz file, or is cut short: fetch it again.")
    arrays: dict[str, Array] = {}
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            for entry in content.files:
                name = entry.removesuffix(":0")
                if _BESIDE.fullmatch(name):
                    continue
                if name in arrays:
                    raise FdbenchError(f"{path} holds {name} twice, with and without ':0'.")
                arrays[name] = np.asarray(content[entry])
    except UNREADABLE_NPZ as reason:
        raise FdbenchError(
            f"{path} has an array that can't be read ({reason}): fetch it again."
        ) from reason
    return arrays


def _depths(names: Iterable[str]) -> tuple[int, ...]:
    """Returns the number of residual blocks per stage, from the highest index in the names."""
    depths: dict[int, int] = {}
    for match in filter(None, map(_BLOCK.fullmatch, names)):
        stage, block = int(match[1]), int(match[2])
        depths[stage] = max(depths.get(stage, 0), block + 1)
    return tuple(depths.get(stage, 0) for stage in range(max(depths, default=-1) + 1))


def _detect_arch(shapes: Shapes, where: str) -> str:
    depths = _depths(shapes)
    if not depths:
        some = ", ".join(sorted(shapes)[:4]) or "nothing"
        raise FdbenchError(
            f"{where} is not one of the authors' networks: it holds {some}.\n"
            "They hold conv0/W, group0/block0/conv1/W, ..., linear/b."
        )
    kernel = shapes.get("group0/block0/conv2/W", (3, 3, 1, 1))  # (3, 3, inputs a group, outputs)
    groups = kernel[-1] // max(kernel[-2], 1) if len(kernel) == 4 else 1
    known = {name: arch for name, arch in ARCHS.items() if arch.block == "bottleneck"}
    for name, arch in known.items():
        if arch.blocks == depths and (arch.groups > 1) == (groups > 1):
            return name
    raise FdbenchError(
        f"{where} has {depths} residual blocks per stage in {groups} group(s): no known network.\n"
        + "Known: "
        + ", ".join(f"{name} {arch.blocks}" for name, arch in known.items())
        + "."
    )


def detect(shapes: Shapes, where: str) -> ModelSpec:
    """Returns the network whose variables have these names and shapes (theirs).

    A denoiser is Gaussian if and only if it has embeddings (paper, Sec. 4.1). Raises FdbenchError
    if there is no such network.
    """
    everywhere = any("/non_local/" in name for name in shapes)
    denoised = everywhere or any("_denoise/" in name for name in shapes)
    embedded = any("/embedding_" in name for name in shapes)
    return ModelSpec(
        arch=_detect_arch(shapes, where),
        denoise=("nonlocal-gauss" if embedded else "nonlocal-dot") if denoised else "none",
        denoise_at="all" if everywhere else "stages",
        padding="same-tf",
        order="bgr",
    )


def _refuse_contradiction(spec: ModelSpec, expected: Mapping[str, str | None], where: str) -> None:
    for field, value in expected.items():
        actual = getattr(spec, field)
        if value is not None and value != actual:
            flag = f"--{field.replace('_', '-')}"
            raise FdbenchError(
                f"{flag} {value} contradicts {where}, whose variables are those of {spec.name} "
                f"({flag} {actual}).\nLeave the flag out to use the file's."
            )


def _value_fault(name: str, array: Array) -> str | None:
    """Returns what is wrong with a variable's values, or None."""
    if array.dtype != np.float32:
        return f"{name} is {array.dtype}, not float32"
    if not np.isfinite(array).all():
        return f"{name} has values that are not finite"
    if name.endswith("variance/EMA") and (array < 0).any():
        return f"{name} has negative variances"
    return None


def _faults(
    named: Mapping[str, tuple[str, tuple[int, ...]]], arrays: Mapping[str, Array]
) -> list[str]:
    wanted = dict(named.values())
    faults = [f"missing {name}" for name in wanted if name not in arrays]
    faults += [f"unexpected {name}" for name in arrays if name not in wanted]
    for name, shape in wanted.items():
        array = arrays.get(name)
        if array is not None and array.shape != shape:
            faults.append(f"{name} is {array.shape}, not {shape}")
        elif array is not None and (fault := _value_fault(name, array)):
            faults.append(fault)
    return faults


def _converted(array: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array.transpose(_AXES[array.ndim])))


def read_pack(path: Path, expected: Mapping[str, str | None] | None = None) -> Pack:
    """Reads the network in an .npz of the authors' release.

    Args:
        path: the .npz, its names with or without `:0`; training state in it is ignored.
        expected: the `arch`, `denoise` and `denoise_at` that the user expects; None: any.

    Raises FdbenchError for a file that can't be read, an unknown network, variables that are
    missing, unexpected, misshapen or invalid (by name), and a network that contradicts `expected`.
    """
    arrays = _read(path)
    spec = detect({name: array.shape for name, array in arrays.items()}, str(path))
    _refuse_contradiction(spec, expected or {}, str(path))
    named = _named(spec)
    faults = _faults(named, arrays)
    if faults:
        more = f"\n  and {len(faults) - _LISTED} more" if len(faults) > _LISTED else ""
        listed = "\n  ".join(faults[:_LISTED])
        raise FdbenchError(f"{path} is not a complete {spec.name}:\n  {listed}{more}")
    variables = sum(array.size for array in arrays.values())
    tensors = {}
    for name, (their_name, _) in named.items():
        tensors[name] = _converted(arrays.pop(their_name))  # one copy at a time: they are large
        if name.endswith("running_var"):
            tensors[name.replace("running_var", _COUNTER)] = torch.tensor(0)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Pack(spec, tensors, digest, variables)
