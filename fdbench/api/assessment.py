"""One model from nothing to a table that can be defended: attacks, doctor, verify, report."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fdbench.api.evaluation import evaluation_of, looked_at, run_announced
from fdbench.api.examination import examined, verified
from fdbench.api.opening import open_images, open_models, workspace_at
from fdbench.api.requests import (
    AssessmentRequest,
    AttackRequest,
    Compute,
    DataRequest,
    DoctorRequest,
    RunRequest,
)
from fdbench.console import say
from fdbench.evaluation import (
    TIMED,
    Evaluation,
    Step,
    announcement,
    check_fit,
    gradients_per_image,
    run_info,
    seconds_per_gradient,
    step_of,
)
from fdbench.machine import start_torch
from fdbench.specs import battery
from fdbench.store import Check, Findings, deepest, read_findings


@dataclass(frozen=True)
class Depth:
    """How much an assessment does: a battery of attacks/, and images where none are given."""

    battery: str
    limit: int | None  # images to attack; None: all
    examined: int  # images that the doctor examines; 0: it is left out


FULL, QUICK = Depth("full", None, 200), Depth("quick", 50, 0)


@dataclass(frozen=True)
class Assessment:
    """One model: its runs, the doctor's findings (None: not examined), and each run's checks."""

    runs: tuple[Path, ...]
    findings: Findings | None
    checks: dict[Path, list[Check]]

    @property
    def failed(self) -> list[str]:
        """The runs that did not verify, with the checks that failed."""
        return [
            f"{run.name}: {', '.join(one.check for one in checks if one.verdict == 'fail')}"
            for run, checks in self.checks.items()
            if any(one.verdict == "fail" for one in checks)
        ]


def assess_models(
    refs: Sequence[str],
    request: AssessmentRequest,
    data: DataRequest,
    run: RunRequest,
    results: Path,
    compute: Compute,
) -> Iterator[Assessment]:
    """Assesses each model in turn; every step resumes, or is skipped where it is done.

    Raises BadValue for invalid settings before anything is attacked.
    """
    workspace, device = workspace_at(results), start_torch(compute.device, compute.threads)
    depth = QUICK if request.quick else FULL
    run = replace(run, limit=run.limit or depth.limit, save_adv="float")
    for model in open_models(refs, workspace, download=data.download):
        images = open_images(model, data)
        model = looked_at(model, images, run, device)
        model.net.to(device)
        evaluations = [
            evaluation_of(model, attack, images, run, workspace, device)
            for attack in _attacks(depth, request)
        ]
        for evaluation in evaluations:
            evaluation.check()
        yield _assessed(evaluations, min(depth.examined, len(evaluations[0].positions)))


def _attacks(depth: Depth, request: AssessmentRequest) -> list[AttackRequest]:
    """The battery's attacks under the threat that was asked for."""
    return [
        replace(AttackRequest.of(spec, "fp32"), norm=request.norm, eps=request.eps)
        for spec in battery(depth.battery).attacks
    ]


def _assessed(evaluations: Sequence[Evaluation], examine: int) -> Assessment:
    """Runs the attacks, has the network examined unless it was, and verifies every run."""
    first = evaluations[0]
    model, images, device = first.model, first.data, first.device
    known = _examined_before(first, examine)
    _announce(evaluations, 0 if known else examine)
    runs = tuple(run_announced(evaluation) for evaluation in evaluations)
    if known is None and examine:
        checkup = DoctorRequest(limit=examine, seed=first.seed)
        known = examined(model, images, first.spec, checkup, first.workspace, device)
    checks = {run: verified(run, model, images, device) for run in runs}
    return Assessment(runs, known, checks)


def _examined_before(evaluation: Evaluation, images: int) -> Findings | None:
    """The doctor's findings about this network, these data and this threat, if on enough images."""
    known = deepest(read_findings(evaluation.workspace), run_info(evaluation))
    return known if known and (known.images or 0) >= images else None


def _announce(evaluations: Sequence[Evaluation], examine: int) -> None:
    """Prints what every step costs, by a timed pass of the network."""
    first = evaluations[0]
    batch = first.data.fetch(first.positions[:TIMED]).to(first.device)
    check_fit(first.model, first.data, batch)
    steps = [
        *map(step_of, evaluations),
        *([Step("doctor", examine, gradients_per_image())] if examine else []),
        Step("verify", len(first.positions), float(len(evaluations))),
    ]
    say(f"{first.model.name} on {first.data.name}, {first.spec.norm}, eps {first.spec.eps_text}:")
    for line in announcement(steps, seconds_per_gradient(first.model.net, batch)):
        say(line)
