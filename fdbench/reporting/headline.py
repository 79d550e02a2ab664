"""One line per network and threat: clean accuracy, and the best that is known about robustness.

That is the worst case, image by image: an image counts only if the network is right on it under
every attack of the threat that was run on it, white box and black box, at every budget. Never an
average over attacks. `run` is the run that alone breaks most images, `run_alone` what it leaves by
itself. Free of torch.
"""

from collections.abc import Iterator, Sequence

from pandas import DataFrame

from fdbench.reporting.attack_columns import marked
from fdbench.reporting.cells import column, intervals, numbers, words
from fdbench.reporting.document import Cells, Part
from fdbench.reporting.outcomes import WORST, places_of, right, right_when_clean
from fdbench.reporting.scoring import Line, network, percent, rounded, scored
from fdbench.reporting.setting import THREAT, Setting, by_setting, in_order
from fdbench.store import Findings, Run, deepest

HEADLINE = (
    *("model", "weights", *THREAT, "n"),
    *(*scored(("clean", "worst_case")), "attacks", "doctor"),
    *("set_by", "run", "run_alone"),
)

Key = tuple[str, ...]


def _key(run: Run) -> Key:
    setting = Setting.of(run)
    model = run.info.model
    return (model.name, model.weights, *(getattr(setting, name) for name in THREAT))


def _line(runs: Sequence[Run], doctor: Sequence[Findings]) -> Line:
    """The images are those of the run that has most; other runs only make them worse."""
    most = max(runs, key=lambda run: len(run.columns))
    n = len(most.columns)
    clean = right_when_clean(most.columns)
    robust, left = clean.copy(), {}
    for run in runs:
        place = places_of(run.columns.images, most.columns.images)
        alone = clean.copy()
        alone[place[~right(run.columns, WORST) & (place >= 0)]] = False
        left[run.name] = int(alone.sum())
        robust &= alone
    strongest = min(runs, key=lambda run: left[run.name])
    return {
        **network(most.info),
        **Setting.of(most).columns(THREAT),
        "n": n,
        **percent("clean", int(clean.sum()), n),
        **percent("worst_case", int(robust.sum()), n),
        "attacks": ", ".join(dict.fromkeys(_attack(run) for run in runs)),
        "doctor": _doctor(most, doctor),
        "set_by": _attack(strongest),
        "run": strongest.name,
        "run_alone": rounded(left[strongest.name] / n),
    }


def _attack(run: Run) -> str:
    spec = run.info.attack
    budgets = ", ".join(map(str, spec.parameters.budgets))
    return marked(f"{spec.attack} {budgets}".strip(), spec)


def _doctor(run: Run, doctor: Sequence[Findings]) -> str:
    """What the doctor says about the network under this threat, in two words."""
    known = deepest(doctor, run.info)
    if known is None:
        return "not seen"
    failed = sum(check.verdict == "fail" for check in known.checks)
    return f"{failed} failed" if failed else "passed"


def headline(runs: Sequence[Run], doctor: Sequence[Findings]) -> DataFrame:
    """One line per network, data set, threat and goal, in the columns HEADLINE."""
    groups: dict[Key, list[Run]] = {}
    for run in runs:
        if len(run.columns):
            groups.setdefault(_key(run), []).append(run)
    lines = [_line(groups[key], doctor) for key in sorted(groups)]
    table = DataFrame(lines, columns=list(HEADLINE))
    keys = ["data", "split", "norm", "eps", "targeted", "model", "weights"]
    return in_order(table, keys)


def best_known(table: DataFrame) -> Iterator[str]:
    """A line for each data set, threat and goal: every network's worst case over all its runs."""
    for setting, lines in by_setting(table, THREAT):
        scores = intervals(lines, "worst_case")
        known = [
            f"{line['model']} {score} of {line['n']}, set by {line['set_by']}"
            for line, score in zip(lines.to_dict("records"), scores, strict=True)
        ]
        yield f"best known, {setting.title}: {'; '.join(known)}."


def headline_parts(table: DataFrame) -> Iterator[Part]:
    """A part for each data set, threat and goal."""
    for setting, lines in by_setting(table, THREAT):
        several = len(lines) > lines["model"].nunique()
        columns = [
            column("model", lines["model"]),
            *([column("weights", lines["weights"])] if several else []),
            column("n", numbers(lines, "n")),
            column("clean", intervals(lines, "clean")),
            column("best known", intervals(lines, "worst_case")),
            column("set by", words(lines, "set_by")),
            column("attack", words(lines, "attacks")),
            column("doctor", words(lines, "doctor")),
        ]
        weights = tuple(lines["weights"].unique())
        title = f"Headline: {setting.title}"
        yield Part("headline", title, Cells(tuple(columns)), "", (), weights, setting,
                   "headline.csv")  # fmt: skip
