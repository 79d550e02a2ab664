"""What happens to files: bits flip, ends are cut off, values are edited to other types."""

import json
import random
from collections.abc import Callable
from copy import deepcopy
from typing import Any

# Values that someone's edit, another program or another version may leave anywhere in a file.
NASTY: tuple[Any, ...] = (
    None, True, 0, -1, 7, 2**63, -(2**63), 10**400, 0.5, -0.0, 1e308, float("inf"), float("nan"),
    "", "x", "x" * 300, "../../x", "/etc/passwd", "a/b", "\x1b[31m", "a\nb", "\u202e", "\ud800",
    "$x$",     [], [[]], [None], ["x"], [0, 0], {}, {"x": 1}, {"": {}}, {"pred": {"x": "y"}},
)  # fmt: skip

Mutation = Callable[[random.Random, bytes], bytes]


def flipped(rng: random.Random, content: bytes) -> bytes:
    """One to eight bits flipped."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 8) if changed else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(rng: random.Random, content: bytes) -> bytes:
    """The end, or a piece in the middle, is missing."""
    first, second = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    return content[:first] + (content[second:] if rng.random() < 0.5 else b"")


def overwritten(rng: random.Random, content: bytes) -> bytes:
    """A piece is replaced by zeros, noise, or another piece."""
    at, size = rng.randrange(len(content) + 1), rng.randint(1, 64)
    other = rng.randrange(len(content) + 1)
    piece = (bytes(size), rng.randbytes(size), content[other : other + size], b"[" * 5000)
    return content[:at] + rng.choice(piece) + content[at + size :]


BYTES: tuple[Mutation, ...] = (flipped, cut, overwritten)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if not isinstance(value, dict | list):
        return [path]
    keys: Any = value if isinstance(value, dict) else range(len(value))
    return [path, *(place for key in keys for place in _places(value[key], (*path, key)))]


def edited(rng: random.Random, table: Any) -> Any:
    """A copy of plain data in which one to three values are replaced, removed or renamed."""
    table = json.loads(json.dumps(table))
    for _ in range(rng.randint(1, 3)):
        places = [place for place in _places(table) if place]
        if not places:
            return rng.choice(NASTY)
        *path, key = rng.choice(places)
        parent = table
        for step in path:
            parent = parent[step]
        if rng.random() < 0.15:
            del parent[key]
        elif rng.random() < 0.1 and isinstance(parent, dict):
            parent[str(rng.choice(NASTY))[:20]] = parent.pop(key)
        else:
            parent[key] = deepcopy(rng.choice(NASTY))
    return table
