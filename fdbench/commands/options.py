"""Options that several commands share, and the types that read them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from fdbench.errors import BadValue
from fdbench.units import parse_size

F = TypeVar("F", bound=Callable[..., Any])


class Budgets(click.ParamType[tuple[int, ...]]):
    """`10,20,50`: whole numbers of iterations."""

    name = "N[,N...]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(int(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a whole number, nor several as in 10,20,50", param, ctx)


class Fraction(click.ParamType[float]):
    """A number from 0 to 1."""

    name = "0..1"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            number = float(value)
        except ValueError:
            self.fail(f"{value!r} is not a number", param, ctx)
        if not 0 <= number <= 1:
            self.fail(f"{value} does not lie in [0, 1]", param, ctx)
        return number


class Fractions(click.ParamType[tuple[float, ...]]):
    """`0.3,0.6,0.9`: numbers from 0 to 1."""

    name = "0..1[,0..1...]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        one = Fraction()
        return tuple(one.convert(part, param, ctx) for part in str(value).split(","))


def plain_name(name: str) -> str:
    """The name, if a checkpoint can be called so. Raises BadValue for a path."""
    if not name or Path(name).name != name or name.startswith("."):
        raise BadValue(f"--name {name!r} must be a plain file name.")
    return name


def size(text: str | None, norm: str, option: str) -> float | None:
    """The size typed after --eps or --alpha; None where nothing (or `auto`) was."""
    return None if text in (None, "auto") else parse_size(str(text), norm, option)


def all_of(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


results_option = click.option(
    "--results",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Folder for checkpoints, runs and tables.",
)

data_options = all_of(
    click.option("--data", help="Data set: `fdbench list data`, folder:DIR, npz:PATH."),
    click.option(
        "--data-dir",
        type=click.Path(path_type=Path),
        help="Where a named data set lies, or is downloaded to.",
    ),
    click.option(
        "--px", type=click.IntRange(min=8), help="Side that image files are resized and cropped to."
    ),
    click.option("--download", is_flag=True, help="Fetch a named data set that is not there."),
)

compute_options = all_of(
    click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda"]),
        default="auto",
        show_default=True,
        help="auto: the GPU where there is one.",
    ),
    click.option("--threads", type=click.IntRange(min=1), help="CPU threads [default: all cores]."),
)


def start_torch(device: str, threads: int | None) -> Any:
    """The torch.device to compute on, with the thread count set.

    TF32 stays off: attacks and verdicts are in float32. Raises BadValue for a missing GPU.
    """
    import torch

    from fdbench.machine import keep_freed

    keep_freed()
    if threads is not None:
        torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    gpu = torch.cuda.is_available()
    if device == "cuda" and not gpu:
        raise BadValue("--device cuda: PyTorch sees no GPU here. Use --device cpu or auto.")
    if not gpu or device == "cpu":
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))  # torchrun: a GPU each
