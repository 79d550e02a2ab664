"""What this installation can do: versions, devices, weights and caches."""

import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from fdbench.api.opening import workspace_at
from fdbench.machine import environment, has_bf16, start_torch

_OPTIONAL = ("numba", "timm", "transformers", "huggingface_hub", "robustbench")
_MIB = 2**20


def information(results: Path | str = "results") -> dict[str, str]:
    """Returns facts about this installation, by name, as `fdbench info` prints them.

    Args:
        results: the results folder, whose weights are listed.

    Returns:
        Versions, device, cores, bfloat16 arithmetic, optional packages, weights, and the folders
        where torchvision and the Hugging Face Hub keep theirs.

    Example:
        >>> "torch" in fdbench.api.information()
        True
    """
    device = start_torch("auto", None)
    facts = {name: str(value) for name, value in environment(device).items() if value is not None}
    bf16 = "yes" if has_bf16(device) else "emulated, slower than float32"
    return {
        "fdbench": version("fdbench"),
        **facts,
        "bfloat16": bf16,
        **{name: _installed(name) for name in _OPTIONAL},
        "weights here": ", ".join(workspace_at(results).weights()) or f"none in {results}",
        "torchvision's": _folder(Path(torch.hub.get_dir(), "checkpoints")),
        "the Hub's": _folder(_hub_cache()),
    }


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _hub_cache() -> Path:
    home = os.environ.get("HF_HOME", "~/.cache/huggingface")
    return Path(os.environ.get("HF_HUB_CACHE", f"{home}/hub")).expanduser()


def _folder(path: Path) -> str:
    """A folder, with the number and size of its files."""
    if not path.is_dir():
        return f"{path} (nothing there)"
    files = [one for one in path.rglob("*") if one.is_file() and not one.is_symlink()]
    size = sum(one.stat().st_size for one in files)
    return f"{path} ({len(files)} files, {size / _MIB:.0f} MiB)"
