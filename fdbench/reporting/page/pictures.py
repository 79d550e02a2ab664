"""Images of the page's gallery: clean, adversarial and their difference, as small PNG files.

From stored sets, and from runs that kept their adversarial images. What is too wide for a page is
made smaller; nothing here is judged again. Free of torch.
"""

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from safetensors import SafetensorError, safe_open

from fdbench.errors import FdbenchError
from fdbench.randomness import ImageId
from fdbench.reporting import outcomes
from fdbench.reporting.all_or_nothing import Victim
from fdbench.reporting.figures.examples import Examples
from fdbench.reporting.figures.gallery import magnified, shown_victims
from fdbench.reporting.page.trials import run_label
from fdbench.reporting.setting import Setting
from fdbench.store import CLEAN, Run, RunPaths

_WIDE = 96  # wider images are made smaller
_BYTES = 150_000  # of all pictures of a page, at most
_ROWS = 4  # images of a run
Pixels = UInt8[np.ndarray, "n 3 H W"]  # RGB, 0 .. 255
Clean = Callable[[Run, Sequence[ImageId]], Pixels | None]  # a run's clean images, if they are here


@dataclass(frozen=True)
class Version:
    """An image after an attack; `difference` is empty where the clean image is not on this disk."""

    attack: str
    answer: int
    image: bytes
    difference: bytes = b""


@dataclass(frozen=True)
class Picture:
    """One image, clean and as each attack left it."""

    image: str
    label: int
    clean_answer: int
    clean: bytes
    versions: tuple[Version, ...]

    @property
    def size(self) -> int:
        """Its bytes."""
        every = [
            self.clean,
            *(part for one in self.versions for part in (one.image, one.difference)),
        ]
        return sum(map(len, every))


@dataclass(frozen=True)
class Gallery:
    """Some images of one network on one set or in one run."""

    title: str
    pictures: tuple[Picture, ...]


def nowhere(run: Run, ids: Sequence[ImageId]) -> Pixels | None:
    """The clean images of a run where no data can be opened: none."""
    return None


def _png(image: UInt8[np.ndarray, "3 H W"]) -> bytes:
    picture = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    if picture.width > _WIDE:
        height = round(picture.height * _WIDE / picture.width)
        picture = picture.resize((_WIDE, height), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=True)
    return file.getvalue()


def _difference(
    adv: UInt8[np.ndarray, "3 H W"], clean: UInt8[np.ndarray, "3 H W"], eps: float
) -> bytes:
    shown = magnified(adv[None], clean[None], eps)[0]
    return _png((255 * shown).round().astype(np.uint8))


def _picture(shown: Examples, place: int, eps: float, has_clean: bool) -> Picture:
    clean = shown.clean[place] if has_clean else None
    versions = [
        Version(
            attack,
            shown.predictions[attack][place],
            _png(images[place]),
            b"" if clean is None else _difference(images[place], clean, eps),
        )
        for attack, images in shown.adv.items()
    ]
    return Picture(
        str(shown.ids[place]),
        shown.labels[place],
        shown.predictions[CLEAN][place],
        b"" if clean is None else _png(clean),
        tuple(versions),
    )


def _gallery(run: Run, shown: Examples, has_clean: bool = True) -> Gallery:
    title, places = f"{run.info.model.name}, {Setting.of(run).title}", range(len(shown.ids))
    return Gallery(title, tuple(_picture(shown, i, _scale(run), has_clean) for i in places))


def _shard(path: Path) -> tuple[list[ImageId], Mapping[str, np.ndarray]]:
    """The ids of a shard and its last reading. Raises FdbenchError for another file."""
    try:
        with safe_open(path, framework="numpy") as shard:
            ids: list[ImageId] = json.loads(shard.metadata()["ids"])
            return ids, {name: shard.get_tensor(name) for name in shard.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, TypeError, KeyError, ValueError) as reason:
        raise FdbenchError(f"{path} is not a shard of images: {reason}") from reason


def _eight_bits(images: np.ndarray) -> Pixels:
    return images if images.dtype == np.uint8 else (255 * images).round().astype(np.uint8)


def _chosen(run: Run, ids: Sequence[ImageId], reading: str) -> list[int]:
    """Places in `ids` of images to show: those broken first, then one that holds."""
    columns = run.columns
    at = outcomes.places_of(np.array(ids, columns.images.dtype), columns.images)
    right = outcomes.right_when_clean(columns)
    held = outcomes.right(columns, reading)
    known = [(i, place) for i, place in enumerate(at.tolist()) if place >= 0 and right[place]]
    fallen = [i for i, place in known if not held[place]]
    holding = [i for i, place in known if held[place]][:1]
    return fallen[: _ROWS - len(holding)] + holding


def _kept(run: Run, clean: Clean) -> Gallery | None:
    """Images that a white-box run kept, of its first shard, at its largest budget."""
    shards = sorted(RunPaths(run.path).images.glob("*.safetensors"))
    reading = outcomes.at_budgets(run)[-1].budget if len(run.columns) else ""
    if not shards or reading not in run.columns.pred:
        return None
    ids, tensors = _shard(shards[0])
    chosen = _chosen(run, ids, reading) if reading in tensors else []
    if not chosen:
        return None
    named = [ids[i] for i in chosen]
    columns, originals, adv = run.columns, clean(run, named), _eight_bits(tensors[reading][chosen])
    rows = outcomes.places_of(np.array(named, columns.images.dtype), columns.images)
    shown = Examples(
        ids=tuple(named),
        clean=adv if originals is None else originals,
        adv={run_label(run): adv},
        labels=tuple(columns.label[rows].tolist()),
        predictions={
            run_label(run): outcomes.predictions(columns, reading, rows),
            CLEAN: tuple(columns.clean[rows].tolist()),
        },
    )
    return _gallery(run, shown, originals is not None)


def _scale(run: Run) -> float:
    """What fills the range of a difference: eps in linf; elsewhere 8/255, so that one sees it."""
    spec = run.info.attack
    return spec.eps if spec.norm == "linf" else 8 / 255


def galleries(
    runs: Sequence[Run], victims: Sequence[Victim], results: Path, clean: Clean, room: int = _BYTES
) -> Iterator[Gallery]:
    """Pictures of the stored sets, then of the runs that kept theirs, of `room` bytes at most."""
    left = min(room, _BYTES)
    for one in _all(runs, victims, results, clean):
        fitting = []
        for picture in one.pictures:
            left -= picture.size
            if left > 0:
                fitting.append(picture)
        if fitting:
            yield Gallery(one.title, tuple(fitting))
        if left <= 0:
            return


def _all(
    runs: Sequence[Run], victims: Sequence[Victim], results: Path, clean: Clean
) -> Iterator[Gallery]:
    for _, victim, shown in shown_victims(
        victims, results, say=lambda _: None
    ):  # the chapter's picture says it
        yield _gallery(victim.run, shown)
    for run in runs:
        if "save_adv" in run.info.found:
            try:
                gallery = _kept(run, clean)
            except FdbenchError:
                continue  # `fdbench verify` says what is wrong with the images
            if gallery:
                yield gallery
