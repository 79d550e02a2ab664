"""A file with a reader, and how its content is edited; the common kinds of file."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from damage import edited

from fdbench.specs import digest

Bytes = Callable[[random.Random], bytes]


@dataclass(frozen=True)
class Target:
    """A file with valid content, how it is edited (None: by its bytes alone), how it is read."""

    path: Path
    read: Callable[[], object]
    edit: Bytes | None = None


def as_json(table: object) -> bytes:
    return json.dumps(table, indent=2).encode("utf-8", "surrogatepass")


def resealed(table: Any) -> bytes:
    """A JSON file whose check fits what was edited."""
    if isinstance(table, dict) and "check" in table:
        table["check"] = digest({key: value for key, value in table.items() if key != "check"})
    return as_json(table)


def json_file(path: Path, table: object, read: Callable[[], object]) -> Target:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(as_json(table))
    return Target(path, read, lambda rng: resealed(edited(rng, table)))


def text_file(path: Path, text: str, read: Callable[[], object]) -> Target:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return Target(path, read)


_TOML_VALUES = (
    '""', '"x"', "[]", "[[]]", "[1, 2]", "true", "-1", "1e400", "nan", "inf", "0", "9" * 5000,
    "9" * 23, "{}", '{ x = 1 }', '"../x"', '"\\u001b[31m"', "1979-05-27", '"1/0"', '"8"', '["x"]',
)  # fmt: skip


def toml(path: Path, text: str, read: Callable[[], object]) -> Target:
    path.parent.mkdir()
    path.write_text(text)

    def edit(rng: random.Random) -> bytes:
        lines = text.strip().splitlines()
        for _ in range(rng.randint(1, 2)):
            number = rng.randrange(len(lines))
            key, equals, _ = lines[number].partition(" = ")
            lines[number] = f"{key} = {rng.choice(_TOML_VALUES)}" if equals else ""
        return "\n".join(lines).encode()

    return Target(path, read, edit)
