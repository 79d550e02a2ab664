"""The trained attackers of a set: each generator's weights, trained first where there are none."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from fdbench import training
from fdbench.api.requests import DataRequest
from fdbench.attacks import complete, load_painter
from fdbench.blackbox import Known
from fdbench.console import say
from fdbench.data import Dataset
from fdbench.errors import FdbenchError
from fdbench.machine import rank_and_world
from fdbench.specs import AttackerSpec, digest
from fdbench.store import Workspace, clear_lock
from fdbench.training import DataSource
from fdbench.units import pixels

_OWN = "generator"  # what train-attacker calls its weights unless --name is given
# Training images, 16 s on two cores at 32 px. More did not help: CIFAR-10's r20-clean12 kept 44.0,
# 45.0 and 47.8 % of 500 images after 500, 2000 and 8000, with the surrogate r20-clean at 8/255.
_LIMIT = 2000


@dataclass(frozen=True)
class Setting:
    """What a set's generators are for: the surrogates, the images they attack, the eps."""

    known: Known
    request: DataRequest
    images: Dataset
    eps: float
    workspace: Workspace
    device: torch.device


def ready(attackers: Sequence[AttackerSpec], setting: Setting) -> tuple[AttackerSpec, ...]:
    """Returns the attackers, each generator with weights; those that a battery names are kept.

    A battery that names none takes what `train-attacker` trained for these surrogates and this eps,
    else a generator that is trained now, on training images of the set's data, and kept under a
    name of its own. Raises FdbenchError, with the command to type, where that can't be done.
    """
    return tuple(_ready(one, setting) if _open(one) else one for one in attackers)


def _open(attacker: AttackerSpec) -> bool:
    return (
        attacker.method == "generator" and not complete(attacker.method, attacker.knobs)["weights"]
    )


def _ready(attacker: AttackerSpec, setting: Setting) -> AttackerSpec:
    own = setting.workspace.attacker(_OWN)
    path = own if own.is_file() and _fits(own, setting) else _trained(attacker, setting)
    return replace(attacker, knobs={**attacker.knobs, "weights": str(path)})


def _fits(path: Path, setting: Setting) -> bool:
    """Whether the generator was trained on these surrogates, at this eps and image size."""
    card = load_painter(path)[1]
    trained = {str(one["weights"]) for one in card["surrogates"]}
    smallest, largest = training.eps_range(card["eps"])
    return (
        trained == {model.weights for model in setting.known.models}
        and smallest <= setting.eps <= largest
        and card["data"]["px"] == setting.images.px
    )


def _trained(attacker: AttackerSpec, setting: Setting) -> Path:
    """Trains a generator for these surrogates and this eps, or returns the finished one."""
    models, images = setting.known.models, setting.images
    what = [sorted(model.weights for model in models), images.fingerprint, setting.eps]
    name = f"{_OWN}-{digest(what)}"
    path = setting.workspace.attacker(name)
    if path.is_file() and not setting.workspace.unfinished_attacker(name).exists():
        clear_lock(path)
        return path
    if rank_and_world()[1] > 1:
        raise FdbenchError(
            f"the attacker {attacker.name} trains first, in one process.\n"
            "Type this command once without torchrun; --limit 1 is enough."
        )
    if images.name.startswith("caad:"):
        raise FdbenchError(
            f"the attacker {attacker.name} needs training images, and {images.name} has none.\n"
            f"{_command(setting)}\n"
            "or give --attackers another battery: `fdbench list attacks`."
        )
    say(
        f"the attacker {attacker.name} trains first, once for these surrogates and this eps: {path}"
    )
    request = setting.request
    return training.train_attacker(
        models,
        DataSource(images.name, request.data_dir, request.download, request.px),
        workspace=setting.workspace,
        device=setting.device,
        say=say,
        name=name,
        eps=setting.eps,
        limit=_LIMIT,
    )


def _command(setting: Setting) -> str:
    """Returns the train-attacker line for such a set, where only the user has training images."""
    words = ["fdbench", "train-attacker", "--data", "folder:DIR", "--px", str(setting.images.px)]
    for model in setting.known.models:
        words += ["--surrogate", model.ref]
    words += ["--eps", pixels(setting.eps)]
    root = setting.workspace.root
    words += ["--results", str(root)] if root != Path("results") else []
    return shlex.join(words)
