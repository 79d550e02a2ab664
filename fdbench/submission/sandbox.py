"""What keeps a submission in its box, where the system has it: bubblewrap, else namespaces."""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_PROBE_S = 10.0
_GPUS = ("nvidia*", "dri", "kfd")  # devices that a submission may need
_NAMESPACES = (
    *("unshare", "--user", "--map-current-user", "--mount", "--pid", "--fork", "--kill-child"),
    *("--mount-proc", "--net", "--ipc", "--"),
)


@dataclass(frozen=True)
class Places:
    """The folders of a run: `code` is where it starts, `home` and `output` may be written."""

    code: Path
    home: Path
    inputs: Path
    output: Path


def _bubblewrap(places: Places) -> list[str]:
    """Everything can be read, two folders can be written; no network, no other processes."""
    words = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    for pattern in _GPUS:
        for device in map(str, sorted(Path("/dev").glob(pattern))):
            words += ["--dev-bind", device, device]
    for folder in map(str, (places.home, places.output)):
        words += ["--bind", folder, folder]
    words += ["--ro-bind", str(places.inputs), str(places.inputs), "--chdir", str(places.code)]
    return [*words, "--unshare-pid", "--unshare-net", "--unshare-ipc", "--die-with-parent", "--"]


def _namespaces(places: Places) -> list[str]:
    """No network, no other processes; what this user may write can be written."""
    return list(_NAMESPACES)


def _none(places: Places) -> list[str]:
    return []


_BOXES = {"bubblewrap": _bubblewrap, "namespaces": _namespaces, "none": _none}
# What a reader of the results should know of each.
CAVEATS = {
    "bubblewrap": "",
    "namespaces": "",
    "none": "it ran in no sandbox (this system has neither bubblewrap nor unshare): it could use "
    "the network and change this user's files",
}


def _works(words: Sequence[str]) -> bool:
    if shutil.which(words[0]) is None:
        return False
    try:
        done = subprocess.run([*words, "true"], capture_output=True, timeout=_PROBE_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


@cache
def kind() -> str:
    """The strongest of bubblewrap, namespaces and none that works here: tried once."""
    if _works(
        ["bwrap", "--ro-bind", "/", "/", "--proc", "/proc", "--unshare-pid", "--unshare-net"]
    ):
        return "bubblewrap"
    return "namespaces" if _works(_NAMESPACES) else "none"


def boxed(box: str, places: Places, command: Sequence[str]) -> list[str]:
    """The command inside a sandbox of this kind."""
    return [*_BOXES[box](places), *command]
