"""The schemas of a run's files as JSON Schema, for programs that read them (contract C5).

Made from the code that checks them; `fdbench export schema` writes them. `FORMAT` is the version: a
file of an earlier one lacks some fields, and `read_info` reads it all the same. Free of torch.
"""

from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from fdbench.specs import AttackSpec
from fdbench.store.rows import ROW_FIELDS
from fdbench.store.run_json import FORMAT, RunInfo

Schema = dict[str, Any]
_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}


def schema_of(kind: object) -> Schema:
    """The schema of JSON values that fit an annotation."""
    if isinstance(kind, type) and kind in _PLAIN:
        return {"type": _PLAIN[kind]}
    if isinstance(kind, UnionType):
        return {"anyOf": [schema_of(part) for part in get_args(kind)]}
    if kind is AttackSpec:
        return _attack()
    if isinstance(kind, type) and is_dataclass(kind):
        return _table(kind)
    origin, parts = get_origin(kind) or kind, get_args(kind)
    if origin in (list, tuple):
        return {"type": "array", "items": schema_of(parts[0])}
    if isinstance(origin, type) and hasattr(origin, "keys"):
        values = schema_of(parts[1]) if len(parts) > 1 else {}
        return {"type": "object", **({"additionalProperties": values} if values else {})}
    return {}


def _table(cls: type) -> Schema:
    """A dataclass as an object; fields without a default must be there."""
    hints = get_type_hints(cls)
    needed = [
        one.name for one in fields(cls) if one.default is MISSING and one.default_factory is MISSING
    ]
    names = [one.name for one in fields(cls)]
    return {
        "type": "object",
        "properties": {name: schema_of(hints[name]) for name in names},
        "required": needed,
    }


def _attack() -> Schema:
    """An AttackSpec as run.json holds it: the attack's own parameters are a table in it."""
    hints = get_type_hints(AttackSpec)
    names = ("attack", "norm", "eps", "targeted", "targets")
    properties = {name: schema_of(hints[name]) for name in names}
    return {
        "type": "object",
        "properties": {**properties, "parameters": {"type": "object"}},
        "required": [*names, "parameters"],
    }


def run_schema() -> Schema:
    """The schema of run.json."""
    table = _table(RunInfo)
    table["properties"] |= {
        "format": {"const": FORMAT},
        "name": {"type": "string", "description": "the folder's, from a hash of the settings"},
        "check": {"type": "string", "description": "digest of all other fields"},
    }
    table["required"] += ["format", "name", "check"]
    return {"$schema": _DRAFT, "title": f"fdbench run.json, format {FORMAT}", **table}


def row_schema() -> Schema:
    """The schema of a line of rows-RANK.jsonl; an attack may add fields of its own."""
    properties = {
        name: {**schema_of(field.kind), "description": field.meaning}
        for name, field in ROW_FIELDS.items()
    }
    return {
        "$schema": _DRAFT,
        "title": f"fdbench row, format {FORMAT}",
        "type": "object",
        "properties": properties,
        "required": [name for name, field in ROW_FIELDS.items() if field.required],
    }
