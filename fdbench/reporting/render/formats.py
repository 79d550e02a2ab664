"""The formats of a report. A new one is a file beside this one, and a line in RENDERERS.

Free of torch and of pandas: the command line reads its choices from here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fdbench.registry import imported


@dataclass(frozen=True)
class Renderer:
    """How a report becomes the text of one format.

    `function` is the "module:function" that takes a Report. The text is printed, or, where there is
    a `file`, written under that name among the results.
    """

    function: str
    file: str = ""

    def load(self) -> Callable[[Any], str]:  # of a Report, whose module imports pandas
        """The function, imported."""
        function: Callable[[Any], str] = imported(self.function)
        return function


RENDERERS: dict[str, Renderer] = {
    "table": Renderer("fdbench.reporting.render.terminal:terminal"),
    "md": Renderer("fdbench.reporting.render.markdown:markdown"),
    "csv": Renderer("fdbench.reporting.render.csv_tables:csv_tables"),
    "html": Renderer("fdbench.reporting.render.html_page:html_page", file="report.html"),
    "json": Renderer("fdbench.reporting.render.json_tables:json_tables"),
}
