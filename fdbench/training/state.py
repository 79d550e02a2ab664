"""What an interrupted training resumes from: weights, optimiser state, position."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fdbench.errors import BadValue
from fdbench.models import fill
from fdbench.store import Damaged, read_sealed, write_sealed
from fdbench.training.begun import Begun
from fdbench.training.team import Team

# setting -> value, or group -> settings: must agree for a training to be resumed
Identity = dict[str, object]

Entry = dict[str, int | float]  # the log's entry for one epoch


@dataclass
class Position:
    """The progress of a training.

    Random numbers depend on seed, epoch, batch and image, so this, the weights and the optimiser's
    state are all that resuming needs: no generator state is saved.
    """

    epoch: int = 0
    step: int = 0  # batches of this epoch already trained on
    sums: dict[str, int | float] = field(default_factory=dict)  # over this epoch's images
    best: float | None = None  # the score of the epoch whose weights are kept
    log: list[Entry] = field(default_factory=list)
    begun: Begun | None = None  # of the next batch, in one process

    def add(self, **amounts: int | float) -> None:
        """Adds to this epoch's sums."""
        for name, amount in amounts.items():
            self.sums[name] = self.sums.get(name, 0) + amount

    def to_json(self) -> str:
        """Returns one flat object, with the sums among the other fields; without `begun`."""
        fields = asdict(replace(self, begun=None))
        fields |= fields.pop("sums")
        return json.dumps({name: value for name, value in fields.items() if value is not None})

    @classmethod
    def of_json(cls, text: str) -> "Position":
        """Parses what `to_json` wrote, in this version or an earlier one."""
        fields = json.loads(text)
        known = {
            name: fields.pop(name) for name in ("epoch", "step", "best", "log") if name in fields
        }
        return cls(**known, sums=fields)


def _flat(identity: Identity) -> Identity:
    flat: Identity = {}
    for key, value in identity.items():
        flat |= value if isinstance(value, dict) else {key: value}
    return flat


def plain(identity: Mapping[str, object]) -> Identity:
    """Returns the identity as a JSON round trip leaves it: tuples become lists."""
    return dict(json.loads(json.dumps(identity)))


def refuse_other(mine: Identity, saved: Identity, where: Path) -> None:
    """Raises BadValue naming every setting in which the file's training differs from this one."""
    before, now = _flat(saved), _flat(mine)
    other = [
        f"{key} is {before.get(key)!r} there, {now.get(key)!r} now"
        for key in {**before, **now}
        if before.get(key) != now.get(key)
    ]
    if other:
        raise BadValue(
            f"{where} belongs to another training: {'; '.join(other)}.\n"
            "--fresh starts over (and replaces it), --name keeps both."
        )


def save_state(
    path: Path,
    net: nn.Module,
    optimiser: Optimizer,
    identity: Identity,
    at: Position,
    average: nn.Module | None = None,
) -> None:
    """Saves the state, replacing the file atomically."""
    tensors = {f"net.{name}": tensor for name, tensor in net.state_dict().items()}
    if average is not None:
        tensors |= {f"average.{name}": one for name, one in average.state_dict().items()}
    for name, parameter in net.named_parameters():
        for key, value in optimiser.state[parameter].items():
            if value is not None:  # SGD without momentum has no state
                tensors[f"optimiser.{key}.{name}"] = value
    meta = {"identity": json.dumps(identity), "at": at.to_json()}
    if at.begun is not None:
        begun = dict(vars(at.begun))
        tensors |= {f"begun.{name}": tensor for name, tensor in begun.pop("tensors").items()}
        meta["begun"] = json.dumps(begun)
    write_sealed(path, tensors, meta)


def load_state(
    path: Path,
    net: nn.Module,
    optimiser: Optimizer,
    identity: Identity,
    average: nn.Module | None = None,
) -> Position:
    """Restores the network, its average and the optimiser, and returns the position.

    Raises Damaged if the file is not as it was written, BadValue for another training's.
    """
    tensors, meta = read_sealed(path)
    if missing := {"identity", "at"} - set(meta):
        raise Damaged(f"{path} is not the state of a training: it lacks {sorted(missing)}.")
    refuse_other(identity, json.loads(meta["identity"]), path)
    fill(net, _under("net.", tensors), str(path))
    if average is not None:
        fill(average, _under("average.", tensors), str(path))
    parameters = dict(net.named_parameters())
    for full, value in _under("optimiser.", tensors).items():
        key, name = full.split(".", 1)
        # Adam counts its steps in a scalar on the CPU, whatever the device.
        moved = value.to(parameters[name].device) if value.ndim else value
        optimiser.state[parameters[name]][key] = moved
    at = Position.of_json(meta["at"])
    if "begun" in meta:
        at.begun = Begun(**json.loads(meta["begun"]), tensors=_under("begun.", tensors))
    return at


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin so, by the rest of their names."""
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def send_state(net: nn.Module, optimiser: Optimizer, average: nn.Module | None, team: Team) -> None:
    """Gives every process the first one's network, average and optimiser state."""
    if team.world == 1:
        return
    team.send(net.state_dict().values())
    team.send(average.state_dict().values() if average is not None else [])
    named = dict(net.named_parameters())
    held = [
        (name, key)
        for name, parameter in named.items()
        for key, value in optimiser.state[parameter].items()
        if value is not None
    ]
    for name, key in team.agree(held):
        state = optimiser.state[named[name]]
        team.send([state.setdefault(key, torch.zeros_like(named[name]))])
