"""The warnings of a run or a set, and those that a resumed session adds. Free of torch."""

from collections.abc import Iterable, Mapping
from typing import Any


def merged(*warnings: Iterable[str]) -> tuple[str, ...]:
    """Each warning once, in the order of their first appearance."""
    return tuple(dict.fromkeys(text for some in warnings for text in some))


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    differing = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    if not differing:
        return []
    listed = ", ".join(f"{key} {old.get(key)} -> {new.get(key)}" for key in differing)
    return [f"resumed in another environment: {listed}"]
