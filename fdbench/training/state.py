"""What a stopped training goes on from: weights, the optimiser's memory, its position."""

import json
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer

from fdbench.errors import BadValue
from fdbench.models import fill
from fdbench.store import read_tensors, write_tensors

# setting -> value, or group -> settings: what must agree for a training to be continued
Identity = dict[str, Any]


def _flat(identity: Identity) -> Identity:
    flat: Identity = {}
    for key, value in identity.items():
        flat |= value if isinstance(value, dict) else {key: value}
    return flat


def refuse_other(mine: Identity, found: Identity, where: Path) -> None:
    """Raises BadValue naming every setting in which a file is of another training."""
    there, now = _flat(found), _flat(mine)
    other = [
        f"{key} is {there.get(key)!r} there, {now.get(key)!r} now"
        for key in {**there, **now}
        if there.get(key) != now.get(key)
    ]
    if other:
        raise BadValue(
            f"{where} is of another training: {'; '.join(other)}.\n"
            "--fresh starts over (and replaces it), --name keeps both."
        )


def save_state(
    path: Path, net: nn.Module, optimiser: Optimizer, identity: Identity, at: dict[str, Any]
) -> None:
    """Replaces the file, whole or not at all. `at`: where the training says that it stands."""
    tensors = {f"net.{name}": tensor for name, tensor in net.state_dict().items()}
    for name, parameter in net.named_parameters():
        for key, value in optimiser.state[parameter].items():
            if value is not None:  # SGD without momentum remembers nothing
                tensors[f"optimiser.{key}.{name}"] = value
    write_tensors(path, tensors, {"identity": json.dumps(identity), "at": json.dumps(at)})


def load_state(
    path: Path, net: nn.Module, optimiser: Optimizer, identity: Identity
) -> dict[str, Any]:
    """Fills network and optimiser, and returns `at`.

    Raises FdbenchError for a foreign file, BadValue for one of another training.
    """
    tensors, meta = read_tensors(path)
    refuse_other(identity, json.loads(meta["identity"]), path)
    kept = {name[4:]: tensor for name, tensor in tensors.items() if name.startswith("net.")}
    fill(net, kept, str(path))
    parameters = dict(net.named_parameters())
    for full, value in tensors.items():
        if full.startswith("optimiser."):
            _, key, name = full.split(".", 2)
            # Adam counts its steps in a scalar on the CPU, whatever the device.
            own = value.to(parameters[name].device) if value.ndim else value
            optimiser.state[parameters[name]][key] = own
    return dict(json.loads(meta["at"]))
