"""Cost: what one event costs a trained model, in operations and in time."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

from femtobarn.inputs import Batch
from femtobarn.models import BDT, Network
from femtobarn.runs.predictor import Trained

#: Events that operations are counted for, and events that scoring is timed with, at most.
COUNTED, TIMED = 16, 2000

#: Seconds of scoring that are enough to know its pace.
ENOUGH = 0.1

#: Element-wise functions that only move or choose numbers.
MOVES = ("clone", "fill", "where", "masked_fill")


def cost(trained: Trained, batch: Batch) -> dict[str, Any]:
    """What a trained model costs: operations of one event, and events a second from raw objects to outputs.

    Args:
        trained: the model.
        batch: events with real multiplicities, as the test events.

    Returns:
        `flops` and `elementwise` as `operations` has them, the mean over events (None for trees); `leaves` of all trees
        (None for networks); `scored_per_second`, by the device and threads of the training, the making of features or
        columns included.
    """
    few = _spread(batch, COUNTED)
    counts: dict[str, float | None] = {"flops": None, "elementwise": None}
    if isinstance(trained.model, Network):
        found = [operations(trained.model, one) for one in _each(few)]
        counts = dict(zip(counts, np.mean(found, axis=0).tolist(), strict=True))
    leaves = trained.model.leaves if isinstance(trained.model, BDT) else None
    return {**counts, "leaves": leaves, "scored_per_second": _pace(trained, _some(batch, TIMED))}


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


def _pace(trained: Trained, batch: Batch) -> float:
    """Events scored in a second, after a first call that allocates."""
    trained.outputs(_some(batch, 10))
    done, begun = 0, time.perf_counter()
    while (spent := time.perf_counter() - begun) < ENOUGH:
        trained.outputs(batch)
        done += len(batch)
    return done / spent


def _some(batch: Batch, count: int) -> Batch:
    """So many events from all over the batch, at most."""
    chosen = np.unique(np.linspace(0, len(batch) - 1, min(count, len(batch))).round().astype(np.int64))
    return batch[torch.from_numpy(chosen)]


def _spread(batch: Batch, count: int) -> Batch:
    """So many events whose multiplicities are spread as those of the batch: operations depend on little else."""
    count = min(count, len(batch))
    places = ((np.arange(count) + 0.5) * len(batch) / count).astype(np.int64)
    chosen = batch.mask.sum(1).argsort(stable=True)[torch.from_numpy(places)]
    return batch[chosen]


def _each(batch: Batch) -> list[Batch]:
    """Every event on its own, without slots beyond its last object."""
    found = []
    for place in range(len(batch)):
        one = batch[place : place + 1]
        slots = max(1, int(one.mask.sum()))
        sides = {name: getattr(one, name)[:, :slots] for name in ("momenta", "kind", "mask", "tracks")}
        found.append(one.replace(**sides))
    return found
