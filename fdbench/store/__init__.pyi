from .advset import AdvSet
from .files import write_atomically, writing
from .findings import Check, Findings, findings_about, read_findings, write_findings
from .images import Shard, as_images, read_png, read_shard, whole_pixels, write_png, write_shard
from .journal import Closing, Journal, whole_lines
from .runinfo import DataInfo, ModelInfo, RunInfo, read_info
from .runs import Row, Run, RunFolder, read_rows, read_runs
from .scratch import BatchScratch
from .setfolder import SetFolder
from .setinfo import CLEAN, Line, SetInfo, Surrogate
from .tensors import read_tensors, write_tensors
from .workspace import Workspace

__all__ = [
    "CLEAN",
    "AdvSet",
    "BatchScratch",
    "Check",
    "Closing",
    "DataInfo",
    "Findings",
    "Journal",
    "Line",
    "ModelInfo",
    "Row",
    "Run",
    "RunFolder",
    "RunInfo",
    "SetFolder",
    "SetInfo",
    "Shard",
    "Surrogate",
    "Workspace",
    "as_images",
    "findings_about",
    "read_findings",
    "read_info",
    "read_png",
    "read_rows",
    "read_runs",
    "read_shard",
    "read_tensors",
    "whole_lines",
    "whole_pixels",
    "write_atomically",
    "write_findings",
    "write_png",
    "write_shard",
    "write_tensors",
    "writing",
]
