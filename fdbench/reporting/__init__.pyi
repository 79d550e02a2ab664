from .document import Report
from .render.formats import RENDERERS
from .report import write_report

__all__ = [
    "RENDERERS",
    "Report",
    "write_report",
]
