"""Figures of features: what an attack does to them, stage by stage, and what a denoiser undoes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pandas import DataFrame

from fdbench.api.attacks import pgd
from fdbench.api.opening import complete, open_images, open_models, workspace_at
from fdbench.api.requests import AttackRequest, Compute, DataRequest
from fdbench.console import say
from fdbench.errors import BadValue, FdbenchError
from fdbench.evaluation import (
    MapPair,
    distances,
    in_order,
    map_pairs,
    places_of,
    signs,
)
from fdbench.files import safe, write_atomically
from fdbench.machine import start_torch
from fdbench.models import Model
from fdbench.reporting import QUANTILES, Shown, csv_table, distance_figure, maps_figure
from fdbench.specs import AttackSpec
from fdbench.types import Batch, Images, Labels


@dataclass(frozen=True)
class FeatureRequest:
    """Which features to show, and of how many images; `stage` counts from 1."""

    stage: int = 2  # the paper shows res3, the second of four
    channel: int | None = None  # None: the one whose clean maps vary most
    rows: int = 3  # images to show
    limit: int = 100  # images whose distances are measured
    iters: int = 20
    seed: int = 0


@dataclass(frozen=True, eq=False)
class _Attacked:
    """A network, the images, their adversarial twins, and what it says of both."""

    model: Model
    batch: Batch
    adv: Images
    clean_says: Labels
    says: Labels


def _attacked(model: Model, batch: Batch, spec: AttackSpec, asked: FeatureRequest) -> _Attacked:
    say(f"{model.name}: PGD {asked.iters}, {spec.norm}, eps {spec.eps_text}, on its own features")
    adv = pgd(model.net, batch.x, batch.label, eps=spec.eps, norm=spec.norm, iters=asked.iters,
              targeted=False, seed=asked.seed)  # fmt: skip
    with torch.no_grad():
        answers = [model.net(x).argmax(1) for x in (batch.x, adv)]
    return _Attacked(model, batch, adv, *answers)


def _lines(one: _Attacked, spec: AttackSpec, seed: int) -> list[dict[str, object]]:
    """A line for each place, of the attack and of noise of its size."""
    places, x = places_of(one.model.net), one.batch.x
    others = {"attack": one.adv, "noise": signs(x, spec.eps, seed)}
    lines = []
    for of, other in others.items():
        for name, values in zip(places, distances(one.model.net, x, other, places), strict=True):
            quartiles = zip(QUANTILES, np.quantile(values, (0.25, 0.5, 0.75)).tolist(), strict=True)
            about = {"model": one.model.name, "of": of, "place": name, "images": len(values)}
            lines.append({**about, **dict(quartiles)})
    return lines


def _chosen(networks: Sequence[_Attacked], rows: int) -> list[int]:
    """Images that every network gets right when clean and wrong under attack; else the first."""
    labels = networks[0].batch.label
    wanted = torch.stack([(n.clean_says == labels) & (n.says != labels) for n in networks]).all(0)
    order = [*wanted.nonzero().flatten().tolist(), *(~wanted).nonzero().flatten().tolist()]
    return order[:rows]


def _pixels(x: Images) -> np.ndarray:
    return x.permute(0, 2, 3, 1).cpu().numpy()


def _shown(one: _Attacked, chosen: list[int], asked: FeatureRequest, channel: int | None) -> Shown:
    x, adv = one.batch.x[chosen], one.adv[chosen]
    pairs: list[MapPair] = map_pairs(one.model.net, x, adv, asked.stage, channel)
    labels = one.batch.label[chosen].tolist()
    answers = [
        tuple(str(says) if says == label else f"{says} \N{BALLOT X}" for says in both)
        for label, *both in zip(
            labels, one.clean_says[chosen].tolist(), one.says[chosen].tolist(), strict=True
        )
    ]
    return Shown(
        one.model.name, pairs[0].channel, _pixels(x), _pixels(adv), answers,  # type: ignore[arg-type]
        {pair.place: (pair.clean, pair.adv) for pair in pairs},
    )  # fmt: skip


def feature_figures(
    model: str,
    against: str | None,
    data: DataRequest,
    attack: AttackRequest,
    asked: FeatureRequest,
    results: Path,
    compute: Compute,
) -> tuple[list[Path], DataFrame]:
    """Writes figures of one or two networks' features, each attacked by PGD on itself.

    Returns the files' paths, and the distances: a line for each network, place, and `of` ("attack",
    or "noise" of the same size). Raises BadValue for a network without stages, or a stage or a
    channel that it has not.
    """
    workspace, device = workspace_at(results), start_torch(compute.device, compute.threads)
    if against == model:
        raise BadValue(f"--against {against} is the model itself: name another, or leave it out.")
    networks, lines, spec = [], list[dict[str, object]](), None
    batch: Batch | None = None
    for opened in open_models([model, *([against] if against else [])], workspace):
        places_of(opened.net.to(device))
        if batch is None or spec is None:
            images = open_images(opened, data)
            spec, batch = (
                complete(attack, opened, images),
                images.fetch(images.first(asked.limit)).to(device),
            )
        networks.append(_attacked(opened, batch, spec, asked))
        lines += _lines(networks[-1], spec, asked.seed)
    if spec is None or batch is None or not len(batch.label):
        raise FdbenchError("no images to show.")
    table = DataFrame(lines).round(4)
    return _written(networks, table, spec, asked, results), table


def _written(
    networks: list[_Attacked],
    table: DataFrame,
    spec: AttackSpec,
    asked: FeatureRequest,
    results: Path,
) -> list[Path]:
    chosen = _chosen(networks, asked.rows)
    shown = [_shown(one, chosen, asked, asked.channel) for one in networks]
    threat = f"PGD {asked.iters}, {spec.norm} {spec.eps_text}, untargeted, each network its own"
    channels = ", ".join(f"{one.model}: channel {one.channel}" for one in shown)
    maps = maps_figure(shown, f"{threat}; {channels}")
    places = in_order([list(table[table["model"] == m]["place"]) for m in table["model"].unique()])
    panel = distance_figure(table, places, f"{threat}; {len(networks[0].batch.label)} images")
    name = safe("-".join(one.model.name for one in networks))
    files: dict[str, bytes | str] = {f"features-{name}.csv": csv_table(table)}
    files |= {f"features-{name}-maps.{kind}": content for kind, content in maps.items()}
    files |= {f"features-{name}-distance.{kind}": content for kind, content in panel.items()}
    paths = []
    for file, content in files.items():
        paths.append(workspace_at(results).table(file))
        write_atomically(paths[-1], content)
    return paths
