"""Builds the Report from runs: the parts of each chapter, and the text that explains them.

Free of torch, and of any format.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from pandas import DataFrame

from fdbench.reporting import (
    all_or_nothing,
    authors,
    competition,
    headline,
    scoring,
    security,
    suspicions,
    whitebox,
)
from fdbench.reporting.attack_columns import sees_network
from fdbench.reporting.cells import column
from fdbench.reporting.document import Cells, Chapter, Column, Part, Report
from fdbench.reporting.figures import (
    accuracy_against_attackers,
    accuracy_against_eps,
    accuracy_against_iterations,
    gallery,
)
from fdbench.reporting.parts import blackbox_parts, comparison_parts, whitebox_parts
from fdbench.store import Findings, Run, RunInfo, findings_about, read_findings

_READING = (
    "Accuracy and success in percent [95 % Wilson interval]. robust: the final iterate is "
    "classified correctly. any iterate: so is every iterate before it."
)
_DRAWN = (
    " Of a network that draws random numbers, robust is one draw for each image; mean and worst of "
    "draws are over several passes: right on average, and right in every one."
)
_SCORING = (
    "Accuracy in percent [95 % Wilson interval] on stored images that were made without the "
    f"network. {all_or_nothing.ALL}: correct under every attacker; the prediction for the clean "
    f"image does not count. {all_or_nothing.SPARE}: correct under all but the "
    f"{all_or_nothing.SPARED} attackers that are strongest against that network."
)
_CURVES = (
    "Robust accuracy in percent at each radius; all intervals are in curves.csv. median: the "
    "smallest perturbation that breaks an image right when clean, on straight lines between the "
    "radii [where the 95 % Wilson intervals cross one half]."
)
_WORST = (
    "worst case: in percent [95 % Wilson interval] of n images, right when clean and under every "
    "attack of this threat that was run on the image, at every budget."
)
_PUBLISHED = "published: the same methods, run with their authors' own code and surrogates."
_COMPARING = (
    "Points gained over `against`, on the same images [95 %, Newcombe 1998, method 10]; "
    "p: McNemar, exact, not corrected for the number of comparisons."
)


def _with_findings(
    parts: Iterable[Part], runs: Sequence[Run], doctor: Sequence[Findings]
) -> tuple[Part, ...]:
    """The parts, each with the doctor's findings about its networks under its threat."""

    def runs_of(part: Part) -> list[RunInfo]:
        inside = [run for run in runs if part.setting and part.setting.covers(run)]
        return [run.info for run in inside if run.info.model.weights.startswith(part.weights)]

    return tuple(part.noting(findings_about(doctor, runs_of(part))) for part in parts)


def _provenance(runs: Sequence[Run]) -> Cells:
    """How each run was made: command, time, hardware and versions."""
    infos = [run.info for run in runs]
    environments = [
        ", ".join(f"{name} {value}" for name, value in info.environment.items() if value)
        for info in infos
    ]
    return Cells(
        (
            column("run", [run.name for run in runs]),
            Column("command", tuple(info.command for info in infos), "code"),
            column("weights", [info.model.weights[:8] for info in infos]),
            column("started", [info.started for info in infos]),
            column("seconds", [f"{info.seconds:.0f}" for info in infos]),
            column("environment", environments),
        )
    )


def _comparing(runs: Sequence[Run], baseline: str | None) -> str:
    """How to read the comparisons, and which there are if not all."""
    if baseline is not None:
        return f"{_COMPARING} Only those with {baseline}."
    if len({scoring.contestant(run) for run in runs}) <= scoring.MANY:
        return _COMPARING
    return (
        f"{_COMPARING} Of more than {scoring.MANY} networks only those with the first, networks "
        "without a denoiser before others; --baseline MODEL chooses another."
    )


def whitebox_chapter(
    runs: Sequence[Run], doctor: Sequence[Findings], baseline: str | None
) -> Chapter:
    """The chapter on white-box attacks."""
    table, paired = whitebox.whitebox(runs), scoring.comparisons(runs, baseline)
    of_authors = authors.table(runs)
    tables = {"whitebox": table, "paired": paired}
    return Chapter(
        name="whitebox",
        heading="Robust accuracy",
        reading=_READING + (_DRAWN if table["mean_of_draws"].notna().any() else ""),
        accuracies=_with_findings(
            [*whitebox_parts(table), *authors.parts(of_authors)], runs, doctor
        ),
        comparing=_comparing(runs, baseline),
        comparisons=_with_findings(comparison_parts(paired, "paired.csv"), runs, doctor),
        runs=_provenance(runs),
        warnings=tuple(suspicions.warnings(runs)),
        tables=tables if of_authors.empty else {**tables, "zoo": of_authors},
        alt="Accuracy against iterations",
        figure=accuracy_against_iterations.render(table),
    )


def blackbox_chapter(
    runs: Sequence[Run], doctor: Sequence[Findings], results: Path, baseline: str | None
) -> Chapter:
    """The chapter on black-box attacks."""
    table, paired = all_or_nothing.blackbox(runs), all_or_nothing.paired(runs, baseline)
    curve = all_or_nothing.curve(runs)
    published = f" {_PUBLISHED}" if table["published"].notna().any() else ""
    return Chapter(
        name="blackbox",
        heading="Black-box accuracy",
        reading=_SCORING + published,
        accuracies=_with_findings(blackbox_parts(table), runs, doctor),
        comparing=_comparing(runs, baseline),
        comparisons=_with_findings(comparison_parts(paired, "blackbox-paired.csv"), runs, doctor),
        runs=_provenance(runs),
        warnings=tuple(suspicions.warnings(runs)),
        tables={"blackbox": table, "blackbox-curve": curve, "blackbox-paired": paired},
        alt="All-or-nothing accuracy against the number of attackers",
        figure=accuracy_against_attackers.render(curve, table),
        pictures=gallery.render(all_or_nothing.victims(runs), results),
        files=competition.matrices(runs),
    )


def curves_chapter(runs: Sequence[Run], table: DataFrame) -> Chapter:
    """Robust accuracy against the radius."""
    return Chapter(
        name="curves",
        heading="Security curves",
        reading=_CURVES,
        accuracies=tuple(security.curve_parts(table)),
        comparing="",
        comparisons=(),
        runs=Cells(()),
        warnings=tuple(suspicions.warnings(runs)),
        tables={"curves": table},
        alt="Robust accuracy against eps",
        figure=accuracy_against_eps.render(table),
    )


def headline_chapter(runs: Sequence[Run], doctor: Sequence[Findings]) -> Chapter:
    """One line per network and threat, over all of its attacks."""
    table = headline.headline(runs, doctor)
    return Chapter(
        name="headline",
        heading="Headline",
        reading=_WORST,
        accuracies=tuple(headline.headline_parts(table)),
        comparing="",
        comparisons=(),
        runs=Cells(()),
        warnings=tuple(suspicions.warnings(runs)),
        tables={"headline": table},
    )


def build(
    results: Path, runs: Sequence[Run], notes: Sequence[str] = (), baseline: str | None = None
) -> Report:
    """The report on these runs, white box first and the headline last; `notes` are about all.

    Reads the doctor's findings and the stored images to show from `results`; writes nothing.
    """
    doctor = tuple(read_findings(results))
    black = all_or_nothing.of(runs)
    white = [run for run in runs if sees_network(run.info.attack)]
    chapters = [whitebox_chapter(white, doctor, baseline)] if white else []
    chapters += [blackbox_chapter(black, doctor, results, baseline)] if black else []
    curves = security.curves(white)
    chapters += [] if curves.empty else [curves_chapter(white, curves)]
    chapters.append(headline_chapter(runs, doctor))
    warnings = (*suspicions.warnings(runs), *notes)
    return Report(results, tuple(chapters), warnings, doctor, tuple(runs))
