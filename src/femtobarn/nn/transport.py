"""Transport: features that are partly four-vectors, carried from the frame of one object into that of another."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from femtobarn.nn.attention import Bias, as_many, attend
from femtobarn.nn.frames import inverse
from femtobarn.nn.rows import Rows
from femtobarn.physics.lorentz import METRIC


class Transport:
    r"""Messages between objects that each have a frame of their own.

    The last channels of what is sent (of each head, in an attention) are four-vectors as the sender sees them. The
    receiver sees :math:`\rho(L_i L_j^{-1})` of them: scalars as they are, vectors turned and boosted. All frames may be
    counted from any common one, such as that in which the event rests: it falls out, and the nearer it is to them, the
    fewer digits are lost in float32.

    Args:
        frames: L of each object, from the common frame into its own.
        rows: where the objects are.
        vectors: four-vectors among the channels; for a network of several layers with messages, in each.
        dtype: of the features.

    Source: Spinner et al., arXiv:2505.20280, section 3.3.
    """

    def __init__(
        self, frames: Float[Tensor, "batch objects 4 4"], rows: Rows, vectors: Sequence[int], dtype: torch.dtype
    ) -> None:
        self.frames = frames
        self.vectors = tuple(vectors)
        packed = rows.pack(frames.flatten(-2)).view(-1, 4, 4)
        self.into = packed.to(dtype)  # rows 4 4: from the common frame
        self.out = inverse(packed).to(dtype)
        lowered = torch.tensor(METRIC, dtype=dtype, device=frames.device)[:, None]
        # queries, keys and values of a row leave together; of keys the indices are lowered on the way
        self.leave = torch.stack([self.out, lowered * self.out, self.out], dim=1).transpose(-1, -2)

    def attend(
        self,
        projected: Float[Tensor, "rows three_widths"],
        rows: Rows,
        bias: Bias,
        chance: float = 0.0,
    ) -> Float[Tensor, "rows width"]:
        r"""What each object gathers from the others, seen from its own frame; the arguments are those of `attend`.

        .. math:: \rho(L_i) \sum_j \mathrm{softmax}_j\left(
            \langle \rho(L_i^{-1}) q_i, \rho(L_j^{-1}) k_j \rangle / \sqrt{d} + U\right) \rho(L_j^{-1}) v_j

        The product of two four-vectors is the Lorentz product, so that it is the same in every frame.
        """
        (vectors,) = self.vectors
        if not vectors:
            return attend(projected, rows, bias, chance)
        heads = len(bias)
        scalars, moved = parts(projected, 3 * heads, vectors)
        # for rows that were filled up, as all layers have them: the first of these fills up the frames
        self.leave, self.into = (
            as_many(each.flatten(1), projected).view(-1, *each.shape[1:]) for each in (self.leave, self.into)
        )
        moved = apply(moved.reshape(-1, 3, heads * vectors, 4), self.leave)
        mixed = attend(whole(scalars, moved), rows, bias, chance)
        scalars, moved = parts(mixed, heads, vectors)
        moved = apply(moved.reshape(-1, heads * vectors, 4), self.into.transpose(-1, -2))
        return whole(scalars, moved)

    def sent(self, x: Float[Tensor, "rows channels"], vectors: int) -> Float[Tensor, "rows vectors 4"]:
        """The four-vectors among the channels, in the common frame."""
        return apply(x[:, -4 * vectors :].reshape(-1, vectors, 4), self.out.transpose(-1, -2))

    def received(
        self, sent: Float[Tensor, "edges vectors 4"], centre: Int[Tensor, " edges"]
    ) -> Float[Tensor, "edges channels"]:
        """Four-vectors of the common frame as the objects in these rows see them."""
        return apply(sent, self.into.index_select(0, centre).transpose(-1, -2)).flatten(1)


def parts(
    x: Float[Tensor, "rows width"], count: int, vectors: int
) -> tuple[Float[Tensor, "rows parts scalars"], Float[Tensor, "rows parts components"]]:
    """The scalars and the four-vectors of so many equal parts of the channels."""
    apart = x.view(x.shape[0], count, x.shape[1] // count)
    return apart[..., : -4 * vectors], apart[..., -4 * vectors :]


def whole(
    scalars: Float[Tensor, "rows parts scalars"], vectors: Float[Tensor, "rows ..."]
) -> Float[Tensor, "rows width"]:
    """The parts side by side again."""
    count, numbers = scalars.shape[1], vectors.shape[1:].numel()
    return torch.cat([scalars, vectors.view(-1, count, numbers // count)], dim=-1).flatten(1)


def apply(vectors: Float[Tensor, "*some many 4"], frames: Float[Tensor, "*some 4 4"]) -> Float[Tensor, "*some many 4"]:
    """Vectors, as rows, times transposed matrices; in no less than float32, whatever a training's precision is."""
    with torch.autocast(vectors.device.type, enabled=False):
        return (vectors.to(frames.dtype) @ frames).to(vectors.dtype)
