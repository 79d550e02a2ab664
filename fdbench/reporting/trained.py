"""By which recipe each network was trained, as its card says. Free of torch."""

from collections.abc import Iterable

from fdbench.store import ModelInfo


def recipe_name(model: ModelInfo) -> str:
    """The recipe that a training began with; empty for one without, and for other networks."""
    return str((model.train or {}).get("recipe") or "")


def trained_by(models: Iterable[ModelInfo]) -> tuple[str, ...]:
    """A note that names the recipes, with their epochs; none where no network has one."""
    found = {
        one.name: f"{one.name} by recipe {recipe_name(one)}, {one.train.get('epochs')} epochs"
        for one in models
        if one.train and recipe_name(one)
    }
    return (f"Trained here: {'; '.join(found[name] for name in sorted(found))}.",) if found else ()
