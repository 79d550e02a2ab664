from .document import Report
from .figures.features import QUANTILES, Shown, distance_figure, maps_figure
from .page.progress import Watch
from .render.csv_tables import csv_table
from .render.formats import RENDERERS
from .render.html_page import view_text
from .report import files_of_report, write_report
from .results import result_records
from .sanity import implausible
from .selection import Selection

__all__ = [
    "QUANTILES",
    "RENDERERS",
    "Report",
    "Selection",
    "Shown",
    "Watch",
    "csv_table",
    "distance_figure",
    "files_of_report",
    "implausible",
    "maps_figure",
    "result_records",
    "view_text",
    "write_report",
]
