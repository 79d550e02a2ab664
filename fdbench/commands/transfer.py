"""fdbench attack transfer."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from fdbench import api
from fdbench.commands.options import (
    OneOf,
    all_of,
    compute_options,
    data_options,
    json_option,
    limit_option,
    results_option,
    sample_option,
    size,
    strict_option,
    taken,
)
from fdbench.commands.results import described, refuse_implausible, show_results
from fdbench.commands.stating import stating
from fdbench.console import out, stoppable
from fdbench.errors import BadValue

_LIMIT_S = 500  # a submission's, for 100 images: the competition's own (NIPS 2017 rules)
_DIRECTORY = click.Path(exists=True, file_okay=False, path_type=Path)
# Options of how a set is made; with --use it exists already.
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
    click.option("--attackers", help="A battery of `fdbench list attacks` [default: caad2017]."),
    click.option(
        "--surrogate",
        "surrogates",
        multiple=True,
        metavar="M[=WEIGHT]",
        help="A network the attackers use, as for --model, and the weight of its logits; may be "
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
        help="Classes of a targeted set: random, or a CSV file (image,target) [default: the data's "
        "own for caad:DIR, else random].",
    ),
    click.option(
        "--time-limit",
        type=click.FloatRange(min=0, min_open=True),
        help=f"Seconds a submission has for 100 images [default: {_LIMIT_S}].",
    ),
)


@click.command()
@making_options
@click.option("--use", metavar="SET", help="An existing set: its name or folder.")
@click.option(
    "--model",
    "models",
    multiple=True,
    help="A victim, named as for the other attacks; may be repeated [default: "
    "none, only make the set].",
)
@stating
@data_options
@click.option(
    "--split",
    type=OneOf(["test", "val", "held-out", "train"]),
    help="Split of the data set; val, ImageNet's name, is test [default: test, or the set's].",
)
@limit_option
@sample_option
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    help="Images per batch [default: 250; 100 for submissions].",
)
@strict_option
@json_option
@results_option
@compute_options
def transfer(
    use: str | None,
    models: tuple[str, ...],
    limit: int | None,
    batch_size: int | None,
    strict: bool,
    as_json: bool,
    results: Path,
    **flags: Any,
) -> None:
    """Attack models black-box: the attackers never see them (paper, Sec. 6.2).

    The adversarial images are made once, from surrogates, by a competition's submission or
    elsewhere, kept as a set under results/sets/, and judged on every --model. An image counts as
    robust only if it survives every attacker: fdbench report shows that, and each attacker.
    """
    refuse_contradictions(use, models, flags)
    data, compute = taken(api.DataRequest, flags), taken(api.Compute, flags)
    flags["eps"] = size(flags["eps"], "linf", "eps")
    with stoppable():
        if use:
            opened = api.use_set(use, data, results, compute)
        else:
            request = api.SetRequest(**flags)
            opened = api.make_set(request, data, limit, batch_size, results, compute)
        runs = api.judge(opened, models, limit, batch_size)
    stored = opened.stored
    if as_json:
        made = {"seconds": stored.seconds, "counts": stored.counts}
        _show_json(stored.path, made, runs)
    else:
        show_results(runs)
        for folder in (stored.path, *runs):
            out.print(str(folder), soft_wrap=True)
    if strict:
        refuse_implausible(runs)


def refuse_contradictions(
    use: str | None, models: tuple[str, ...], making: Mapping[str, Any]
) -> None:
    """Raises BadValue for options that contradict each other."""
    if use is None:
        _refuse_to_make(making)
        return
    given = [flag for key, flag in _MAKING.items() if making[key] not in (None, ())]
    if given:
        raise BadValue(f"--use takes a finished set: {', '.join(given)} can't change it.")
    if not models:
        raise BadValue("--use needs a --model to judge the set on.")


def _refuse_to_make(making: Mapping[str, Any]) -> None:
    sources = (making["surrogates"], making["submissions"], making["folders"])
    if not any(sources):
        raise BadValue(
            "no attacker: give --surrogate MODEL, --submission DIR, --adv-dir DIR, or --use SET."
        )
    if making["attackers"] and not making["surrogates"]:
        raise BadValue(
            f"--attackers {making['attackers']} needs a network: give --surrogate MODEL."
        )
    if making["targets"] is not None and making["targeted"] is False:
        raise BadValue(f"--targets {making['targets']} contradicts --untargeted.")
    if making["time_limit"] is not None and not making["submissions"]:
        raise BadValue("--time-limit is only for --submission.")
    name = making["name"]
    if name is not None and (not name or Path(name).name != name or name.startswith(".")):
        raise BadValue(f"--make {name!r} must be a plain file name.")


def _show_json(folder: Path, made: Mapping[str, Any], runs: list[Path]) -> None:
    """Prints the descriptions of the set and of the runs."""
    shown = {
        "set": {**json.loads((folder / "set.json").read_text()), **made},
        "runs": [described(run) for run in runs],
    }
    out.print(json.dumps(shown), soft_wrap=True)
