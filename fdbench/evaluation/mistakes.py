"""The classic mistakes in handing a network its images, found by trying what would mend them.

A network with its normalisation left out, with red for blue, or at another size is not broken: it
is merely bad, and looks little robust. Each remedy is tried on a few of the run's first images; one
that makes the network right on many more of them names the mistake.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool
from scipy.stats import binomtest
from torch import Tensor, nn

from fdbench.data import Dataset
from fdbench.errors import SanityFailed
from fdbench.evaluation.behaviour import LIMIT
from fdbench.machine import generators_kept
from fdbench.models import Model, Preprocessed
from fdbench.types import Batch, Images
from fdbench.verdict import relative_difference

LOOKED = 64  # images on which remedies are tried
MORE = 256  # and where none of them helps much, those that cost little
SMALL = 64  # px: images that cost next to nothing
ENOUGH = 0.9  # a network right on so many has no mistake worth looking for
GAIN = 0.05  # least gain that names a mistake: a small network loses about that by BGR
CHANCE = 0.001  # and largest p of it: nine remedies are tried
TIMES_CHANCE = 3  # clean accuracy below it is remarked on
SIZES = (32, 64, 224)  # of CIFAR, Tiny ImageNet and ImageNet
SPREAD = 2.6  # standard errors of a sample that an expected accuracy allows for


@dataclass(frozen=True)
class Remedy:
    """What mends a mistake: said, typed, and done to the images."""

    mistake: str
    typed: str
    mend: Callable[[Images], Tensor]
    of: str = ""  # whose normalisation it is


def _normal(mean: Sequence[float], std: Sequence[float]) -> Callable[[Images], Tensor]:
    def mend(x: Images) -> Tensor:
        centre, width = (x.new_tensor(list(values)).view(3, 1, 1) for values in (mean, std))
        return (x - centre) / width

    return mend


def _normalised(of: str, mean: Sequence[float], std: Sequence[float]) -> Remedy:
    means, stds = (",".join(f"{value:g}" for value in values) for values in (mean, std))
    return Remedy(
        f"it was trained on normalised images ({of}), and gets none",
        f"--mean {means} --std {stds}", _normal(mean, std), of,
    )  # fmt: skip


_CAFFE = (104 / 255, 117 / 255, 123 / 255)  # BGR, of ImageNet

_NORMALISATIONS = (
    _normalised("ImageNet's mean and std", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    _normalised("CIFAR-10's", (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)),
    _normalised("to [-1, 1]", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
)
_BGR = Remedy(
    "it was trained on BGR images, as OpenCV reads them", "--order bgr", lambda x: x.flip(1)
)
_RGB = Remedy("it was trained on RGB images, and gets BGR", "--order rgb", _BGR.mend)
REMEDIES: tuple[Remedy, ...] = (
    *_NORMALISATIONS,
    Remedy("it was trained on pixels of 0 .. 255", "--range 255", lambda x: 255 * x),
    _BGR,
    Remedy(
        "it was trained on BGR pixels of 0 .. 255 less their mean, as Caffe's networks",
        "--order bgr --range 255 --mean 0.408,0.459,0.482 --std 1",
        lambda x: 255 * _normal(_CAFFE, (1.0, 1.0, 1.0))(x.flip(1)),
    ),
)


def _resized(px: int) -> Remedy:
    def mend(x: Images) -> Tensor:
        return F.interpolate(x, (px, px), mode="bicubic", align_corners=False, antialias=True)

    return Remedy(f"it was trained on images of {px} px", f"--net-px {px}", mend)


def _remedies(net: nn.Module, px: int) -> Iterator[Remedy]:
    """Yields each remedy for a network that gets images of px x px."""
    yield from _common(net)
    yield from (_resized(size) for size in SIZES if size != px)
    yield from _in_place_of_its_own(net)


def _common(net: nn.Module) -> Iterator[Remedy]:
    """Yields REMEDIES; a network whose order was stated wrongly needs the other one."""
    reversed_ = isinstance(net, Preprocessed) and net.order == "bgr"
    yield from (_RGB if reversed_ and one is _BGR else one for one in REMEDIES)


def _in_place_of_its_own(net: nn.Module) -> Iterator[Remedy]:
    """Yields what mends a network whose own normalisation is not the one of its training."""
    if not isinstance(net, Preprocessed) or not (net.mean.any() or (net.std != 1).any()):
        return

    def undone(x: Tensor) -> Tensor:
        return x * net.std + net.mean

    def replaced(mend: Callable[[Images], Tensor]) -> Callable[[Images], Tensor]:
        return lambda x: undone(mend(x))

    twice = "its images are normalised twice: it does so by itself"
    yield Remedy(twice, "--mean 0 --std 1", undone)
    for other in _NORMALISATIONS if net.order == "rgb" else ():
        wrong = f"its normalisation is not the one it was trained with ({other.of})"
        yield Remedy(wrong, other.typed, replaced(other.mend), other.of)


@torch.no_grad()
def _right(net: nn.Module, x: Tensor, batch: Batch) -> Bool[Tensor, " B"] | None:
    """Which images it classifies correctly; None if it fails on them."""
    with suppress(RuntimeError, ValueError, AssertionError, TypeError, IndexError):
        answers = net(x).argmax(1) == batch.label
        return answers if answers.shape == batch.label.shape else None
    return None


def _named(
    net: nn.Module, batch: Batch, right: Bool[Tensor, " B"], remedies: Iterable[Remedy]
) -> str:
    """The mistake that explains most wrong answers, and what to type; empty if none does."""
    best, text, n = int(right.sum()), "", len(right)
    for remedy in remedies:
        mended = _right(net, remedy.mend(batch.x), batch)
        if mended is None or int(mended.sum()) <= best:
            continue
        gained, lost = int((mended & ~right).sum()), int((right & ~mended).sum())
        if gained - lost < GAIN * n or binomtest(gained, gained + lost).pvalue > CHANCE:
            continue
        best = int(mended.sum())
        text = (
            f"{remedy.mistake}: right on {int(right.sum())} of {n} images, on {best} with "
            f"{remedy.typed}. If that is so, type it"
        )
    return text


def _named_on_more(
    net: nn.Module, data: Dataset, positions: Sequence[int], device: torch.device
) -> str:
    """As `_named`, of more images, for mistakes that cost few points.

    Of small images also of those that the run leaves out: a run of 50 can't tell six points.
    """
    others = range(0, len(data), max(1, len(data) // MORE)) if data.px <= SMALL else ()
    batch = data.fetch(list(dict.fromkeys([*positions, *others]))[:MORE]).to(device)
    right = _right(net, batch.x, batch)
    cheap = [*_common(net), *_in_place_of_its_own(net)]
    return "" if right is None else _named(net, batch, right, cheap)


def _mode(net: nn.Module, x: Images) -> str:
    """What says that a part of the network is in training mode."""
    left = [
        f"{name} ({type(module).__name__})"
        for name, module in net.named_modules()
        if module.training and isinstance(module, _MODES)
    ]
    if left:
        return (
            f"{', '.join(left[:3])}{', ...' * (len(left) > 3)} stays in training mode after "
            "net.eval(): does a train() or forward() of the network's set it? Remove that"
        )
    logits = net(x)
    if relative_difference(net(x), logits) > LIMIT:
        return (
            "it answers differently on the same images: dropout that is left on "
            "(F.dropout(x, training=self.training)), or noise by design (--eot 20)"
        )
    half = len(x) // 2
    if half and relative_difference(net(x[:half]), logits[:half]) > LIMIT:
        return (
            "its answer for an image depends on the others in the batch: batch norm in training "
            "mode (F.batch_norm(..., training=self.training))"
        )
    return ""


_MODES = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm)


@torch.no_grad()
def suspicions(
    model: Model, data: Dataset, positions: Sequence[int], device: torch.device
) -> list[str]:
    """The mistakes that a network's answers on the first of these images point at, one a line.

    Nothing for fdbench's own checkpoints, whose cards say how they take their images.
    """
    if model.card or model.ref.startswith("defense:") or not positions:
        return []
    batch = data.fetch(list(positions[:LOOKED])).to(device)
    net = model.net.to(device)
    with generators_kept(device):
        right = _right(net, batch.x, batch)
        if right is None:  # its own message comes with the attack
            return []
        found = [_mode(net, batch.x)]
        accuracy = float(right.float().mean())
        if accuracy < ENOUGH:
            found.append(_named(net, batch, right, _remedies(net, batch.x.shape[-1])))
        if TIMES_CHANCE / data.classes < accuracy < ENOUGH and found[-1] == "":
            found.append(_named_on_more(net, data, positions, device))
        found.append(_low(accuracy, len(right), data.classes))
    return [text for text in found if text]


def _low(accuracy: float, n: int, classes: int) -> str:
    least = min(TIMES_CHANCE / classes, (1 + 1 / classes) / 2)
    if accuracy >= least:
        return ""
    return (
        f"clean accuracy is {100 * accuracy:.1f} % on the first {n} images, below "
        f"{100 * least:.3g} %, {TIMES_CHANCE} times chance or half-way from it: is it the right "
        "network for these data? --expect-clean PERCENT stops such runs"
    )


@torch.no_grad()
def check_expected(
    model: Model,
    data: Dataset,
    positions: Sequence[int],
    device: torch.device,
    expected: tuple[float, float],
) -> None:
    """Raises SanityFailed if clean accuracy on these images is not `expected` within its tolerance.

    Both in percent. Of a part of the data, the chance of a sample is allowed for too.
    """
    wanted, give = expected
    net, right = model.net.to(device), 0
    for batch in data.batches(list(positions), 250):
        moved = batch.to(device)
        right += int((net(moved.x).argmax(1) == moved.label).sum())
    n = len(positions)
    if n < len(data):
        share = wanted / 100
        give += 100 * SPREAD * float(share * (1 - share) / n) ** 0.5
    found = 100 * right / n
    if not abs(found - wanted) <= give:
        raise SanityFailed(
            f"clean accuracy of {model.name} is {found:.2f} % on {n} images of {data.name}, "
            f"expected {wanted:g} within {give:.3g}: nothing was attacked.\n"
            "Are weights, preprocessing and data the published ones?"
        )
