"""Runs the attacks that a command line names."""

from typing import Any

from fdbench import api
from fdbench.commands.options import taken
from fdbench.commands.results import refuse_implausible, show_runs
from fdbench.console import stoppable


def run(requests: list[api.AttackRequest], flags: dict[str, Any]) -> None:
    """Runs each attack on each model; prints the results and the run folders."""
    names = ("as_json", "models", "results", "strict")
    as_json, models, results, strict = (flags.pop(name) for name in names)
    data, request = taken(api.DataRequest, flags), taken(api.RunRequest, flags)
    compute = taken(api.Compute, flags)
    with stoppable():
        folders = api.attack_models(requests, models, data, request, results, compute)
    show_runs(folders, as_json)
    if strict:
        refuse_implausible(folders)
