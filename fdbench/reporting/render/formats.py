"""The formats of a report. A new one is a file in this folder, and a line in RENDERERS.

Free of torch and of pandas: the command line reads its choices from here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fdbench.reporting import render

if TYPE_CHECKING:
    from fdbench.reporting.document import Report


@dataclass(frozen=True)
class Renderer:
    """Renders a report as text of one format.

    `load` imports and returns the rendering function. The text is printed or, if `file` is given,
    written under that name in the results folder.
    """

    load: Callable[[], Callable[[Report], str]]
    file: str = ""


RENDERERS: dict[str, Renderer] = {
    "table": Renderer(lambda: render.terminal_text),
    "md": Renderer(lambda: render.markdown_text),
    "csv": Renderer(lambda: render.csv_text),
    "latex": Renderer(lambda: render.latex_text),
    "html": Renderer(lambda: render.page_text, file="report.html"),
    "json": Renderer(lambda: render.json_text),
}
