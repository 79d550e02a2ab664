"""Makes a TrainSpec of user settings, the model's recipe and the profile. Free of torch."""

from dataclasses import asdict
from typing import TypedDict

from fdbench.errors import BadValue
from fdbench.specs import (
    SMALL,
    ModelSpec,
    TrainSpec,
    model_recipe,
    recipe_files,
    refuse_idle,
    settled,
    training_recipe,
)
from fdbench.units import parse_size, print_size, usual_sizes


class Settings(TypedDict, total=False):
    """The fields of TrainSpec that a user may set; None is unset. Sizes may be text ("8/255")."""

    epochs: int | None
    batch_size: int | None
    lr: float | None
    momentum: float | None
    weight_decay: float | None
    label_smoothing: float | None
    warmup: float | None
    drops: tuple[float, ...] | None
    augment: bool | None
    clean: bool | None
    attack_iters: int | None
    eps: float | str | None
    alpha: float | str | None
    norm: str | None
    targeted: bool | None
    clean_start: float | None
    probe_iters: int | None
    seed: int | None
    recipe: str | None
    method: str | None
    noise: float | None
    beta: float | None
    schedule: str | None
    average: float | None
    patience: int | None
    collapse: float | None
    sync_bn: bool | None
    precision: str | None
    attack_precision: str | None
    clean_first: float | None
    extra_data: str | None
    extra_share: float | None


_ATTACK_ONLY = (
    *("attack_iters", "eps", "alpha", "targeted", "norm", "clean_start", "probe_iters"),
    *("method", "noise", "beta", "attack_precision", "clean_first"),
)


FAST = "fast"  # the recipe for small images: better at equal time (results/README.md)
_PARTS = (
    *("method", "norm", "eps", "alpha", "attack_iters", "targeted", "clean_start"),
    *("schedule", "drops"),
)


def refuse_unused(settings: Settings) -> None:
    """Raises BadValue for attack settings in a training on clean images."""
    used = [name for name in _ATTACK_ONLY if settings.get(name) is not None]
    if settings.get("clean") and used:
        option = used[0].replace("_", "-")
        raise BadValue(f"--clean trains without an attack: --{option} has nothing to act on.")


def resolve(model: ModelSpec, data: str, settings: Settings, fastest: str = "fp32") -> TrainSpec:
    """Takes each setting from the user, else this data set's recipe, else its size's profile.

    A precision that is "auto" becomes `fastest`.
    """
    spec = _default(model, data, settings, fastest)
    given: dict[str, object] = {k: v for k, v in settings.items() if v is not None}
    chosen = settled(given, fastest)
    norm = str(chosen.get("norm", spec.norm))
    if norm != spec.norm and not ("eps" in chosen and "alpha" in chosen):
        raise BadValue(f"--norm {norm} needs its own --eps and --alpha.\n{usual_sizes(norm)}")
    for option in ("eps", "alpha"):
        if option in chosen:
            chosen[option] = parse_size(str(chosen[option]), norm, option)
    spec = TrainSpec.of({**asdict(spec), **chosen}, "the settings of a training")
    refuse_idle(spec, {name for name in chosen if name != "recipe"})
    return spec


def _default(model: ModelSpec, data: str, settings: Settings, fastest: str) -> TrainSpec:
    """Returns the settings of the named recipe, else of the model's own for these data.

    What it leaves open comes from the profile: the paper's, or SMALL for small images. These have
    the recipe FAST where nothing else is chosen.
    """
    small = model.classes < 100 or model.px <= 64
    profile = SMALL if small else {}
    own: dict[str, object] = {}
    if model.name in recipe_files("models"):
        own = dict(model_recipe(model.name).train.get(data, {}))
    named = settings.get("recipe")
    if small and not own and not named and not _chosen(settings):
        named = FAST
    if named:
        recipe = settled(training_recipe(named).train, fastest)
        return TrainSpec.of({**profile, **recipe, "data": data, "recipe": named}, named)
    return TrainSpec.of({**profile, **own, "data": data}, f"models/{model.name}.toml")


def _chosen(settings: Settings) -> bool:
    """Whether the user chooses an attack or a schedule: FAST's parts belong together."""
    return bool(settings.get("clean")) or any(settings.get(name) is not None for name in _PARTS)


def describe(name: str, model: ModelSpec, spec: TrainSpec, images: int, device: str) -> str:
    """Describes the training, including settings left at their defaults."""
    lines = [
        f"train {name}: {model.name}, {model.classes} classes, {model.px} px, on {spec.data} "
        f"({images} images), {device}",
        f"{spec.epochs} epochs, batch {spec.batch_size}, peak lr {spec.peak_lr:g}, weight decay "
        f"{spec.weight_decay:g}, label smoothing {spec.label_smoothing:g}, seed {spec.seed}",
    ]
    if spec.clean:
        return "\n".join([*lines, "on clean images, without an attack"])
    kind = "random targets" if spec.targeted else "untargeted"
    eps, alpha = print_size(spec.eps, spec.norm), print_size(spec.alpha, spec.norm)
    attack = f"{_maker(spec)}, {kind}, {spec.norm}, eps {eps}, alpha {alpha}"
    return "\n".join([*lines, f"on adversarial images: {attack}", *_extras(spec)])


def _maker(spec: TrainSpec) -> str:
    names = {
        "free": f"Free, {spec.attack_iters} steps on each batch",
        "n-fgsm": f"N-FGSM with noise of {spec.noise:g} eps",
        "trades": f"TRADES-{spec.attack_iters} with beta {spec.beta:g}",
    }
    return names.get(spec.method, f"PGD-{spec.attack_iters}")


def _extras(spec: TrainSpec) -> list[str]:
    """A line of what is not in every training; none if there is nothing."""
    parts = {
        f"recipe {spec.recipe}": spec.recipe,
        f"clean images for the first {spec.clean_first:.0%}": spec.clean_first,
        f"{spec.schedule} learning rate, highest at {spec.warmup:.0%}": spec.schedule != "steps",
        f"weights averaged with decay {spec.average:g}": spec.average,
        f"ends after {spec.patience} epochs without a better one": spec.patience,
        f"ends below {spec.collapse:.0%} of the best held-out accuracy": spec.collapse,
        f"{spec.extra_share:.0%} of each batch from {spec.extra_data}": spec.extra_data,
        "batch norm over all processes": spec.sync_bn,
        f"learning pass in {spec.precision}": spec.precision != "fp32",
        f"attack in {spec.attack_precision}": spec.attack_precision != "fp32",
    }
    said = ", ".join(text for text, holds in parts.items() if holds)
    return [said] if said else []
