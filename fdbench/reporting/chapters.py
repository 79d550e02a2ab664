"""The report's chapters, white box and black box: their tables, and what is said under each.

Free of torch, and of any format: report.py writes and prints them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from pandas import DataFrame

from fdbench.reporting import authors, blackbox, scoring, suspicions, whitebox
from fdbench.reporting.cells import Section, blackbox_sections, comparisons, sections
from fdbench.reporting.figures import accuracy_against_attackers as attackers
from fdbench.reporting.figures import accuracy_against_iterations as curves
from fdbench.store import Findings, Run, findings_about

_LONG = 20  # comparisons printed before only the telling ones are
_READING = (
    "Accuracy and success in percent [95 % Wilson interval]. robust: the final iterate is "
    "classified right. any iterate: so is every iterate before it."
)
_SCORING = (
    "Accuracy in percent [95 % Wilson interval] on stored images that were made without the "
    f"network. {blackbox.ALL}: right under every attacker; the clean image decides nothing. "
    f"{blackbox.SPARE}: under all but the {blackbox.SPARED} strongest against that network."
)
_PUBLISHED = "published: the same methods, in their authors' own code and on their networks."
PAIRING = (
    "Points gained over `against`, on the same images [95 %, Newcombe 1998, method 10]; "
    "p: McNemar, exact, not corrected for the number of comparisons."
)


@dataclass(frozen=True)
class Report:
    """All that is known from the rows; figures by file ending, empty where there is no curve.

    `doctor` is what was found about any network; `examples` are pictures by file name.
    """

    runs: tuple[Run, ...]  # white-box
    whitebox: DataFrame
    paired: DataFrame
    zoo: DataFrame
    figure: dict[str, bytes]
    blind_runs: tuple[Run, ...]  # black-box
    blackbox: DataFrame
    curve: DataFrame
    blackbox_paired: DataFrame
    blackbox_figure: dict[str, bytes]
    warnings: tuple[str, ...]
    doctor: tuple[Findings, ...] = ()
    examples: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """A table and what is said under it; a terminal shows `few` of its lines where there are."""

    section: Section
    notes: tuple[str, ...]
    few: DataFrame | None = None
    why: str = ""

    @property
    def text(self) -> str:
        return "\n".join(self.notes)


@dataclass(frozen=True)
class Chapter:
    """What has a Markdown file of its own: `stem` is its name and its figure's."""

    stem: str
    heading: str
    reading: str
    alt: str  # what the figure shows
    figure: dict[str, bytes]
    examples: dict[str, bytes]
    accuracies: list[Part]
    differences: list[Part]
    runs: tuple[Run, ...]


def _part(found: Report, section: Section, note: str = "") -> Part:
    same = [f"All rows: {section.same}."] if section.same else []
    doctor = findings_about(found.doctor, section.weights)
    return Part(section, (*same, *([note] if note else []), *doctor))


def _difference(found: Report, section: Section, stem: str) -> Part:
    """Of many comparisons a terminal shows those under all attackers, or with the first network."""
    part, cells = _part(found, section), section.cells
    if len(cells) <= _LONG:
        return part
    first = cells["against"].iloc[0]
    together = cells["attack"] == blackbox.ALL
    few, which = cells[cells["against"] == first], f"those with {first}"
    if together.any():
        few, which = cells[together].drop(columns="attack"), blackbox.ALL
    why = f"Only {which}; all {len(cells)} are in {stem}.csv."
    return Part(section, part.notes, few, why)


def _whitebox_chapter(found: Report) -> Chapter:
    of_zoo = tuple(map(str, found.zoo["weights"].unique()))
    zoos = [replace(section, weights=of_zoo) for section in authors.sections(found.zoo)]
    return Chapter(
        stem="whitebox",
        heading="Robust accuracy",
        reading=_READING,
        alt="Accuracy against iterations",
        figure=found.figure,
        examples={},
        accuracies=[_part(found, section) for section in sections(found.whitebox)]
        + [_part(found, section, authors.READING) for section in zoos],
        differences=[_difference(found, s, "paired") for s in comparisons(found.paired)],
        runs=found.runs,
    )


def _blackbox_chapter(found: Report) -> Chapter:
    published = f" {_PUBLISHED}" if found.blackbox["published"].notna().any() else ""
    gains = comparisons(found.blackbox_paired)
    return Chapter(
        stem="blackbox",
        heading="Black-box accuracy",
        reading=_SCORING + published,
        alt="All-or-nothing accuracy against the number of attackers",
        figure=found.blackbox_figure,
        examples=found.examples,
        accuracies=[_part(found, section) for section in blackbox_sections(found.blackbox)],
        differences=[_difference(found, section, "blackbox-paired") for section in gains],
        runs=found.blind_runs,
    )


def chapters(found: Report) -> Iterator[Chapter]:
    """White box first; what there are no runs of is left out."""
    if found.runs:
        yield _whitebox_chapter(found)
    if found.blind_runs:
        yield _blackbox_chapter(found)


def build(runs: Sequence[Run]) -> Report:
    """All tables and curves of the runs; nothing is read or written."""
    blind = blackbox.of(runs)
    white = [run for run in runs if run not in blind]
    table, scores = whitebox.whitebox(white), blackbox.blackbox(blind)
    against = blackbox.curve(blind)
    return Report(
        runs=tuple(white),
        whitebox=table,
        paired=scoring.comparisons(white),
        zoo=authors.zoo(white),
        figure=curves.render(table),
        blind_runs=tuple(blind),
        blackbox=scores,
        curve=against,
        blackbox_paired=blackbox.paired(blind),
        blackbox_figure=attackers.render(against, scores),
        warnings=tuple(suspicions.warnings(runs)),
    )
