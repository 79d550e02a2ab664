"""Two models, under every attack that both were run under: what `fdbench compare A B` prints."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
from pandas import DataFrame

from fdbench.errors import BadValue, FdbenchError
from fdbench.reporting import all_or_nothing
from fdbench.reporting.attack_columns import sees_network
from fdbench.reporting.chapters import how_to_compare
from fdbench.reporting.comparing import comparisons
from fdbench.reporting.headline import best_known, headline
from fdbench.reporting.parts import comparison_parts
from fdbench.reporting.render.terminal import parts_text
from fdbench.reporting.selection import ALL, Selection, selected
from fdbench.store import Workspace, read_runs

_ALL_RUNS = (
    "Each one's worst case over every run, in percent [95 %]: its images and attacks may not be "
    "the other's."
)


def compared(
    results: Path, first: str, second: str, wanted: Selection = ALL
) -> tuple[DataFrame, str]:
    """Every comparison of the two in the columns of comparing.PAIRED, and the text to print.

    Differences are the first's accuracy less that of the second. Each one's worst case over all its
    runs, also those that the other has not, is a line of the text.
    Raises BadValue if there is no run of one of them, or no attack on images that both have;
    FdbenchError without any runs.
    """
    runs = read_runs(results)
    if not runs:
        raise FdbenchError(f"no runs under {Workspace(results).runs}: nothing to compare yet.")
    if first == second:
        raise BadValue(f"{first} is one model: name two. `fdbench list runs` shows all runs.")
    both = replace(wanted, models=(first, second), baseline=second, unfinished=True)
    chosen, _ = selected(runs, both)
    white = comparisons([run for run in chosen if sees_network(run.info.attack)], second)
    black = all_or_nothing.paired(chosen, second)
    tables = [table for table in (white, black) if not table.empty]
    if not tables:
        raise BadValue(
            f"no attack has judged {first} and {second} on the same images.\n"
            f"fdbench compare {first} {second} --until-decided attacks both."
        )
    parts = [part for table in tables for part in comparison_parts(table, "")]
    every, _ = selected(runs, replace(both, attacks=()))
    worst = "\n".join(best_known(headline(every, ())))
    text = parts_text(parts, how_to_compare(second), f"{worst}\n{_ALL_RUNS}")
    return pd.concat(tables, ignore_index=True), text
