"""Options that several commands share, and the types that read them."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import click

from fdbench.commands.expectation import expectation
from fdbench.commands.stating import stating
from fdbench.errors import BadValue, unknown
from fdbench.specs import SAVE
from fdbench.units import parse_size

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class Named(click.Group):
    """A group that answers an unknown command with the nearest one."""

    kind = "command"
    hints: Mapping[str, str] = {}  # by a name that is no command, what to type for it

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            hint = self.hints.get(name.lower(), "")
            raise unknown(self.kind, name, self.list_commands(ctx), hint)
        return super().resolve_command(ctx, args)


class OneOf(click.Choice[str]):
    """One of several names; an unknown one is answered with the nearest."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in self.choices:
            option = param.opts[0] if param else "value"
            raise unknown(option, str(value), self.choices)
        return str(value)


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
            self.fail(f"{value!r} is not a whole number, or several as in 10,20,50", param, ctx)


class Names(click.ParamType[tuple[str, ...]]):
    """`apgd-ce,square`: names."""

    name = "NAME[,NAME...]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        return value if isinstance(value, tuple) else tuple(str(value).split(","))


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
            self.fail(f"{value} is not in [0, 1]", param, ctx)
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
    """Returns the name if it is valid for a checkpoint. Raises BadValue for a path."""
    if not name or Path(name).name != name or name.startswith("."):
        raise BadValue(f"--name {name!r} must be a plain file name.")
    return name


def size(text: str | None, norm: str, option: str) -> float | None:
    """Parses the value of --eps or --alpha; None if left out or `auto`."""
    return None if text in (None, "auto") else parse_size(str(text), norm, option)


def taken(request: type[T], flags: dict[str, Any]) -> T:
    """Builds a request from the flags named like its fields, which are removed."""
    names = [one.name for one in fields(request)]  # type: ignore[arg-type]
    return request(**{name: flags.pop(name) for name in names if name in flags})


def all_of(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Returns the decorators as one, in the order in which help shows their options."""

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
        help="Where a named data set is stored, or downloaded to.",
    ),
    click.option(
        "--px", type=click.IntRange(min=8), help="Side to resize and crop image files to."
    ),
    click.option(
        "--download",
        is_flag=True,
        help="Fetch what is missing: a named data set, weights of tv:, timm:, hf:.",
    ),
)

compute_options = all_of(
    click.option(
        "--device",
        type=OneOf(["auto", "cpu", "cuda", "mps"]),
        default="auto",
        show_default=True,
        help="auto: the GPU if there is one; mps is Apple's.",
    ),
    click.option("--threads", type=click.IntRange(min=1), help="CPU threads [default: all cores]."),
)

split_option = click.option(
    "--split",
    type=OneOf(["test", "val", "held-out", "train"]),
    default="test",
    show_default=True,
    help="Split of the data set; val, ImageNet's name, is test.",
)
limit_option = click.option(
    "--limit", type=click.IntRange(min=1), help="Attack the first N images; a larger N continues."
)
sample_option = click.option(
    "--sample",
    help="The order that --limit cuts: first (the data's own), balanced (one image of each class "
    "in turn), random or random:SEED [default: balanced where ordered by class, else first].",
)
seed_option = click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the runs as JSON.")
eps_option = click.option(
    "--eps",
    help="8/255, 8px or 0.0314; a number in other norms: 0.5 in l2; for attacks fast and "
    "sigma-zero also several, as in 2/255,4/255,8/255 [default: the model's own, else 8/255, "
    "16/255 on imagenet].",
)
strict_option = click.option(
    "--strict", is_flag=True, help="Exit with code 3 if the sanity gate objects to a result."
)
models_option = all_of(
    click.option(
        "--model",
        "models",
        multiple=True,
        help="A name, a .safetensors file, FILE.py:FUNCTION or 'net.py:load?ckpt=best.pt', "
        "a TorchScript or torch.export file, FILE.pt with --arch or --factory, tv:NAME[:WEIGHTS], "
        "timm:NAME[:TAG], hf:OWNER/REPO, rb:DATA/THREAT/NAME, defense:DIR or module:function; may "
        "be repeated [default: all weights on this disk].",
    ),
    stating,
)
expect_option = click.option(
    "--expect-clean",
    "expected",
    callback=lambda context, option, text: expectation(text),
    help="Clean accuracy in percent, 65.3 or 65.3+-1: any other stops the run before its attack.",
)
run_options = all_of(
    models_option,
    data_options,
    split_option,
    limit_option,
    sample_option,
    click.option(
        "--batch-size",
        type=click.IntRange(min=1),
        help="Images per batch [default: 250, or what fits in memory].",
    ),
    click.option("--compile", is_flag=True, help="Let torch.compile fuse kernels (GPUs)."),
    click.option(
        "--save-adv",
        type=OneOf(SAVE),
        is_flag=False,
        flag_value="float",
        help="Keep the adversarial images, for fdbench verify; png: also in whole pixels.",
    ),
    seed_option,
    expect_option,
    strict_option,
    json_option,
    results_option,
    compute_options,
)
