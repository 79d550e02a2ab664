"""fdbench compare."""

import json
from pathlib import Path
from typing import Any

import click

from fdbench import api
from fdbench.commands.options import (
    OneOf,
    all_of,
    compute_options,
    data_options,
    eps_option,
    json_option,
    results_option,
    sample_option,
    seed_option,
    size,
    split_option,
    taken,
)
from fdbench.commands.results import show_folders
from fdbench.console import out, stoppable
from fdbench.errors import BadValue

# What says which runs to compare; every other option is about attacking.
_OF_RUNS = {"first", "second", "until_decided", "as_json", "results", "attack", "data"}

_options = all_of(
    click.option(
        "--until-decided", is_flag=True,
        help="Attack both on further images until a test decides, or the images end.",
    ),
    click.option(
        "--attack", help="Which attack [default: fast; without --until-decided: all runs].",
    ),
    click.option(
        "--set", "pairs", multiple=True, metavar="KEY=VALUE",
        help="A parameter of the attack, as in iters=20; may be repeated.",
    ),
    eps_option,
    click.option("--norm", type=OneOf(["linf", "l2"]), default="linf", show_default=True),
    data_options, split_option, sample_option,
    click.option("--limit", type=click.IntRange(min=1), help="At most the first N images."),
    click.option(
        "--batch-size", type=click.IntRange(min=1), default=250, show_default=True,
        help="Images per batch, and per look at the result.",
    ),
    seed_option, json_option, results_option, compute_options,
)  # fmt: skip


@click.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@_options
@click.pass_context
def compare(
    context: click.Context,
    /,
    first: str,
    second: str,
    until_decided: bool,
    as_json: bool,
    results: Path,
    **flags: Any,
) -> None:
    """Tell which of two models is more robust.

    By the runs there are, under every attack that both were run under, image by image. With
    --until-decided both are attacked, a batch at a time, until a test that may be looked at after
    every image decides at 5 %, or the images end: fewer images than a fixed number where the
    difference is large. A stopped command continues.
    """
    if not until_decided:
        _refuse_ignored(context)
        _compare_runs(first, second, as_json, results, flags)
        return
    attack, norm = flags.pop("attack") or "fast", flags.pop("norm")
    parameters = api.attack_settings(attack, flags.pop("pairs"), norm)
    eps = size(flags.pop("eps"), norm, "eps")
    request = api.AttackRequest(attack, parameters, norm, eps, targeted=False)
    data, run = taken(api.DataRequest, flags), taken(api.RunRequest, flags)
    compute = taken(api.Compute, flags)
    with stoppable():
        found = api.compare_until_decided((first, second), request, data, run, results, compute)
    if as_json:
        out.print(json.dumps(found.record), soft_wrap=True)
        return
    _show(found)
    show_folders(found.folders)


def _refuse_ignored(context: click.Context) -> None:
    """Raises BadValue for an option that only attacks would need."""
    default = click.core.ParameterSource.DEFAULT
    given = [
        param.opts[0]
        for param in context.command.params
        if param.name not in _OF_RUNS and context.get_parameter_source(str(param.name)) != default
    ]
    if given:
        raise BadValue(f"{given[0]} needs --until-decided: without it nothing is attacked.")


def _compare_runs(
    first: str, second: str, as_json: bool, results: Path, flags: dict[str, Any]
) -> None:
    table, text = api.compare_runs(results, first, second, flags["data"], flags["attack"])
    if as_json:
        out.print(table.to_json(orient="records"), soft_wrap=True)
    else:
        click.echo(text, nl=False, color=True)  # colours, if any, come from the renderer


def _show(found: "api.Decision") -> None:
    """Prints the decision in words."""
    record = found.record
    attack, n, e = record["attack"], record["n"], record["evidence"]
    ends = f"[{record['difference_low']:+.1f}, {record['difference_high']:+.1f}]"
    points = f"{record['difference']:+.1f} points {ends}"
    better = record["more_robust"]
    text = f"{better} is more robust" if better else "not distinguishable"
    out.print(f"{text} under {attack}: {found.first} less {found.second} is {points}.")
    out.print(
        f"Decided after {n} of {record['images']} images" if better else f"After all {n} images",
        f"(only {found.first} right on {record['only_first']}, only {found.second} on "
        f"{record['only_second']}; evidence {e:.3g}, 20 decides).",
    )
    if record["needed"]:
        out.print(f"A difference of one point would need about {record['needed']} images.")
