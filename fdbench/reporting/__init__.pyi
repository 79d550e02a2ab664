from .document import Report
from .pair import compared
from .render.formats import RENDERERS
from .report import robustbench_files, write_report
from .results import answers, result_records
from .sanity import implausible
from .selection import ALL, Selection

__all__ = [
    "ALL",
    "RENDERERS",
    "Report",
    "Selection",
    "answers",
    "compared",
    "implausible",
    "result_records",
    "robustbench_files",
    "write_report",
]
