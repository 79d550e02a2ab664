"""The report for scripts: all tables as lists of objects, the warnings, the doctor's findings."""

import json
from dataclasses import asdict

from fdbench.reporting.document import Report

_ALWAYS = ("whitebox", "paired", "zoo")  # lists that scripts may rely on, empty or not


def json_text(report: Report) -> str:
    """One object; each table under the name of its CSV."""
    lines = {
        name: json.loads(table.to_json(orient="records")) for name, table in report.tables.items()
    }
    further = {"warnings": report.warnings, "doctor": [asdict(one) for one in report.doctor]}
    return json.dumps({name: [] for name in _ALWAYS} | lines | further, indent=2) + "\n"
