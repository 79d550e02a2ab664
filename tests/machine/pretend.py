"""A pretended GPU: another device than the CPU, which computes on the CPU and has no float64.

What works here mixes no tensors of two devices and needs no float64, which Apple's GPUs lack. It
says nothing of kernels, speed or memory.

To be imported before the process's first backward pass, when PyTorch counts the devices.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.backend_registration import (
    _DummyBackendModule,
    _setup_privateuseone_for_python_backend,
)

from fdbench.machine import devices
from fdbench.threat import l1

NAME = "pretended"
aten = torch.ops.aten

# Take tensors of both devices, as a real GPU's do.
COPIES = {aten.copy_.default, aten._to_copy.default}
INDEXED = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}
TO_HOST = {aten._local_scalar_dense.default, aten.equal.default}  # answer with a number


class Pretended(Tensor):
    """A tensor on the pretended GPU; `here` holds its values."""

    __module__ = "torch"  # by which Foolbox knows a tensor
    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> "Pretended":
        if here.dtype is torch.float64:
            raise TypeError(f"{NAME} has no float64")
        self: Pretended = torch.Tensor._make_wrapper_subclass(
            cls,
            here.shape,
            strides=here.stride(),
            storage_offset=here.storage_offset(),
            dtype=here.dtype,
            device=torch.device(NAME, 0),
        )
        self.here = here
        return self

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _run(function, args, kwargs or {})

    # PyTorch gives subclasses none of these; a tensor on a GPU has them.
    def tolist(self) -> Any:
        return self.here.tolist()

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.here.untyped_storage()

    def data_ptr(self) -> int:
        return self.here.data_ptr()

    def __format__(self, spec: str) -> str:
        return format(self.here, spec)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        copied: Tensor = self.detach().clone()
        if isinstance(self, nn.Parameter):
            copied = nn.Parameter(copied, self.requires_grad)
        memo[id(self)] = copied
        return copied


def _run(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
    _refuse_strangers(function, tensors)
    stays = _stays(function, tensors, kwargs)
    if "device" in kwargs:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    result = function(
        *tree_map_only(Pretended, lambda each: each.here, args),
        **tree_map_only(Pretended, lambda each: each.here, kwargs),
    )
    if not stays:
        return result
    return return_and_correct_aliasing(  # type: ignore[no-untyped-call]
        function, args, kwargs, tree_map_only(Tensor, Pretended, result)
    )


def _refuse_strangers(function: Any, tensors: list[Tensor]) -> None:
    """Raises RuntimeError for a tensor of another device; numbers and indices may be anywhere."""
    if function in COPIES or (function in INDEXED and isinstance(tensors[0], Pretended)):
        return
    strangers = [each for each in tensors if each.dim() > 0 and not isinstance(each, Pretended)]
    if strangers:
        raise RuntimeError(f"{function}: tensors on {NAME} and on {strangers[0].device}")


def _stays(function: Any, tensors: list[Tensor], kwargs: dict[str, Any]) -> bool:
    """Whether the result is on the pretended GPU."""
    if function in TO_HOST:
        return False
    if kwargs.get("device") is not None:
        return torch.device(kwargs["device"]).type == NAME
    return function not in COPIES or isinstance(tensors[0], Pretended)


def _made(function: Any) -> Any:
    """`function`, which makes a tensor, for the pretended GPU."""
    return lambda *args, **kwargs: Pretended(function(*args, **{**kwargs, "device": "cpu"}))


def _copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    """What torch.tensor(numbers, device=...) ends in, past __torch_dispatch__."""
    assert isinstance(target, Pretended)
    target.here.copy_(source)
    return target


class _Module(_DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]

    def empty_cache(self) -> None:
        """Nothing is held."""

    def synchronize(self) -> None:
        """Nothing is waited for."""


_setup_privateuseone_for_python_backend(NAME, _Module())
LIBRARY: Any = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
# Others that make tensors fill an empty one.
for factory in (
    aten.empty.memory_format,
    aten.empty_strided.default,
    aten.arange.default,
    aten.arange.start,
    aten.arange.start_step,
):
    LIBRARY.impl(factory, _made(factory), "PrivateUse1")
LIBRARY.impl(aten._copy_from.default, _copy_from, "PrivateUse1")

# `--device` may name it, and auto takes it.
devices.ACCELERATORS[NAME] = "pretended GPU"
devices.UNTRIED.add(NAME)
l1.NO_FLOAT64.add(NAME)
