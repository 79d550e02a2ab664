"""Plain data in, checked dataclasses out; hashes of plain data. Free of torch."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from fdbench.errors import unknown
from fdbench.units import parse_size


def pick(kind: str, given: str, allowed: Mapping[str, Any] | tuple[str, ...]) -> str:
    """Returns `given` if it is allowed; else raises BadValue, proposing the nearest name."""
    if given not in allowed:
        raise unknown(kind, given, allowed)
    return given


def strict(cls: type[Any], table: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`table` as arguments of the dataclass `cls`: refuses unknown keys, makes lists tuples."""
    names = [field.name for field in fields(cls)]
    for key in table:
        if key not in names:
            raise unknown(f"key in {where}", key, names)
    return {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}


def sizes(table: Any) -> Any:
    """`table` with sizes given as text (`eps = "16/255"`) converted to image units.

    What is no table comes back as it is, for `parsed` to refuse.
    """
    if not isinstance(table, Mapping):
        return table
    norm = str(table.get("norm", "linf"))
    return {
        key: parse_size(value, norm, key)
        if key in ("eps", "alpha") and isinstance(value, str)
        else value
        for key, value in table.items()
    }


def digest(content: Any) -> str:
    """16 hex digits that change when the content does; `content` is plain data or a dataclass."""
    plain = content if isinstance(content, dict | list) else asdict(content)
    return bytes_digest(json.dumps(plain, sort_keys=True).encode())


def bytes_digest(content: bytes) -> str:
    """The digest of what `digest` hashes: JSON with its keys in order."""
    return hashlib.sha256(content).hexdigest()[:16]
