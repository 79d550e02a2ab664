"""`rb:DATA/THREAT/NAME`: RobustBench's architectures, with its weights where they lie on disk."""

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from fdbench.errors import BadValue, FdbenchError, unknown
from fdbench.models.defences.preprocessed import Preprocessed
from fdbench.models.zoo.foreign import Foreign
from fdbench.models.zoo.weights_file import read_weights

# Constants of the architectures that files of weights may lack; their values are in the classes.
CONSTANTS = ("mu", "sigma", "mean", "std", "normalize.mean", "normalize.std")
_INSTALL = "pip install --no-deps robustbench && pip install timm geotorch torchdiffeq"


def _tables() -> Mapping[Any, Any]:
    """Returns RobustBench's table of networks.

    The package's own __init__ also imports its data sets, its downloads and AutoAttack, which no
    architecture needs and whose pinned versions often don't fit: it is passed over.
    """
    found = importlib.util.find_spec("robustbench")
    if found is None or not found.submodule_search_locations:
        raise FdbenchError(
            "rb:DATA/THREAT/NAME needs the package robustbench, which is not installed.\n"
            + _INSTALL
        )
    shell = ModuleType("robustbench")
    shell.__path__ = list(found.submodule_search_locations)
    before = sys.modules.get("robustbench")
    sys.modules["robustbench"] = shell
    try:
        with warnings.catch_warnings(), redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")  # timm's, of names that moved
            tables = importlib.import_module("robustbench.model_zoo").model_dicts
    except ImportError as reason:
        raise FdbenchError(f"robustbench can't be imported: {reason}.\n{_INSTALL}") from reason
    finally:
        del sys.modules["robustbench"]
        if before is not None:
            sys.modules["robustbench"] = before
    return {
        data.value: {threat.value: rows for threat, rows in threats.items()}
        for data, threats in tables.items()
    }


def _row(rest: str) -> Mapping[str, Any]:
    """Returns RobustBench's row of DATA/THREAT/NAME. Raises BadValue with the nearest name."""
    parts = rest.split("/")
    if len(parts) != 3:
        raise BadValue(f"rb:{rest} is not rb:DATA/THREAT/NAME, as in rb:cifar10/Linf/Wong2020Fast.")
    table: Any = _tables()
    for kind, part in zip(("data set", "threat", "model"), parts, strict=True):
        if part not in table:
            raise unknown(f"{kind} of RobustBench", part, table)
        table = table[part]
    row: Mapping[str, Any] = table
    if not isinstance(row["gdrive_id"], str):
        kind = "an ensemble of several files" if row["gdrive_id"] else "a network of timm's hub"
        raise BadValue(
            f"rb:{rest} is {kind}, which fdbench does not open: write a loader with "
            "robustbench.utils.load_model."
        )
    return row


def robustbench_network(rest: str) -> nn.Module:
    """Returns the architecture of DATA/THREAT/NAME; it normalises by itself."""
    row = _row(rest)
    with torch.random.fork_rng(devices=[]), redirect_stdout(sys.stderr):
        net: nn.Module = row["model"]()
    return net


def from_robustbench(rest: str) -> Foreign:
    """Returns the network of `rb:DATA/THREAT/NAME` with the weights of models/DATA/THREAT/NAME.pt.

    That is where RobustBench keeps them. Raises FdbenchError if the package or the file is missing
    or holds more than tensors.
    """
    net, path = robustbench_network(rest), Path("models", f"{rest}.pt")
    if not path.is_file():
        raise FdbenchError(
            f"rb:{rest} has no weights on this disk: {path} is missing.\n"
            "RobustBench keeps them on Google Drive: fetch the file by hand, or with its own "
            "load_model.\nIf it lies elsewhere: "
            f"--model FILE.pt --arch rb:{rest}"
        )
    weights = read_weights(path)
    weights.fill(net, CONSTANTS)
    return Foreign(f"rb:{rest}", Preprocessed(net), weights.account)
