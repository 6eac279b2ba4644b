"""Dropout, at the price of a few random bits a number."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

#: Chances are counted in steps of one in so many, which is what 16 random bits can tell apart.
STEPS = 1 << 16


def dropout(
    x: Float[Tensor, ...], chance: float, training: bool = True, *, inplace: bool = False
) -> Float[Tensor, ...]:
    """Each number is set to 0 with this chance, the others grow so that the mean stays; outside training nothing is.

    On processors torch draws one 32 bit number, through a logarithm of its chance, for each entry: that is a fifth of
    the time of a training. Here one draw of 64 bits decides on four entries. The chance is rounded to 1/65536.

    Args:
        x: any shape.
        chance: from 0 up to, not including, 1.
        training: False gives back `x`.
        inplace: `x` may be overwritten, which spares memory; autograd complains where `x` is still needed.

    Source: Srivastava et al., *Dropout*, JMLR 15 (2014) 1929.
    """
    if not training or not chance:
        return x
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return torch.nn.functional.dropout(x, chance, inplace=inplace)
    return x.mul_(kept(x, chance)) if inplace else x * kept(x, chance)


def kept(x: Float[Tensor, ...], chance: float) -> Float[Tensor, ...]:
    """What dropout multiplies with: 0 with this chance, otherwise one over the chance to stay; shaped as `x`."""
    lost = round(chance * STEPS)
    draws = np.random.SFC64(int(torch.randint(2**62, ()))).random_raw(x.numel() // 4 + 1)
    bits = torch.from_numpy(draws).view(torch.int16)[: x.numel()].view(x.shape)
    keep = torch.empty(x.shape, dtype=x.dtype)
    torch.ge(bits, lost - STEPS // 2, out=keep)
    return keep.mul_(STEPS / (STEPS - lost) if lost < STEPS else 0.0)
