"""Tables as CSV: every number to four digits, nothing left out."""

from pandas import DataFrame

from fdbench.printable import shown
from fdbench.reporting.document import Report


def csv_table(table: DataFrame) -> str:
    """One table: the content of its file."""
    return shown(table.to_csv(index=False))


def csv_text(report: Report) -> str:
    """The chapters' main tables, an empty line between them."""
    return "\n".join(csv_table(one.tables[one.name]) for one in report.chapters)
