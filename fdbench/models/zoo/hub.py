"""Files of the Hugging Face Hub: in a folder, in the local cache, or fetched if allowed."""

from importlib import import_module
from pathlib import Path
from typing import Any

from fdbench.errors import FdbenchError
from fdbench.models.zoo.consent import fetched, may_download


def package(name: str, form: str, install: str) -> Any:
    """Returns an optional package. Raises FdbenchError, with the line that installs it."""
    try:
        return import_module(name)
    except ModuleNotFoundError as reason:
        if reason.name != name:
            raise
        raise FdbenchError(
            f"{form} needs the package {name}, which is not installed.\n{install}"
        ) from reason


def hub_file(repo: str, name: str) -> Path | None:
    """Returns a file of a repository; None if it is not here, nor to be fetched."""
    folder = Path(repo).expanduser()
    if folder.is_dir():
        return folder / name if (folder / name).is_file() else None
    hub = package("huggingface_hub", "hf:OWNER/REPO", "pip install 'fdbench[hf]'")
    cached = hub.try_to_load_from_cache(repo, name)
    if isinstance(cached, str):  # else None, or a marker that the Hub has no such file
        return Path(cached)
    if cached is None and may_download() and _exists(hub, repo, name):
        return fetched(f"{name} of {repo}", lambda: hub.hf_hub_download(repo, name))
    return None


def _exists(hub: Any, repo: str, name: str) -> bool:
    """Returns whether the Hub has a file. Raises FdbenchError if it can't be asked."""
    try:
        return bool(hub.file_exists(repo, name))
    except Exception as reason:  # of whichever HTTP client it uses
        raise FdbenchError(
            f"{repo} can't be looked up: {type(reason).__name__}. Is there a network?"
        ) from reason
