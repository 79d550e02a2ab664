"""Builds the Report from runs: the parts of each chapter, and the text that explains them.

Free of torch, and of any format.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pandas import DataFrame

from fdbench.reporting import (
    all_or_nothing,
    authors,
    comparing,
    competition,
    exhibits,
    headline,
    recipes,
    robustbench,
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
from fdbench.reporting.trained import trained_by
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
    "best known: the worst case, in percent [95 % Wilson interval] of n images, right when clean "
    "and under every attack of this threat that was run on the image, at every budget; never an "
    "average over attacks. set by: the run that alone breaks most of them."
)
_PUBLISHED = "published: the same methods, run with their authors' own code and surrogates."
_COMPARING = (
    "Points gained over `against`, on the same images [95 %, Tango 1998]; p: McNemar, exact, "
    "corrected for the comparisons of the table (Holm 1979); better or worse where it is 0.05 or "
    "less. needed: the images that would tell a difference of one point, at this rate of "
    "disagreement, in 80 % of experiments (Connor 1987). It is about these trained networks: "
    "another training of the same recipe may turn it."
)
_BEST = (
    " Each table compares with its best network; since that is chosen from the same numbers, p is "
    "corrected as if every two had been compared. --baseline MODEL chooses another."
)


def _behind(part: Part, runs: Sequence[Run]) -> list[RunInfo]:
    """The runs of a part's networks under its threat."""
    inside = [run for run in runs if part.setting and part.setting.covers(run)]
    return [run.info for run in inside if run.info.model.weights.startswith(part.weights)]


def _with_findings(
    parts: Iterable[Part], runs: Sequence[Run], doctor: Sequence[Findings]
) -> tuple[Part, ...]:
    """The parts, each with the doctor's findings about its networks under its threat."""
    return tuple(part.noting(findings_about(doctor, _behind(part, runs))) for part in parts)


def _with_recipes(parts: Iterable[Part], runs: Sequence[Run]) -> tuple[Part, ...]:
    """The parts, each with the recipes that its networks were trained by."""
    return tuple(
        part.noting(trained_by(info.model for info in _behind(part, runs))) for part in parts
    )


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


def how_to_compare(baseline: str | None) -> str:
    """How to read the comparisons, and which there are."""
    return _COMPARING + (_BEST if baseline is None else f" Only those with {baseline}.")


def whitebox_chapter(
    runs: Sequence[Run], doctor: Sequence[Findings], baseline: str | None
) -> Chapter:
    """The chapter on white-box attacks."""
    table, paired = whitebox.whitebox(runs), comparing.comparisons(runs, baseline)
    of_authors = authors.table(runs)
    tables = {"whitebox": table, "paired": paired}
    return Chapter(
        name="whitebox",
        heading="Robust accuracy",
        reading=_READING + (_DRAWN if table["mean_of_draws"].notna().any() else ""),
        accuracies=_with_findings(
            [*_with_recipes(whitebox_parts(table), runs), *authors.parts(of_authors)], runs, doctor
        ),
        comparing=how_to_compare(baseline),
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
        accuracies=_with_findings(_with_recipes(blackbox_parts(table), runs), runs, doctor),
        comparing=how_to_compare(baseline),
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
        warnings=tuple(suspicions.warnings(runs)),
        tables={"curves": table},
        alt="Robust accuracy against eps",
        figure=accuracy_against_eps.render(table),
    )


def paper_chapter(table: DataFrame) -> Chapter:
    """The paper's exhibits, measured beside published."""
    return Chapter(
        name="paper",
        heading="As in the paper",
        reading=exhibits.READING,
        accuracies=tuple(exhibits.exhibit_parts(table)),
        tables={"paper": table},
    )


def recipes_chapter(table: DataFrame) -> Chapter:
    """The chapter on recipes of which several trainings were judged."""
    return Chapter(
        name="recipes",
        heading="Recipes",
        reading=recipes.READING,
        accuracies=tuple(recipes.recipe_parts(table)),
        tables={"recipes": table},
    )


def headline_chapter(runs: Sequence[Run], doctor: Sequence[Findings]) -> Chapter:
    """One line per network and threat, over all of its attacks."""
    table = headline.headline(runs, doctor)
    return Chapter(
        name="headline",
        heading="Headline",
        reading=_WORST,
        accuracies=_with_recipes(headline.headline_parts(table), runs),
        warnings=tuple(suspicions.warnings(runs)),
        tables={"headline": table},
    )


def claims_chapter(table: DataFrame) -> Chapter:
    """RobustBench's numbers beside those of this report."""
    return Chapter(
        name="claims",
        heading="Claims",
        reading=robustbench.READING,
        accuracies=tuple(robustbench.claim_parts(table)),
        tables={"claims": table},
    )


def _further(
    runs: Sequence[Run], known: Mapping[str, DataFrame], baseline: str | None
) -> Iterator[Chapter]:
    """The chapters that need several networks of a kind."""
    as_in_paper = exhibits.exhibits(runs, known)
    if not as_in_paper.empty:
        yield paper_chapter(as_in_paper)
    several = recipes.recipes(runs, baseline)
    if not several.empty:
        yield recipes_chapter(several)


def build(
    results: Path,
    runs: Sequence[Run],
    notes: Sequence[str] = (),
    baseline: str | None = None,
    claimed: Sequence[Mapping[str, Any]] = (),
) -> Report:
    """The report on these runs, white box first and the headline last; `notes` are about all.

    Reads the doctor's findings and the stored images to show from `results`; writes nothing.
    `claimed` are RobustBench's entries, to hold beside what was measured.
    """
    doctor = tuple(read_findings(results))
    black = all_or_nothing.of(runs)
    white = [run for run in runs if sees_network(run.info.attack)]
    chapters = [whitebox_chapter(white, doctor, baseline)] if white else []
    chapters += [blackbox_chapter(black, doctor, results, baseline)] if black else []
    known = {name: table for one in chapters for name, table in one.tables.items()}
    chapters += _further(runs, known, baseline)
    curves = security.curves(white)
    chapters += [] if curves.empty else [curves_chapter(white, curves)]
    last = headline_chapter(runs, doctor)
    white_table = known.get("whitebox", DataFrame())
    found = robustbench.claims(claimed, last.tables["headline"], white_table)
    chapters += [*([] if found.empty else [claims_chapter(found)]), last]
    unmatched = len({one["file"] for one in claimed} - set(found["file"]))
    more = [f"{unmatched} RobustBench files are about no network and threat here"]
    warnings = (*suspicions.warnings(runs), *notes, *(more if unmatched else []))
    return Report(results, tuple(chapters), warnings, doctor, tuple(runs))
