"""`REF#mean=0.5,0.5,0.5&order=bgr`: what a user states about a network. Free of torch.

Stated in the reference itself, so that a run's record opens the same network again.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from fdbench.errors import BadValue
from fdbench.specs.model import ORDERS
from fdbench.specs.plain import pick

RANGES = (1, 255)  # the largest value of a pixel
SOURCE = "source"  # --crop as the metadata of the network's weights say

_FRAGMENT = re.compile(r"(?P<ref>.+)#(?P<pairs>[a-z-]+=[^#]*)")
_MAKERS = ("arch", "factory")


@dataclass(frozen=True)
class Stated:
    """How a network takes its images, and what a file of weights belongs to; None: not stated.

    The network gets `range * (x - mean) / std` of images x in [0, 1], in the channel order `order`.
    """

    mean: tuple[float, ...] | None = None  # per channel, in image units
    std: tuple[float, ...] | None = None
    px: int | None = None  # the side to which the network's images are resized
    crop: int | str | None = None  # the shortest edge before their central px x px, or "source"
    order: str | None = None
    range: int | None = None
    arch: str | None = None  # tv:NAME, timm:NAME or rb:...: whose weights a file holds
    factory: str | None = None  # code that makes the network whose weights a file holds
    trust_pickle: bool = False  # open files whose opening can run code

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            values = getattr(self, name)
            if values is not None and len(values) == 1:
                object.__setattr__(self, name, values * 3)
            elif values is not None and len(values) != 3:
                raise BadValue(f"--{name} takes one number, or three as in 0.485,0.456,0.406.")
        if self.order is not None:
            pick("channel order", self.order, ORDERS)
        if self.range is not None and self.range not in RANGES:
            raise BadValue(f"--range is 1 or 255, not {self.range}.")
        if self.arch and self.factory:
            raise BadValue("--arch and --factory both say what network it is: give one of them.")

    @property
    def preprocesses(self) -> bool:
        """Whether anything is said about the images that the network takes."""
        return any(
            getattr(self, one) is not None
            for one in ("mean", "std", "px", "crop", "order", "range")
        )

    @property
    def named(self) -> dict[str, str]:
        """What is stated, by name, as text."""
        given = {one.name: getattr(self, one.name) for one in fields(self)}
        return {
            name.replace("_", "-"): _text(value)
            for name, value in given.items()
            if value is not None and value is not False
        }

    @property
    def fragment(self) -> str:
        """`mean=0.5,0.5,0.5&order=bgr`: what follows the # of a reference; empty for nothing."""
        return "&".join(f"{key}={quote(text, safe='/:,~+ ')}" for key, text in self.named.items())

    @property
    def without_folders(self) -> "Stated":
        """The same, with the code's file by its name alone."""
        if not self.factory:
            return self
        home, colon, rest = self.factory.partition(":")
        return replace(self, factory=f"{Path(home).name}{colon}{rest}")

    def added_to(self, ref: str) -> str:
        """Returns the reference with what is stated. Raises BadValue if it states some already."""
        if not self.fragment:
            return ref
        bare, own = split(ref)
        if both := set(own.named) & set(self.named):
            raise BadValue(f"--{min(both)} is stated twice: in {ref}, and as an option.")
        return f"{bare}#{'&'.join(filter(None, [own.fragment, self.fragment]))}"


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(f"{number:g}" for number in value)
    return "true" if value is True else str(value)


def numbers(text: str, name: str) -> tuple[float, ...]:
    """Parses `0.485,0.456,0.406`. Raises BadValue for anything else."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as reason:
        raise BadValue(
            f"--{name} {text!r} is not a number, nor three as in 0.485,0.456,0.406."
        ) from reason


def _whole(text: str, name: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise BadValue(f"{name}={text} in a reference: {name} is a whole number.")
    return int(text)


def crop(text: str, name: str = "crop") -> int | str:
    """Parses `256` or `source`. Raises BadValue for anything else."""
    if text == SOURCE:
        return text
    if not text.isdecimal() or int(text) < 1:
        raise BadValue(
            f"--crop {text!r} is neither the side that images are resized to before the crop, as "
            f"256, nor {SOURCE}."
        )
    return int(text)


def _as_is(text: str, name: str) -> str:
    return text


_READ: dict[str, Callable[[str, str], Any]] = {
    "mean": numbers,
    "std": numbers,
    "px": _whole,
    "crop": crop,
    "range": _whole,
    "trust-pickle": lambda text, _: text == "true",
}


def split(ref: str) -> tuple[str, Stated]:
    """Returns a reference without its fragment, and what that states.

    Raises BadValue for a key that does not exist.
    """
    match = _FRAGMENT.fullmatch(ref)
    if not match:
        return ref, Stated()
    given: dict[str, Any] = {}
    known = tuple(one.name.replace("_", "-") for one in fields(Stated))
    for pair in match["pairs"].split("&"):
        key, _, text = pair.partition("=")
        pick("key after the # of a model", key, known)
        given[key.replace("-", "_")] = _READ.get(key, _as_is)(unquote(text), key)
    return match["ref"], Stated(**given)
