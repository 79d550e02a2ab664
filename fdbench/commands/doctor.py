"""fdbench doctor."""

from pathlib import Path
from typing import Any

import click

from fdbench import api
from fdbench.commands.checks import show_checks
from fdbench.commands.expectation import expectation
from fdbench.commands.options import (
    OneOf,
    compute_options,
    data_options,
    eps_option,
    models_option,
    results_option,
    sample_option,
    seed_option,
    size,
    split_option,
    taken,
)
from fdbench.console import out, stoppable
from fdbench.errors import SanityFailed


@click.command()
@models_option
@click.option(
    "--surrogate", "surrogates", multiple=True,
    help="A network to transfer from; may be repeated [default: two others on this disk].",
)  # fmt: skip
@data_options
@split_option
@click.option(
    "--limit", type=click.IntRange(min=20), default=200, show_default=True,
    help="Test on the first N images.",
)  # fmt: skip
@sample_option
@eps_option
@click.option("--norm", type=OneOf(api.choices("norms")), default="linf", show_default=True)
@click.option(
    "--eot", type=click.IntRange(min=1), default=1, show_default=True,
    help="For a network that draws random numbers: attacks average over N passes.",
)  # fmt: skip
@click.option("--expect-clean", "expected", help="Clean accuracy in percent: 65.3 or 65.3+-1.")
@seed_option
@results_option
@compute_options
def doctor(
    models: tuple[str, ...], eps: str | None, norm: str, results: Path, **flags: Any
) -> None:
    """Look for reasons to distrust robust accuracy.

    The exit code is 3 if there is one.
    """
    flags["expected"] = expectation(flags["expected"])
    request = api.AttackRequest(norm=norm, eps=size(eps, norm, "eps"), targeted=False)
    checkup, data = taken(api.DoctorRequest, flags), taken(api.DataRequest, flags)
    compute = taken(api.Compute, flags)
    failed = []
    with stoppable():
        for findings in api.doctor_models(models, request, data, checkup, results, compute):
            out.print(findings.title, style="bold", soft_wrap=True, highlight=False)
            show_checks(findings.checks)
            if any(check.verdict == "fail" for check in findings.checks):
                failed.append(findings.model)
    if failed:
        raise SanityFailed(
            f"{', '.join(failed)}: robust accuracy is not reliable as measured; see the table."
        )
