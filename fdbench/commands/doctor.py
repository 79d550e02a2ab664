"""fdbench doctor."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from fdbench.commands.options import (
    compute_options,
    data_options,
    results_option,
    size,
    start_torch,
)
from fdbench.commands.runs import (
    Wish,
    complete,
    eps_option,
    open_all,
    open_images,
    seed_option,
    split_option,
)
from fdbench.errors import BadValue, SanityFailed
from fdbench.specs import AttackSpec

# A network's card says how it did on held-out images; the test set may differ by this many points.
_GIVE = 5.0
_FEW = 2  # networks on this disk that are asked to attack, where no --surrogate is given


def expectation(text: str | None) -> tuple[float, float] | None:
    """`65.3+-1` or `65.3`: a percentage, give or take (1 where nothing is said)."""
    if text is None:
        return None
    match = re.fullmatch(r"\s*([0-9.]+)\s*(?:(?:±|\+-|\+/-)\s*([0-9.]+))?\s*%?\s*", text)
    try:
        wanted, give = float(match[1]), float(match[2] or 1)  # type: ignore[index]
    except (TypeError, ValueError) as reason:
        raise BadValue(f"--expect-clean {text!r} is not a percentage: 65.3 or 65.3+-1.") from reason
    if not 0 <= wanted <= 100:
        raise BadValue(f"--expect-clean {text!r} does not lie in 0 .. 100 %.")
    return wanted, give


@click.command()
@click.option(
    "--model", "models", multiple=True, help="As for fdbench attack [default: all on this disk]."
)
@click.option(
    "--surrogate", "surrogates", multiple=True,
    help="A network to transfer from; may be repeated [default: two others on this disk].",
)  # fmt: skip
@data_options
@split_option
@click.option(
    "--limit", type=click.IntRange(min=20), default=200, show_default=True,
    help="Try the first N images.",
)  # fmt: skip
@eps_option
@click.option("--norm", type=click.Choice(["linf", "l2"]), default="linf", show_default=True)
@click.option(
    "--eot", type=click.IntRange(min=1), default=1, show_default=True,
    help="For a network that draws random numbers: attacks average over N passes.",
)  # fmt: skip
@click.option("--expect-clean", "expected", help="Clean accuracy in percent: 65.3 or 65.3+-1.")
@seed_option
@results_option
@compute_options
def doctor(
    models: tuple[str, ...], results: Path, device: str, threads: int | None, eps: str | None,
    norm: str, expected: str | None, **rest: Any,
) -> None:  # fmt: skip
    """Look for reasons not to believe a network's robust accuracy; exit code 3 if there is one."""
    wanted = expectation(expected)
    wish = Wish(AttackSpec(norm=norm), size(eps, norm, "eps"), targeted=False)
    where = start_torch(device, threads)
    failed = []
    for model in open_all(models, results):
        found = _examined(model, wish, wanted, results, where, **rest)
        if any(check.verdict == "fail" for check in found.checks):
            failed.append(model.name)
    if failed:
        raise SanityFailed(
            f"{', '.join(failed)}: not to be believed as measured; the table says why."
        )


def _examined(
    model: Any,
    wish: Wish,
    expected: tuple[float, float] | None,
    results: Path,
    device: Any,
    *,
    surrogates: tuple[str, ...],
    limit: int,
    eot: int,
    seed: int,
    **which: Any,
) -> Any:
    from fdbench.evaluation import Patient, check_fit
    from fdbench.threat import Threat

    images = open_images(model, **which)
    ref = images.name
    spec = complete(wish, model, ref, images.classes)
    model.net.to(device)
    batch = images.fetch(range(min(limit, len(images)))).to(device)
    classes = check_fit(model, images, batch)
    others = _others(model, surrogates, results, batch.x, classes)
    patient = Patient(
        model.net,
        batch,
        Threat(spec.norm, spec.eps),
        classes,
        seed,
        eot,
        expected or _card_says(model, ref),
        tuple(net for _, net in others),
    )
    return _seen(patient, model, ref, spec, [name for name, _ in others], results)


def _seen(
    patient: Any, model: Any, ref: str, spec: AttackSpec, others: list[str], results: Path
) -> Any:
    """The findings: shown, and kept."""
    from fdbench.console import progress, say, stoppable
    from fdbench.evaluation import CHECKS, examine
    from fdbench.store import Findings, write_findings

    say(
        f"{model.name} on {ref}: {len(patient.batch.ids)} images, {spec.norm}, eps "
        f"{spec.eps_text}; transfer from {', '.join(others) or 'nobody'}"
    )
    began = datetime.now(UTC).isoformat(timespec="seconds")
    with stoppable(), progress(f"doctor {model.name}", len(CHECKS), "checks") as advance:
        checks = tuple(examine(patient, lambda: advance(1)))
    found = Findings(model.name, model.weights, ref, checks, began)
    _show(found)
    say(f"kept in {write_findings(results, found)}")
    return found


def _card_says(model: Any, ref: str) -> tuple[float, float] | None:
    """The clean accuracy on held-out images when these weights were kept, on the same data."""
    card = model.card
    if card is None or not card.log or card.data["name"] != ref:
        return None
    kept = [entry for entry in card.log if entry["epoch"] == card.epochs]
    return (100 * kept[0]["held_out_clean"], _GIVE) if kept else None


def _others(
    model: Any, surrogates: tuple[str, ...], results: Path, x: Any, classes: int
) -> list[tuple[str, Any]]:
    """Networks to transfer from: those named, or some on this disk that tell the same classes."""
    import torch

    from fdbench.models import checkpoints, open_model

    refs = surrogates or [name for name in checkpoints(results) if name != model.name]
    found: list[tuple[str, Any]] = []
    for ref in refs:
        other = open_model(ref, results)
        if other.weights == model.weights:
            if surrogates:
                raise BadValue(f"--surrogate {ref} is the network that is examined itself.")
            continue
        net = other.net.to(x.device)
        with torch.no_grad():
            fits = net(x[:1]).shape[1] == classes
        if surrogates and not fits:
            raise BadValue(f"--surrogate {ref} does not tell the same {classes} classes apart.")
        if fits:
            found.append((other.name, net))
        if not surrogates and len(found) == _FEW:
            break
    return found


def _show(found: Any) -> None:
    from rich.table import Table

    from fdbench.console import out

    table = Table(box=None, pad_edge=False, header_style="bold", title=None)
    for column in ("check", "verdict", "found"):
        table.add_column(column, overflow="fold")
    styles = {"pass": "green", "fail": "bold red", "skipped": "dim"}
    for check in found.checks:
        table.add_row(check.check, check.verdict, check.found, style=styles[check.verdict])
    out.print(table)
