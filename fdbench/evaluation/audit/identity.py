"""Checks that the description, the weights and the data are those of the run."""

from fdbench.data import Dataset
from fdbench.evaluation.audit.saved_run import SavedRun
from fdbench.evaluation.audit.tally import listing
from fdbench.files import parse_json
from fdbench.models import Model
from fdbench.store import Check


def check_description(run: SavedRun) -> Check:
    """Checks run.json against its folder's name, which hashes all that can change a verdict."""
    info, table = run.info, parse_json(run.paths.description.read_bytes())
    planned = min(info.limit or info.data.count, info.data.count)
    faults = []
    if not table["name"] == info.name == run.path.resolve().name:
        faults.append(f"run.json describes {info.name}")
    if info.images != planned:
        faults.append(f"run.json plans {info.images} images, its data and limit allow {planned}")
    return listing("description", faults, "run.json fits the folder's name")


def check_weights(run: SavedRun, model: Model | None) -> Check:
    """Checks the network's hash against the run's; None is a network that can't be opened."""
    wanted = run.info.model.weights
    if model is None:
        return Check("weights", "fail", f"no network to compare; the run's: sha256 {wanted[:16]}")
    given = f"sha256 {model.weights[:16]}"
    faults = [] if model.weights == wanted else [f"{given}, the run's were {wanted[:16]}"]
    return listing("weights", faults, given)


def _in_words(fingerprint: str, count: int, split: str) -> str:
    return f"sha256 {fingerprint[:16]}, {count} images of {split}"


def check_data(run: SavedRun, data: Dataset) -> Check:
    """Checks the data set's fingerprint, size and split against the run's."""
    wanted = run.info.data
    given = _in_words(data.fingerprint, len(data), data.split)
    expected = _in_words(wanted.fingerprint, wanted.count, wanted.split)
    same = data.fingerprint == wanted.fingerprint and given == expected
    faults = [] if same else [f"{given}; the run's were {expected}"]
    if data.classes != wanted.classes:
        faults.append(f"{data.classes} classes; run.json says {wanted.classes}")
    if wanted.px not in (None, data.px):
        faults.append(f"{data.px} px; run.json says {wanted.px}")
    return listing("data", faults, given)
