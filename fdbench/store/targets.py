"""The targets that a run took from a file, kept with it. Free of torch."""

import json
from collections.abc import Mapping

from fdbench.errors import FdbenchError
from fdbench.files import contents, parse_json, write_atomically
from fdbench.randomness import ImageId
from fdbench.specs import digest
from fdbench.store.workspace import RunPaths


def targets_digest(targets: Mapping[ImageId, int]) -> str:
    """The hash that a run's identity contains."""
    return digest(sorted(map(list, targets.items()), key=str))


def write_targets(paths: RunPaths, targets: Mapping[ImageId, int]) -> None:
    """Keeps the targets, so that verify can compare them with the rows'."""
    if not paths.targets.is_file():
        write_atomically(paths.targets, json.dumps(list(targets.items())) + "\n")


def read_targets(paths: RunPaths) -> dict[ImageId, int] | None:
    """The targets kept; None if there are none, as in runs of earlier versions.

    Raises FdbenchError for a malformed file.
    """
    if not paths.targets.is_file():
        return None
    try:
        pairs = parse_json(contents(paths.targets))
        for image, target in pairs:
            if type(image) not in (int, str) or type(target) is not int:
                raise TypeError(f"{image!r} and {target!r} are no image and its class")
        return dict(pairs)
    except (ValueError, TypeError) as reason:
        raise FdbenchError(f"{paths.targets} is not what fdbench wrote: {reason}.") from reason
