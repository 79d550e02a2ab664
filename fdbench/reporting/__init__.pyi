from .render.formats import RENDERERS
from .report import write_report

__all__ = [
    "RENDERERS",
    "write_report",
]
