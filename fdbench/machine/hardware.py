"""What a run records of the machine: versions, processor, device, revision."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import torch

_PACKAGES = ("fdbench", "torch", "torchvision", "numpy", "pyautoattack", "foolbox", "numba")

_CHECKOUT = Path(__file__).parent.parent.parent


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    table = Path("/proc/cpuinfo")
    lines = table.read_text().splitlines() if table.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _git(*words: str) -> str:
    """What git prints about the checkout; it only looks, and writes nothing into .git."""
    command = ["git", "--no-optional-locks", *words]
    done = subprocess.run(command, cwd=_CHECKOUT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _revision() -> str | None:
    """The commit of the checkout this package runs from, `-dirty` if edited; None if installed."""
    if not (_CHECKOUT / ".git").exists():
        return None
    try:
        commit = _git("describe", "--always", "--exclude=*", "--abbrev=12")
        edited = _git("status", "--porcelain", "--untracked-files=no")  # describe --dirty locks
    except (OSError, subprocess.CalledProcessError):  # no git, or one that distrusts the folder
        return None
    return f"{commit}-dirty" if edited else commit


def environment(device: torch.device) -> dict[str, str | int | None]:
    """Versions and hardware of a run on `device`; `threads` are those of one process."""
    return {
        "python": platform.python_version(),
        **{package: _version(package) for package in _PACKAGES},
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "revision": _revision(),
    }
