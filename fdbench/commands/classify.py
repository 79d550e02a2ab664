"""fdbench classify."""

from pathlib import Path
from typing import Any

import click

from fdbench import api
from fdbench.commands.options import compute_options, results_option, taken
from fdbench.commands.stating import stating
from fdbench.console import out, say


@click.command()
@click.option(
    "--model",
    required=True,
    help="A name, a file, FILE.py:FUNCTION, tv:NAME, timm:NAME or module:function.",
)
@stating
@click.argument("input_dir", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("output_file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--label-base",
    type=click.IntRange(0, 1),
    default=0,
    show_default=True,
    help="Number of the first class: 0, or 1 as in NIPS 2017.",
)
@click.option(
    "--px",
    type=click.IntRange(min=8),
    help="Side to resize images to [default: the network's; none if it resizes itself].",
)
@click.option("--batch-size", type=click.IntRange(min=1), default=50, show_default=True)
@click.option("--skip-bad", is_flag=True, help="List images that can't be read, and continue.")
@results_option
@compute_options
def classify(model: str, input_dir: Path, output_file: Path, **flags: Any) -> None:
    """Label the images of a folder, as in CAAD 2018.

    Writes a line `filename,label` for each image in INPUT_DIR.

    Whole images are resized, bicubic, without a crop, unless the network resizes them by itself.
    The same command resumes if it was interrupted; OUTPUT_FILE.jsonl holds the labels until then.
    """
    compute = taken(api.Compute, flags)
    done = api.classify(model, input_dir, output_file, **flags, compute=compute)
    for reason in done.skipped.values():
        say(f"skipped: {reason}")
    say(f"{done.count} images classified, {len(done.skipped)} skipped")
    out.print(str(output_file), soft_wrap=True)
