"""fdbench view."""

from pathlib import Path

import click

from fdbench import api
from fdbench.commands.options import results_option
from fdbench.console import out, say


@click.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    help="Port to serve on [default: a free one].",
)
@results_option
def view(port: int, results: Path) -> None:
    """Watch running jobs and the report in a browser.

    Serves the results folder on the loopback address, to this machine alone; Ctrl-C ends it.
    """
    with api.viewer(results, port) as server:
        out.print(f"http://{server.server_address[0]!s}:{server.server_port}/", soft_wrap=True)
        say("Ctrl-C ends it.")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say("ended")
