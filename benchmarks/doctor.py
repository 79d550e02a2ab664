"""Does the doctor see through false defences, and leave sound networks alone?

    python benchmarks/doctor.py --around r20.safetensors 8/255 npz:cifar10 \
        --false overfitted.py:overfitted 0.3 fashion-mini "one step" \
        --sound r20.safetensors 8/255 npz:cifar10 --sound ... [--limit 50] [--results FOLDER]

`--around` puts the false defences of `false_defences.py` and `masked.py` around a network;
`--false` names another one and the checks that fail for the right reason. A false network is seen
through when one of these fails, a sound one left alone when none does. Beside it stand AutoAttack's
own flags: its functions for random networks, probabilities, forward passes that differentiate, and
zero gradients of the DLR loss; and its flag for Square, raised here where Square breaks what the
doctor's PGD left. (Its own attacks are stronger, so that it is raised less often there.) `--first`
ends the examination of a false network at the first check that fails for the right reason. Each
network's outcome is kept, so that a stopped benchmark continues.
"""

import argparse
import json
import re
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from pandas import DataFrame
from table import TABLES, show, write

from fdbench.attacks import dlr, gradient
from fdbench.console import say
from fdbench.data import open_data
from fdbench.errors import NoGradient
from fdbench.evaluation import Patient, examine
from fdbench.machine import start_torch
from fdbench.models import Model, open_model
from fdbench.specs import digest
from fdbench.store import Workspace
from fdbench.threat import Threat
from fdbench.units import parse_size

Line = dict[str, str | int | float]
HERE = Path(__file__).parent
SURROGATE = "transfer against PGD"  # skipped: no surrogate is named
OPERATION = (
    "gradient against steps",
    "another way back",
    "Square against PGD",
    "smoothed gradient",
)
# The checks that fail for the right reason. A saturated softmax may still have gradients on most
# images; then other losses, which do not saturate, find more.
AROUND: dict[str, tuple[str, ...]] = {
    "quantised": ("gradients",),
    "jpeg": ("gradients",),
    "thermometer": ("gradients",),
    "times-10000": ("gradients", "other losses"),
    "temperature-100": ("gradients", "other losses"),
    "noisy": ("randomness",),
    "shattered": OPERATION,
}


@dataclass(frozen=True)
class Case:
    """A network, the images and the radius, and the checks of which one should fail, if any."""

    model: str
    eps: str
    data: str
    reasons: tuple[str, ...] = ()
    first: bool = False  # no check after one that fails for a right reason

    def kept(self, results: Path, limit: int) -> Path:
        """Where its outcome is kept."""
        name = digest([self.model, self.eps, self.data, self.first, limit])
        return results / f"doctor-{name}.json"


@dataclass(frozen=True)
class Outcome:
    """What the doctor and AutoAttack say of a network."""

    name: str
    clean: float
    seconds: float
    verdicts: dict[str, str]
    found: dict[str, str]
    flags: list[str] = field(default_factory=list)


def around(base: str, eps: str, data: str) -> Iterator[Case]:
    """The false defences made of a network."""
    for kind, reasons in AROUND.items():
        ref = f"{HERE / 'false_defences.py'}:around?base={base}&kind={kind}"
        yield Case(ref, eps, data, reasons)
    masked = HERE / "masked.py"
    yield Case(f"{masked}:kwta?base={base}&share=0.3", eps, data, OPERATION)
    source = (
        data if ":" not in data else f"{data.split(':')[0]}:{Path(data.split(':')[1]).resolve()}"
    )
    yield Case(f"{masked}:meansparse?base={base}&data={source}&width=0.5", eps, data, OPERATION)


def flags(net: torch.nn.Module, x: torch.Tensor, label: torch.Tensor) -> Iterator[str]:
    """AutoAttack's flags that need no attack."""
    from pyautoattack import checks

    def raised(check: object, *args: object) -> bool:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            check(*args)  # type: ignore[operator]
        return bool(caught)

    if raised(checks.check_randomized, net, x, label):
        yield "randomized"
    if raised(checks.check_range_output, net, x):
        yield "probabilities"
    if raised(checks.check_dynamic, net, x):
        yield "dynamic"
    try:
        grad, _ = gradient(net, x, label, None, dlr)
    except NoGradient:
        yield "stops: no gradient"
    else:
        if raised(checks.check_zero_gradients, grad):
            yield "zero gradients"


def examined(case: Case, results: Path, limit: int) -> Outcome:
    """The outcome of a network, or what is kept of it."""
    kept = case.kept(results, limit)
    if not kept.is_file():
        model = open_model(case.model, Workspace(Path(case.model).parent))
        outcome = _examined(model, case, limit)
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(vars(outcome)))
    return Outcome(**json.loads(kept.read_text()))


def _examined(model: Model, case: Case, limit: int) -> Outcome:
    net, batch = model.net, open_data(case.data, "test").fetch(range(limit))
    torch.manual_seed(0)  # for networks that draw random numbers
    with torch.no_grad():
        logits = net(batch.x)
    patient = Patient(net, batch, Threat("linf", parse_size(case.eps, "linf")), logits.shape[1])
    began = time.process_time()
    checks = []
    for check in examine(patient):
        checks.append(check)
        if case.first and check.verdict == "fail" and check.check in case.reasons:
            break
    seconds = time.process_time() - began
    found = {check.check: check.found for check in checks}
    right = patient.some(patient.right)  # as it attacks no other images
    raised = list(flags(net, right.x, right.label))
    square = re.search(r"queries breaks ([0-9]+)", found.get("Square against PGD", ""))
    if square and int(square[1]) > 0.002 * limit:
        raised.append("Square finds more")
    return Outcome(
        model.name, 100 * len(patient.right) / limit, seconds,
        {check.check: check.verdict for check in checks}, found, raised,
    )  # fmt: skip


def line(case: Case, one: Outcome, limit: int) -> Line:
    """A line of the table."""
    failed = [name for name, verdict in one.verdicts.items() if verdict == "fail"]
    right = any(name in failed for name in case.reasons) if case.reasons else not failed
    skipped = [n for n, v in one.verdicts.items() if v == "skipped" and n != SURROGATE]
    return {
        "network": one.name,
        "data": case.data.split(":")[0] + (":" + Path(case.data).name if ":" in case.data else ""),
        "eps": case.eps,
        "images": limit,
        "clean": round(one.clean, 1),
        "is": "false" if case.reasons else "sound",
        "doctor": "fail" if failed else "pass",
        "right": str(right).lower(),
        "failed": "; ".join(failed),
        "skipped": "; ".join(skipped),
        "autoattack": "; ".join(one.flags),
        "cpu s": round(one.seconds, 1),
    }


def main() -> None:
    """Prints the table and writes it after each network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    three = ("MODEL", "EPS", "DATA")
    parser.add_argument("--around", nargs=3, action="append", default=[], metavar=three)
    parser.add_argument("--sound", nargs=3, action="append", default=[], metavar=three)
    parser.add_argument(
        "--false", nargs=4, action="append", default=[], metavar=(*three, "CHECK[,CHECK]")
    )
    parser.add_argument("--first", action="store_true")
    parser.add_argument("--limit", type=int, default=50)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--table", type=Path, default=TABLES / "doctor.csv")
    given = parser.parse_args()
    start_torch("cpu", 1)
    cases = [case for base in given.around for case in around(*base)]
    cases += [Case(m, eps, data, tuple(why.split(","))) for m, eps, data, why in given.false]
    cases += [Case(model, eps, data) for model, eps, data in given.sound]
    lines = []
    for case in (replace(one, first=given.first) for one in cases):
        say(f"{case.model} at {case.eps}")
        lines.append(line(case, examined(case, given.results, given.limit), given.limit))
        show(lines[-1])
        write(DataFrame(lines), given.table, "cpu")


if __name__ == "__main__":
    main()
