"""Black-box counts in the file format of the NIPS 2017 competition's toolkit, for its scripts.

Free of torch.
"""

import csv
import io
from collections.abc import Callable, Sequence
from itertools import groupby

from fdbench.reporting import outcomes
from fdbench.reporting.all_or_nothing import Victim, victims
from fdbench.reporting.setting import Setting
from fdbench.store import Columns, Run

Counts = Callable[[Columns, str], outcomes.Images]

# The files' names, whether they are about targeted attacks, and which images they count.
_MATRICES = (
    ("accuracy_on_attacks.csv", False, outcomes.right),
    ("accuracy_on_targeted_attacks.csv", True, outcomes.right),
    ("hit_target_class.csv", True, outcomes.hit),
)


def _matrix(ones: Sequence[Victim], counts: Counts) -> str:
    """Rows attacks, columns defenses, cells counts, an empty corner: as the toolkit writes it."""
    names = [one.run.info.model.name for one in ones]
    heads = [
        name if names.count(name) == 1 else f"{name}@{one.run.info.model.weights[:8]}"
        for name, one in zip(names, ones, strict=True)
    ]
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(["", *heads])
    for attacker in ones[0].attackers:
        found = (counts(one.run.columns, attacker)[one.places] for one in ones)
        out.writerow([attacker, *(int(images.sum()) for images in found)])
    return text.getvalue()


def matrices(runs: Sequence[Run]) -> dict[str, str]:
    """The competition's files, by name, in one folder per set: `blackbox/SET-DIGEST/...`.

    Counts are comparable on the same images only, so networks judged on fewer are left out.
    """
    files = {}
    for setting, group in groupby(victims(runs), key=lambda one: Setting.of(one.run)):
        ones = list(group)
        most = max(len(one.places) for one in ones)
        full = [one for one in ones if len(one.places) == most]
        folder = f"blackbox/{setting.set or 'transfer'}-{setting.digest}"
        for name, targeted, counts in _MATRICES:
            if most and targeted == setting.targeted.startswith("targeted"):
                files[f"{folder}/{name}"] = _matrix(full, counts)
    return files
