"""Warnings that a run or a set keeps when a later session resumes it. Free of torch."""

from collections.abc import Iterable, Mapping


def merged(*warnings: Iterable[str]) -> tuple[str, ...]:
    """Each warning once, in the order of their first appearance."""
    return tuple(dict.fromkeys(text for some in warnings for text in some))


def changes(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """A warning if this session's environment differs from the first one's, else none."""
    differing = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    if not differing:
        return []
    listed = ", ".join(f"{key} {old.get(key)} -> {new.get(key)}" for key in differing)
    return [f"resumed in another environment: {listed}"]
