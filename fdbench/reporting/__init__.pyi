from .document import Report
from .figures.features import QUANTILES, Shown, distance_figure, maps_figure
from .indicators import INDICATORS, Indicator
from .page.progress import Watch
from .pair import compared
from .render.csv_tables import csv_table
from .render.formats import RENDERERS
from .render.html_page import view_text
from .report import files_of_report, robustbench_files, write_report
from .results import answers, result_records
from .sanity import implausible
from .selection import ALL, Selection

__all__ = [
    "ALL",
    "INDICATORS",
    "QUANTILES",
    "RENDERERS",
    "Indicator",
    "Report",
    "Selection",
    "Shown",
    "Watch",
    "answers",
    "compared",
    "csv_table",
    "distance_figure",
    "files_of_report",
    "implausible",
    "maps_figure",
    "result_records",
    "robustbench_files",
    "view_text",
    "write_report",
]
