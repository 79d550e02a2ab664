from .document import Report
from .render.formats import RENDERERS
from .report import write_report
from .sanity import implausible

__all__ = [
    "RENDERERS",
    "Report",
    "implausible",
    "write_report",
]
