"""Which of two networks is more robust: by the rows there are, or by as many as it takes."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pandas import DataFrame

from fdbench.api.evaluation import evaluation_of
from fdbench.api.opening import open_images, open_models, workspace_at
from fdbench.api.requests import AttackRequest, Compute, DataRequest, RunRequest
from fdbench.attacks import parameters_of, parse_foolbox_settings
from fdbench.console import say
from fdbench.evaluation import until_decided
from fdbench.machine import start_torch
from fdbench.reporting import Selection, compared
from fdbench.specs import Parameters
from fdbench.stats import Evidence, images_needed
from fdbench.units import parse_size


@dataclass(frozen=True)
class Decision:
    """What `compare --until-decided` found; `folders` are the two runs."""

    first: str
    second: str
    attack: str
    images: int  # there are
    evidence: Evidence
    folders: tuple[Path, Path]

    @property
    def needed(self) -> int | None:
        """Where it is undecided: the images that would tell one point, at this disagreement."""
        found = self.evidence
        if found.verdict != "undecided" or not found.n:
            return None
        return images_needed((found.only_first + found.only_second) / found.n, 0.01)

    @property
    def record(self) -> dict[str, Any]:
        """The decision as plain data, differences in points."""
        found = self.evidence
        better = {"first": self.first, "second": self.second, "undecided": None}[found.verdict]
        return {
            "first": self.first,
            "second": self.second,
            "attack": self.attack,
            "more_robust": better,
            "n": found.n,
            "images": self.images,
            "only_first": found.only_first,
            "only_second": found.only_second,
            "difference": round(100 * found.difference, 4),
            "difference_low": round(100 * found.interval.low, 4),
            "difference_high": round(100 * found.interval.high, 4),
            "evidence": found.e,
            "needed": self.needed,
            "runs": [folder.name for folder in self.folders],
        }


def attack_settings(attack: str, pairs: Sequence[str], norm: str) -> Parameters:
    """The parameters of an attack from `key=value` pairs; several values as in `iters=10,100`.

    Raises BadValue for a pair that is none or an unknown key, FdbenchError for a wrong value.
    """
    kind, given = parameters_of(attack), parse_foolbox_settings(pairs)
    for one in fields(kind):
        value = given.get(one.name)
        if "tuple" in str(one.type) and value is not None:
            given[one.name] = [int(x) if x.isdecimal() else x for x in str(value).split(",")]
        elif one.metadata.get("size") and isinstance(value, str):
            given[one.name] = parse_size(value, norm, one.name)
    return kind.of(given, f"the parameters of {attack}")


def compare_runs(
    results: Path, first: str, second: str, data: str | None = None, attack: str | None = None
) -> tuple[DataFrame, str]:
    """Compares two models by the runs there are: every line's numbers, and the text to print.

    Args:
        first: a model's name in its runs; differences are its accuracy less that of `second`.
        data: only runs on this data set; None: on all.
        attack: only runs of this attack; None: of all.

    Raises:
        BadValue: if no run has such a model, or the two have no attack on the same images.
    """
    wanted = Selection(data=tuple(filter(None, [data])), attacks=tuple(filter(None, [attack])))
    return compared(results, first, second, wanted)


def compare_until_decided(
    refs: tuple[str, str],
    request: AttackRequest,
    data: DataRequest,
    run: RunRequest,
    results: Path,
    compute: Compute,
) -> Decision:
    """Attacks two models on further images until a paired test decides or the images end.

    `run.limit` is the most images. Raises BadValue if the two can't be compared.
    """
    workspace, device = workspace_at(results), start_torch(compute.device, compute.threads)
    first, second = (
        evaluation_of(model, request, open_images(model, data), run, workspace, device)
        for model in list(open_models(refs, workspace))
    )
    found = until_decided((first, second), say)
    return Decision(
        first.model.name, second.model.name, first.spec.title, len(first.positions), found,
        (first.folder, second.folder),
    )  # fmt: skip
