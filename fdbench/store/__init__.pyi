from .archiving import archive_run, remove_run
from .columns import Columns, Values
from .findings import (
    VERDICTS,
    Check,
    Findings,
    deepest,
    findings_about,
    read_findings,
    read_unfinished,
    write_findings,
    write_unfinished,
)
from .images import Shard, as_images, read_png, read_shard, whole_pixels, write_png, write_shard
from .journal import Closing, Journal, numbered_lines, whole_lines
from .leftovers import clearing_run, clearing_set
from .lock import clear_lock, locked
from .notes import added
from .reading import read_rows
from .rows import ROW_FIELDS, BadRow, Row, RowField, add_fields, decode_row, row_digest
from .run_json import DataInfo, ModelInfo, RunInfo, read_info
from .runs import Run, RunFolder, read_infos, read_run, read_runs
from .schema import row_schema, run_schema
from .scratch import BatchScratch
from .session import now
from .set_index import CLEAN, Line, read_lines
from .set_json import SetInfo, Surrogate, read_set_info
from .sets import AdvSet, SetFolder
from .targets import read_targets, targets_digest, write_targets
from .tensors import (
    Damaged,
    pack,
    read_finished,
    read_sealed,
    read_tensors,
    write_sealed,
    write_tensors,
)
from .workspace import RunPaths, SetPaths, Workspace

__all__ = [
    "CLEAN",
    "ROW_FIELDS",
    "VERDICTS",
    "AdvSet",
    "BadRow",
    "BatchScratch",
    "Check",
    "Closing",
    "Columns",
    "Damaged",
    "DataInfo",
    "Findings",
    "Journal",
    "Line",
    "ModelInfo",
    "Row",
    "RowField",
    "Run",
    "RunFolder",
    "RunInfo",
    "RunPaths",
    "SetFolder",
    "SetInfo",
    "SetPaths",
    "Shard",
    "Surrogate",
    "Values",
    "Workspace",
    "add_fields",
    "added",
    "archive_run",
    "as_images",
    "clear_lock",
    "clearing_run",
    "clearing_set",
    "decode_row",
    "deepest",
    "findings_about",
    "locked",
    "now",
    "numbered_lines",
    "pack",
    "read_findings",
    "read_finished",
    "read_info",
    "read_infos",
    "read_lines",
    "read_png",
    "read_rows",
    "read_run",
    "read_runs",
    "read_sealed",
    "read_set_info",
    "read_shard",
    "read_targets",
    "read_tensors",
    "read_unfinished",
    "remove_run",
    "row_digest",
    "row_schema",
    "run_schema",
    "targets_digest",
    "whole_lines",
    "whole_pixels",
    "write_findings",
    "write_png",
    "write_sealed",
    "write_shard",
    "write_targets",
    "write_tensors",
    "write_unfinished",
]
