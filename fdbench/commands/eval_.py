"""fdbench eval."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from fdbench import api
from fdbench.commands.checks import show_checks
from fdbench.commands.options import (
    OneOf,
    all_of,
    compute_options,
    data_options,
    eps_option,
    expect_option,
    json_option,
    limit_option,
    models_option,
    results_option,
    sample_option,
    seed_option,
    size,
    split_option,
    strict_option,
    taken,
)
from fdbench.commands.results import (
    refuse_implausible,
    show_folders,
    show_json,
    show_stages,
)
from fdbench.console import out, stoppable, warn
from fdbench.errors import SanityFailed
from fdbench.store import VERDICTS

_options = all_of(
    models_option, data_options, split_option, limit_option, sample_option, eps_option,
    click.option("--norm", type=OneOf(["linf", "l2"]), default="linf", show_default=True),
    click.option("--quick", is_flag=True, help="A first look: 50 images, two attacks, no doctor."),
    click.option(
        "--batch-size", type=click.IntRange(min=1),
        help="Images per batch [default: 250, or what fits in memory].",
    ),
    seed_option, expect_option, strict_option, json_option, results_option, compute_options,
)  # fmt: skip


@click.command("eval")
@_options
def eval_(
    models: tuple[str, ...],
    eps: str | None,
    norm: str,
    quick: bool,
    as_json: bool,
    strict: bool,
    results: Path,
    **flags: Any,
) -> None:
    """Run attacks, doctor, verify and report in one go.

    PGD at 10 to 100 iterations, PGD-100 on the margin loss and AutoAttack, untargeted, with their
    images kept; the doctor's checks; every verdict verified; the report. A stopped command
    continues where it was. Exit code 3 if a run does not verify, with --strict also if the sanity
    gate or the doctor objects.
    """
    request = api.AssessmentRequest(norm, size(eps, norm, "eps"), quick)
    data, run = taken(api.DataRequest, flags), taken(api.RunRequest, flags)
    compute = taken(api.Compute, flags)
    with stoppable():
        found = list(api.assess_models(models, request, data, run, results, compute))
    runs = [run for one in found for run in one.runs]
    if as_json:
        show_json(runs)
    else:
        for one in found:
            _show(one)
        api.report(results, "table", runs=runs)
        show_stages([record for run in runs for record in api.results_of(run)])
        show_folders(runs)
    _refuse_failed(found)
    if strict:
        refuse_implausible(runs)
        _refuse_distrusted(found)


def _show(one: "api.Assessment") -> None:
    """Prints the doctor's checks and those of each run."""
    if one.findings:
        out.print(one.findings.title, soft_wrap=True)
        show_checks(one.findings.checks)
    for run, checks in one.checks.items():
        count = Counter(check.verdict for check in checks)
        summary = ", ".join(f"{count[verdict]} {verdict}" for verdict in VERDICTS)
        out.print(f"verify {run.name}: {summary}", soft_wrap=True)
        if any(check.check == "shards" and check.verdict == "skipped" for check in checks):
            warn(
                f"{run.name} was made without --save-adv: its images can't be checked.\n"
                f"For one with images: fdbench runs archive {run.name}, then type this line again."
            )
        if count["fail"]:
            show_checks(checks)


def _refuse_failed(found: Sequence["api.Assessment"]) -> None:
    failed = [line for one in found for line in one.failed]
    if failed:
        raise SanityFailed("a run does not verify.\n" + "\n".join(failed))


def _refuse_distrusted(found: Sequence["api.Assessment"]) -> None:
    lines = [
        f"{check.check}: {check.found}"
        for one in found
        for check in (one.findings.checks if one.findings else ())
        if check.verdict == "fail"
    ]
    if lines:
        raise SanityFailed("--strict: the doctor objects.\n" + "\n".join(lines))
