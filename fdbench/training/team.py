"""The processes that train one network together: one of torchrun's, or of `fdbench train --nproc`.

Each makes adversarial images of its own share of every batch, and gradients are averaged over all
of them. Only the first process reads and writes files.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from fdbench.errors import BadValue, FdbenchError
from fdbench.machine import is_out_of_memory, rank_and_world

T = TypeVar("T")

# Parts of the messages with which gloo and NCCL report that another process is gone.
_GONE = ("gloo", "NCCL", "Connection closed", "Connection reset", "Broken pipe", "recvValue failed")


class LostContact(FdbenchError):
    """Another process of the team is gone; its own error says why. Exit code 75 (EX_TEMPFAIL)."""

    exit_code = 75


class KnownToAll(MemoryError):
    """Memory ran out in one process of the team or more, and all of them know."""


@dataclass(frozen=True)
class Team:
    """This process's place among those that train together; alone by default."""

    rank: int = 0
    world: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that reads and writes files."""
        return self.rank == 0

    def agree(self, value: T) -> T:
        """Returns the first process's value, which must be plain data."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, 0)
        return box[0]

    def send(self, tensors: Iterable[Tensor]) -> None:
        """Overwrites tensors with the first process's."""
        if self.world == 1:
            return
        for tensor in tensors:
            plain = tensor.detach().contiguous().clone()  # in an order that all share
            dist.broadcast(plain, 0)
            tensor.detach().copy_(plain)

    def total(self, amounts: Mapping[str, int | float]) -> dict[str, int | float]:
        """Returns the sums over all processes, which must pass the same names."""
        if self.world == 1:
            return dict(amounts)
        sums = torch.tensor(list(amounts.values()), dtype=torch.float64, device=_device())
        dist.all_reduce(sums)
        return dict(zip(amounts, sums.tolist(), strict=True))

    def add_up(self, tensor: Tensor) -> None:
        """Replaces a contiguous tensor by its sum over all processes."""
        if self.world > 1:
            dist.all_reduce(tensor)


ALONE = Team()


def known_to_all(team: Team, work: Callable[[], T]) -> T:
    """Returns what `work` does, which must not talk to other processes.

    Raises KnownToAll in all processes if memory runs out in one.
    """
    done, reason = [], None
    try:
        done.append(work())
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        reason = error
    if team.total({"short": float(reason is not None)})["short"]:
        raise KnownToAll from reason
    return done[0]


def _device() -> torch.device:
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")


@contextmanager
def team_on(device: torch.device) -> Iterator[Team]:
    """Joins the processes that torchrun or `launch` started; yields ALONE if there is one.

    Raises BadValue if the processes can't find each other, LostContact if one is gone.
    """
    rank, world = rank_and_world()
    if world == 1:
        yield ALONE
        return
    if "MASTER_ADDR" not in os.environ:
        raise BadValue(
            f"WORLD_SIZE is {world}, but no MASTER_ADDR says where the other processes are.\n"
            f"Start them all: fdbench train --nproc {world} ..., or with torchrun."
        )
    if device.type not in ("cpu", "cuda"):
        raise BadValue(f"PyTorch can't connect processes on {device.type}. Give --device cpu.")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    with _in_contact():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        with _in_contact():
            yield Team(rank, world)
            dist.barrier()  # the first process hosts the store: it leaves last
    finally:
        dist.destroy_process_group()


@contextmanager
def _in_contact() -> Iterator[None]:
    """Turns the errors of communication into LostContact."""
    try:
        yield
    except RuntimeError as reason:  # torch.distributed's own are subclasses of it
        network = isinstance(reason, dist.DistError)
        if not network and not any(word in str(reason) for word in _GONE):
            raise
        raise LostContact(
            "another process of this training is gone: its own error says why.\n"
            "The same command continues from the last saved state, with any number of processes."
        ) from reason
