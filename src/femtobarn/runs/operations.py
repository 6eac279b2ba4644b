"""Floating-point operations of a network, counted while it computes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

from femtobarn.inputs import Batch

#: Element-wise functions that only move or choose numbers.
MOVES = ("clone", "fill", "where", "masked_fill")


def mean_operations(network: torch.nn.Module, batches: Sequence[Batch]) -> tuple[float, float]:
    """Mean of `operations` over batches."""
    flops, elementwise = np.mean([operations(network, batch) for batch in batches], axis=0).tolist()
    return flops, elementwise


@torch.no_grad()
def operations(network: torch.nn.Module, batch: Batch) -> tuple[int, int]:
    """Floating-point operations of a forward pass: those of products of matrices, and those of single numbers.

    The first is what papers quote: two for each multiplication with addition in linear layers, convolutions and
    attention, by the formulas of torch's `FlopCounterMode`. The second counts one for each number that comes out of an
    element-wise function (additions, products, activations, features of objects and pairs). Left out of both: sums,
    norms and softmax, sorting, neighbour search, and whatever moves numbers.

    Args:
        network: raw objects to outputs.
        batch: of any number of events; what padding costs counts.
    """
    was = next(network.parameters()).device
    network.to("cpu").eval()
    with _Counter() as counter:
        network(batch)
    network.to(was)
    return counter.products, counter.single


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what torch computes while it is open, as `operations` says."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.products, self.single = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        formula = _FORMULAS.get(func.overloadpacket)
        if formula is not None:
            self.products += int(formula(*args, **kwargs, out_val=out))
        elif torch.Tag.pointwise in func.tags and isinstance(out, Tensor) and out.is_floating_point():
            name = func.overloadpacket.__name__.rstrip("_")
            self.single += 0 if name in MOVES else out.numel()
        return out


def _attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query.shape, key.shape, value.shape))  # type: ignore[no-untyped-call]


def _recurrent(listed: Tensor, of_input: Tensor, of_state: Tensor, *_: Any, **__: Any) -> int:
    """The layer takes lists of (steps, events, features), whichever stands first."""
    return 2 * listed.shape[0] * listed.shape[1] * (of_input.numel() + of_state.numel())


#: torch's formulas, which know neither the fused attention of processors nor their recurrent layers.
_FORMULAS: dict[Any, Any] = {
    **flop_registry,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten.mkldnn_rnn_layer: _recurrent,
}
