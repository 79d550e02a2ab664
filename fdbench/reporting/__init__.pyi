from .document import Report
from .indicators import INDICATORS, Indicator
from .render.formats import RENDERERS
from .report import write_report
from .results import result_records
from .sanity import implausible
from .selection import Selection

__all__ = [
    "INDICATORS",
    "RENDERERS",
    "Indicator",
    "Report",
    "Selection",
    "implausible",
    "result_records",
    "write_report",
]
