"""One of the processes of `fdbench train --nproc N`: python -m fdbench.training.worker JSON."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from fdbench.console import INTERRUPTED, say
from fdbench.machine import start_torch
from fdbench.specs import ModelSpec
from fdbench.store import Workspace, read_tensors
from fdbench.training.processes import end_with_parent
from fdbench.training.start import DataSource, train_network


def work(arguments: dict[str, Any]) -> None:
    """Trains with the other processes; the arguments are those of `train_apart`."""
    own = ("shape", "source", "results", "device", "threads")
    shape, source, results, device, threads = (arguments.pop(name) for name in own)
    log, start = arguments.pop("log"), arguments.pop("start")
    train_network(
        ModelSpec.of(shape, "the network"),
        DataSource.of(source),
        workspace=Workspace(Path(results)),
        device=start_torch(device, threads),
        say=say,
        log=log and Path(log),
        start=start and read_tensors(Path(start))[0],
        **arguments,
    )


def main() -> int:
    """Returns the exit code; an error is printed as the command line prints it."""
    end_with_parent()
    try:
        work(json.loads(sys.argv[1]))
    except click.ClickException as reason:
        reason.show()
        return reason.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
