"""What `fdbench attack transfer` is told of a set that it is to make: options, and the plan."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from fdbench.commands.options import all_of, size
from fdbench.commands.runs import open_all
from fdbench.errors import BadValue, FdbenchError
from fdbench.specs import AttackerSpec, attacker_battery, default_eps
from fdbench.units import pixels

BATTERY = "caad2017"
LIMIT_S = 500.0  # a submission's, for 100 images: the competition's own (NIPS 2017 rules)
_DIRECTORY = click.Path(exists=True, file_okay=False, path_type=Path)
# What says how a set is made; with --use it is made already.
_MAKING = {
    "attackers": "--attackers",
    "surrogates": "--surrogate",
    "submissions": "--submission",
    "folders": "--adv-dir",
    "name": "--make",
    "eps": "--eps",
    "seed": "--seed",
    "targeted": "--targeted",
    "targets": "--targets",
    "time_limit": "--time-limit",
}

making_options = all_of(
    click.option(
        "--attackers", help=f"A battery of methods: `fdbench list attacks` [default: {BATTERY}]."
    ),
    click.option(
        "--surrogate",
        "surrogates",
        multiple=True,
        metavar="M[=WEIGHT]",
        help="A network the attackers know, like --model, and the weight of its logits; may be "
        "repeated.",
    ),
    click.option(
        "--submission",
        "submissions",
        type=_DIRECTORY,
        multiple=True,
        help="A competition's attack (run_attack.sh), as one more attacker; may be repeated.",
    ),
    click.option(
        "--adv-dir",
        "folders",
        type=_DIRECTORY,
        multiple=True,
        help="PNGs made elsewhere, ID.png each, as one more attacker; may be repeated.",
    ),
    click.option(
        "--make", "name", metavar="SET", help="Name of the set [default: readable, and a hash]."
    ),
    click.option("--eps", help="8/255, 8px or 0.0314 [default: 8/255, 16/255 on ImageNet's]."),
    click.option("--seed", type=click.IntRange(min=0), help="[default: 0]"),
    click.option(
        "--targeted/--untargeted",
        default=None,
        help="Towards a wrong class, or away from what the surrogates see [default: untargeted].",
    ),
    click.option(
        "--targets",
        help="Of a targeted set: random, or a CSV file (image,target) [default: the data's own, as "
        "caad:DIR has; else random].",
    ),
    click.option(
        "--time-limit",
        type=click.FloatRange(min=0, min_open=True),
        help=f"Seconds a submission has for 100 images [default: {LIMIT_S:g}].",
    ),
)


@dataclass(frozen=True)
class Typed:
    """What was typed of the images: where they come from, which of them."""

    results: Path
    device: Any
    data: str | None
    split: str | None
    limit: int | None
    batch_size: int | None
    further: Mapping[str, Any]  # data_dir, download, px


def refuse_contradictions(
    use: str | None, models: tuple[str, ...], making: Mapping[str, Any]
) -> None:
    """Raises BadValue for what can't be meant together."""
    if use is None:
        _refuse_to_make(making)
        return
    given = [flag for key, flag in _MAKING.items() if making[key] not in (None, ())]
    if given:
        raise BadValue(f"--use takes a set as it was made: {', '.join(given)} can't change it.")
    if not models:
        raise BadValue("--use needs a --model to judge the set by.")


def _refuse_to_make(making: Mapping[str, Any]) -> None:
    sources = (making["surrogates"], making["submissions"], making["folders"])
    if not any(sources):
        raise BadValue(
            "nobody attacks: give --surrogate MODEL, --submission DIR, --adv-dir DIR, or --use SET."
        )
    if making["attackers"] and not making["surrogates"]:
        raise BadValue(f"--attackers {making['attackers']} needs a --surrogate to know.")
    if making["targets"] is not None and making["targeted"] is False:
        raise BadValue(f"--targets {making['targets']} contradicts --untargeted.")
    if making["time_limit"] is not None and not making["submissions"]:
        raise BadValue("--time-limit is a --submission's.")
    name = making["name"]
    if name is not None and (not name or Path(name).name != name or name.startswith(".")):
        raise BadValue(f"--make {name!r} must be a plain file name.")


def plan(typed: Typed, making: Mapping[str, Any]) -> Any:
    """The set to be made (blackbox.Plan), every network, recipe and folder it needs opened."""
    from fdbench import blackbox
    from fdbench.data import open_data
    from fdbench.threat import Threat

    known = _known(making["surrogates"], typed.results)
    card = known.models[0].card if known else None
    ref = typed.data or (card.data["name"] if card else None) or "fashion-mini"
    images = open_data(ref, typed.split or "test", **typed.further)
    eps, seed = size(making["eps"], "linf", "eps") or default_eps(ref), making["seed"] or 0
    aim, limit_s = _aim(images, making), making["time_limit"] or LIMIT_S
    targeted, threat = aim is not None, Threat("linf", eps)
    attackers, titles = [], []
    warnings: tuple[str, ...] = ()
    if known:
        battery = attacker_battery(making["attackers"] or BATTERY)
        ensemble, warnings = blackbox.open_ensemble(known, images, typed.device)
        if not targeted:
            _refuse_untrained(battery.attackers, making["surrogates"], images, eps, typed.further)
        titles.append(battery.name)
        for one in battery.attackers:
            attackers.append(blackbox.by_method(one, ensemble, threat, seed, targeted))
    for path in making["submissions"]:
        attackers.append(blackbox.by_submission(path, eps, limit_s, targeted))
    ids = images.ids[: typed.limit]
    attackers += [blackbox.by_folder(path, eps, ids) for path in making["folders"]]
    titles += [path.resolve().name for path in (*making["submissions"], *making["folders"])]
    return blackbox.SetPlan(
        "-".join(titles), tuple(attackers), images, threat, typed.results, typed.device, seed,
        typed.limit, typed.batch_size or (100 if making["submissions"] else 250), making["name"],
        known, warnings, aim,
    )  # fmt: skip


def _aim(images: Any, making: Mapping[str, Any]) -> Any:
    """The classes to reach; None for an untargeted set."""
    chosen = making["targets"]
    if chosen is None and not making["targeted"]:
        return None
    from fdbench.attacks import from_file
    from fdbench.blackbox import Aim, known_targets

    if chosen == "random":
        return Aim()
    if chosen is not None:
        if not Path(chosen).is_file():
            raise BadValue(f"--targets {chosen!r} is neither random nor a CSV file.")
        return Aim(from_file(Path(chosen)))
    try:
        return Aim(known_targets(images))
    except FdbenchError as reason:
        raise FdbenchError(f"{reason.message}\nDraw targets instead: --targets random") from reason


def _refuse_untrained(
    attackers: tuple[AttackerSpec, ...],
    surrogates: tuple[str, ...],
    images: Any,
    eps: float,
    further: Mapping[str, Any],
) -> None:
    """Raises FdbenchError, with the command to be typed, for a generator that is not trained."""
    from fdbench.attacks import complete

    painters = [one for one in attackers if one.method == "generator"]
    for one in painters:
        path = Path(complete(one.method, one.knobs)["weights"])
        home = path.parent.parent
        if path.is_file() or path.parent.name != "attackers":  # where train-attacker writes
            continue
        words = ["fdbench", "train-attacker", *_training_data(images, further)]
        words += [word for text in surrogates for word in ("--surrogate", _with_weight(text)[0])]
        words += ["--eps", pixels(eps)]
        words += ["--name", path.stem] if path.stem != "generator" else []
        words += ["--results", str(home)] if home != Path("results") else []
        raise FdbenchError(
            f"the attacker {one.name} needs training first: there is no {path}.\n"
            f"{shlex.join(words)}\n"
            "or give --attackers another battery: `fdbench list attacks`."
        )


def _training_data(images: Any, further: Mapping[str, Any]) -> list[str]:
    """Flags of train-attacker for images like these; the competition's have no training images."""
    if images.name.startswith("caad:"):
        return ["--data", "folder:DIR", "--px", str(images.px)]
    words = ["--data", images.name]
    for key, flag in {"data_dir": "--data-dir", "px": "--px"}.items():
        words += [flag, str(further[key])] if further[key] is not None else []
    return words + (["--download"] if further["download"] else [])


def _known(typed: tuple[str, ...], results: Path) -> Any:
    """The surrogates and their weights; None if there are none."""
    from fdbench.blackbox import Known

    pairs = [_with_weight(text) for text in typed]
    models = tuple(open_all(tuple(ref for ref, _ in pairs), results)) if pairs else ()
    return Known(models, tuple(weight for _, weight in pairs)) if models else None


def _with_weight(text: str) -> tuple[str, float]:
    """`r20=0.5` as a reference and a weight; without a weight, 1."""
    ref, equals, weight = text.rpartition("=")
    if not equals:
        return text, 1.0
    try:
        return ref, float(weight)
    except ValueError as reason:
        raise BadValue(
            f"--surrogate {text}: {weight!r} is not a weight, like {ref}=0.5"
        ) from reason
