from .document import Report
from .figures.features import QUANTILES, Shown, distance_figure, maps_figure
from .render.csv_tables import csv_table
from .render.formats import RENDERERS
from .report import write_report
from .results import result_records
from .sanity import implausible
from .selection import Selection

__all__ = [
    "QUANTILES",
    "RENDERERS",
    "Report",
    "Selection",
    "Shown",
    "csv_table",
    "distance_figure",
    "implausible",
    "maps_figure",
    "result_records",
    "write_report",
]
