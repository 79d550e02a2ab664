"""JSON with a digest of itself, so that a damaged or edited file is not read. Free of torch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fdbench.errors import SanityFailed
from fdbench.specs import digest

_SEAL = "check"


def sealed_json(table: Mapping[str, Any]) -> str:
    """The text of a JSON file of `table` and its digest."""
    written = json.loads(json.dumps(table))  # as it is read: tuples are lists
    return json.dumps({**table, _SEAL: digest(written)}, indent=2) + "\n"


def unsealed(table: Mapping[str, Any], path: Path, remedy: str, *, old: bool) -> dict[str, Any]:
    """The table that was sealed.

    Args:
        remedy: what to do about a file that was edited.
        old: the file may be of a version that sealed none.

    Raises:
        SanityFailed: if the digest does not fit the table, or there is none.
    """
    content = {key: value for key, value in table.items() if key != _SEAL}
    if table.get(_SEAL) != digest(content) and not (old and _SEAL not in table):
        raise SanityFailed(f"{path} was edited: its check does not fit its content.\n{remedy}")
    return content
