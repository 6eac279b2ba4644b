"""A device that is not the processor, for machines without one: the processor computes, under another name.

What a GPU would refuse is refused here: tensors of both devices in one operation. What it would compute is computed, by
the paths that networks take there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

#: The one that torch has on every machine and does not compute with.
NAME = "meta"

#: Operations between devices, and those that take a few numbers from the processor.
ACROSS = ("_to_copy", "copy_", "index", "index_put_", "_index_put_impl_", "lift_fresh")


class Held(torch.Tensor):
    """A tensor there."""

    plain: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Held:
        made: Held = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=torch.device(NAME),
            requires_grad=inner.requires_grad,
        )
        made.plain = inner.detach()
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return compute(func, args, kwargs or {})

    def new_tensor(self, data: Any, dtype: torch.dtype | None = None, *_: Any, **__: Any) -> Tensor:
        return Held(torch.tensor(data, dtype=dtype or self.dtype))

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    def tolist(self) -> Any:
        return self.plain.tolist()

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"Held({self.plain})"


class Numbers(TorchFunctionMode):
    """Tensors of given numbers, which torch makes where no dispatch sees it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.tensor and torch.device(kwargs.get("device") or "cpu").type == NAME:
            return Held(func(*args, **{**kwargs, "device": "cpu"}))
        return func(*args, **kwargs)


class Elsewhere(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is open there is that device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})


def here(tensor: Tensor) -> Tensor:
    """The values of a tensor that is there."""
    assert isinstance(tensor, Held)
    return tensor.plain


@contextmanager
def elsewhere() -> Iterator[None]:
    """While this is open there is that device; it has no autocast."""
    autocast = torch.autocast

    def chosen(device: str, **settings: Any) -> Any:
        return nullcontext() if device == NAME else autocast(device, **settings)

    with mock.patch.object(torch, "autocast", chosen), Elsewhere(), Numbers():  # type: ignore[no-untyped-call]
        yield


def moved(network: nn.Module) -> None:
    """The network there, in place."""
    for module in network.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(Held(parameter.detach()))
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = Held(buffer)


def compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """On the processor; results are where the arguments are, or where they were asked for."""
    given = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, Tensor)]
    on_device = [value for value in given if isinstance(value, Held)]
    name = func.overloadpacket.__name__
    wanted = kwargs.get("device")
    away = bool(on_device) if wanted is None else torch.device(wanted).type == NAME
    if on_device and name not in ACROSS:
        strangers = [value for value in given if not isinstance(value, Held) and value.dim()]
        if strangers:
            raise RuntimeError(f"{func}: tensors on two devices, of shapes {[tuple(value.shape) for value in given]}")
    if wanted is not None:
        kwargs = {**kwargs, "device": "cpu"}
    plain_args, plain = tree_map(lambda value: value.plain if isinstance(value, Held) else value, (args, kwargs))
    outputs = func(*plain_args, **plain)
    held_by_id = {id(value.plain): value for value in on_device}

    def wrap(tensor: Any) -> Any:
        if not isinstance(tensor, Tensor):
            return tensor
        return held_by_id[id(tensor)] if id(tensor) in held_by_id else Held(tensor)

    return tree_map(wrap, outputs) if away else outputs
