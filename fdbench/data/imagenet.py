"""ImageNet as the paper prepares it (Xie et al. 2019, released code), from train/ and val/ folders.

One deviation: Pillow's bicubic filter antialiases when it shrinks an image, the authors' does not.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from jaxtyping import Float32
from numpy import ndarray
from PIL import Image

from fdbench.data.dataset import Augment, Dataset, Reader, Request
from fdbench.data.folder import centre_crop, decoded, from_files, list_images, open_rgb, part_folder
from fdbench.errors import BadValue, FdbenchError
from fdbench.randomness import ImageId, uniform
from fdbench.types import Images

Pixels = Float32[ndarray, "H W 3"]  # RGB in [0, 1]
Unit = Float32[ndarray, "_"]  # uniform in [0, 1)

_CLASSES = 1000
_PX = 224
_EDGE = 256 / 224  # evaluation: the shortest edge in units of the crop
_AREA = (0.08, 1.0)
_ASPECT = (3 / 4, 4 / 3)
_TRIES = 10  # random crops tried before falling back to the centre
_STRENGTH = 0.4  # brightness, contrast and saturation are scaled by 1 +- this
_LIGHTING = 0.1
# Principal components of ImageNet's RGB pixels (Krizhevsky et al. 2012, Sec. 4.1); these values:
# released code, which has them from fb.resnet.torch.
_VARIANCES = np.array([0.2175, 0.0188, 0.0045])
_COMPONENTS = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
)
_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601 luma


def _between(bounds: tuple[float, float], unit: float) -> float:
    return bounds[0] + unit * (bounds[1] - bounds[0])


def _blend(x: Pixels, other: Float32[ndarray, "..."], unit: Unit) -> Pixels:
    """x moved towards `other`, or away from it, by up to _STRENGTH."""
    factor = np.float32(_between((1 - _STRENGTH, 1 + _STRENGTH), float(unit[0])))
    return factor * x + (1 - factor) * other


def _brightness(x: Pixels, unit: Unit) -> Pixels:
    return _blend(x, np.zeros(3, np.float32), unit)


def _contrast(x: Pixels, unit: Unit) -> Pixels:
    return _blend(x, x.mean((0, 1)), unit)  # each channel about its own mean: released code


def _saturation(x: Pixels, unit: Unit) -> Pixels:
    return _blend(x, (x @ _GREY)[:, :, None], unit)


def _lighting(x: Pixels, unit: Unit) -> Pixels:
    # 2^-25 is half the spacing of the uniform numbers: no infinite normals.
    normal = [NormalDist(0, _LIGHTING).inv_cdf(float(u) + 2**-25) for u in unit]
    return x + (_COMPONENTS @ (normal * _VARIANCES)).astype(np.float32)


_COLOUR: tuple[Callable[[Pixels, Unit], Pixels], ...] = (
    _brightness,
    _contrast,
    _saturation,
    _lighting,
)
_PER_CROP, _PER_COLOUR = 5, 3  # uniform numbers used by each
_DRAWS = _TRIES * _PER_CROP + len(_COLOUR) * (_PER_COLOUR + 1) + 1


def jitter(x: Pixels, order: Unit, unit: Float32[ndarray, "4 3"]) -> Pixels:
    """Brightness, contrast, saturation and lighting, in random order (all four: released code).

    Clipped to [0, 1] after each, as the authors' 8-bit images are.
    """
    for step in np.argsort(order):
        x = np.clip(_COLOUR[step](x, unit[step]), 0, 1)
    return x


def random_box(
    width: int, height: int, unit: Float32[ndarray, "T 5"]
) -> tuple[int, int, int, int] | None:
    """Left, top, right, bottom of the first crop that fits; None if no try fits.

    Szegedy et al. 2015, Sec. 6: 8 to 100 % of the area, aspect ratio 3/4 to 4/3.
    """
    for area, aspect, swap, across, down in unit.tolist():
        pixels, ratio = _between(_AREA, area) * width * height, _between(_ASPECT, aspect)
        sides = round((pixels * ratio) ** 0.5), round((pixels / ratio) ** 0.5)
        w, h = sides if swap < 0.5 else sides[::-1]
        if w <= width and h <= height:
            left, top = int(across * (width - w + 1)), int(down * (height - h + 1))
            return left, top, left + w, top + h
    return None


def for_training(image: Image.Image, px: int, unit: Unit) -> Pixels:
    """A random crop at px x px, with colour jitter and a random mirror."""
    crops, order, colour, mirror = np.split(
        unit, np.cumsum([_TRIES * _PER_CROP, len(_COLOUR), len(_COLOUR) * _PER_COLOUR])
    )
    box = random_box(*image.size, crops.reshape(_TRIES, _PER_CROP))
    if box is None:
        image = centre_crop(image, px, px)
    else:
        image = image.resize((px, px), Image.Resampling.BICUBIC, box=box)
    x = jitter(_scaled(image), order, colour.reshape(len(_COLOUR), _PER_COLOUR))
    return x[:, ::-1] if mirror[0] < 0.5 else x


def _scaled(image: Image.Image) -> Pixels:
    return np.asarray(image, np.float32) / np.float32(255)


@dataclass(frozen=True, eq=False)
class _ImageNet:
    paths: tuple[str, ...]
    px: int

    def __call__(
        self, positions: Sequence[int], ids: Sequence[ImageId], augment: Augment | None
    ) -> Images:
        def read(i: int) -> Float32[ndarray, "3 H W"]:
            image = open_rgb(self.paths[positions[i]])
            if augment is None:
                x = _scaled(centre_crop(image, round(self.px * _EDGE), self.px))
            else:
                unit = uniform(augment.seed, augment.stream, [ids[i]], (_DRAWS,))[0]
                x = for_training(image, self.px, unit)
            return np.ascontiguousarray(x.transpose(2, 0, 1))

        return decoded(read, len(positions))


def open_imagenet(request: Request) -> Dataset:
    """Opens data_dir/train or data_dir/val with 1000 class folders each (n01440764, ...).

    Evaluation: shortest edge 256, central 224 x 224, both scaled by px / 224 for another `px`.
    Training: random crop, colour jitter, mirror. Raises FdbenchError unless there are 1000 classes:
    the labels of an ImageNet subset would silently mean other classes.
    """
    root = request.data_dir
    if root is None:
        raise BadValue("imagenet can't be downloaded: give --data-dir DIR with DIR/train, DIR/val.")
    px = request.px or _PX
    places = {"train": root / "train", "test": root / "val"}
    parts = {part: folder for part, folder in places.items() if folder.is_dir()}
    if not parts:
        raise FdbenchError(f"imagenet: {root} has neither a folder train nor a folder val.")
    folder, classes = part_folder(request, parts)
    if len(classes) != _CLASSES:
        raise FdbenchError(
            f"imagenet has {_CLASSES} classes, but {folder} has {len(classes)} class folders.\n"
            f"For a subset with its own labels: --data folder:{root}"
        )

    def reader(paths: tuple[str, ...]) -> Reader:
        return _ImageNet(paths, px)

    return from_files(request, list_images(folder, classes), classes, px, reader)
