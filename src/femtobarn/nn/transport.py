"""Transport of features that contain four-vectors from the frame of one particle into the frame of another."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from femtobarn.nn.attention import Bias, append_zero_rows, self_attention
from femtobarn.nn.frames import inverse_lorentz
from femtobarn.nn.packing import PackedRows
from femtobarn.physics.lorentz import METRIC


class Transport:
    r"""Messages between particles that each have a local frame.

    The last channels of a message (of each head, in an attention) are four-vectors in the frame of the sender. The
    receiver gets :math:`\rho(L_i L_j^{-1})` of them: scalars unchanged, vectors rotated and boosted. All frames may be
    defined relative to any common frame, such as the rest frame of the event: it cancels. The closer it is to the local
    frames, the fewer digits are lost in float32.

    Args:
        frames: L of each particle, from the common frame into its local frame.
        rows: index of the packed particles.
        vectors: number of four-vectors among the channels; one entry per layer with messages.
        dtype: precision of the features.

    Source: Spinner et al., arXiv:2505.20280, section 3.3.
    """

    def __init__(
        self,
        frames: Float[Tensor, "batch particles 4 4"],
        rows: PackedRows,
        vectors: Sequence[int],
        dtype: torch.dtype,
    ) -> None:
        self.frames = frames
        self.vectors = tuple(vectors)
        packed = rows.pack(frames.flatten(-2)).view(-1, 4, 4)
        self.to_local = packed.to(dtype)  # rows 4 4: from the common frame
        self.to_common = inverse_lorentz(packed).to(dtype)
        lower = torch.tensor(METRIC, dtype=dtype, device=frames.device)[:, None]
        # query, key and value of a row are transformed together; the indices of keys are lowered at the same time
        self.qkv_to_common = torch.stack([self.to_common, lower * self.to_common, self.to_common], dim=1).transpose(
            -1, -2
        )

    def self_attention(
        self,
        projected: Float[Tensor, "rows three_widths"],
        rows: PackedRows,
        bias: Bias,
        dropout_p: float = 0.0,
    ) -> Float[Tensor, "rows width"]:
        r"""Self-attention in local frames; the arguments are those of `femtobarn.nn.self_attention`.

        .. math:: \rho(L_i) \sum_j \mathrm{softmax}_j\left(
            \langle \rho(L_i^{-1}) q_i, \rho(L_j^{-1}) k_j \rangle / \sqrt{d} + U\right) \rho(L_j^{-1}) v_j

        The product of two four-vectors is the Lorentz product, which is the same in every frame.
        """
        (vectors,) = self.vectors
        if not vectors:
            return self_attention(projected, rows, bias, dropout_p)
        heads = len(bias)
        scalars, local = split_vectors(projected, 3 * heads, vectors)
        # rows may have been padded, for all layers alike: the first of them pads the frames
        self.qkv_to_common, self.to_local = (
            append_zero_rows(x.flatten(1), projected).view(-1, *x.shape[1:])
            for x in (self.qkv_to_common, self.to_local)
        )
        common = transform(local.reshape(-1, 3, heads * vectors, 4), self.qkv_to_common)
        mixed = self_attention(join_vectors(scalars, common), rows, bias, dropout_p)
        scalars, common = split_vectors(mixed, heads, vectors)
        local = transform(common.reshape(-1, heads * vectors, 4), self.to_local.transpose(-1, -2))
        return join_vectors(scalars, local)

    def vectors_in_common_frame(
        self, x: Float[Tensor, "rows channels"], vectors: int
    ) -> Float[Tensor, "rows vectors 4"]:
        """Four-vectors among the channels, in the common frame."""
        return transform(x[:, -4 * vectors :].reshape(-1, vectors, 4), self.to_common.transpose(-1, -2))

    def channels_in_local_frame(
        self, vectors: Float[Tensor, "edges vectors 4"], centre: Int[Tensor, " edges"]
    ) -> Float[Tensor, "edges channels"]:
        """Four-vectors of the common frame in the local frames of the particles in these rows, as channels."""
        return transform(vectors, self.to_local.index_select(0, centre).transpose(-1, -2)).flatten(1)


def split_vectors(
    x: Float[Tensor, "rows width"], count: int, vectors: int
) -> tuple[Float[Tensor, "rows parts scalars"], Float[Tensor, "rows parts components"]]:
    """Split the channels into equal parts, and each part into scalars and four-vectors.

    Args:
        x: channels of each row.
        count: number of parts.
        vectors: number of four-vectors at the end of each part.
    """
    parts = x.view(x.shape[0], count, x.shape[1] // count)
    return parts[..., : -4 * vectors], parts[..., -4 * vectors :]


def join_vectors(
    scalars: Float[Tensor, "rows parts scalars"], vectors: Float[Tensor, "rows ..."]
) -> Float[Tensor, "rows width"]:
    """Join scalars and four-vectors of all parts into channels; inverse of `split_vectors`."""
    count, components = scalars.shape[1], vectors.shape[1:].numel()
    return torch.cat([scalars, vectors.view(-1, count, components // count)], dim=-1).flatten(1)


def transform(
    vectors: Float[Tensor, "*leading vectors 4"], frames: Float[Tensor, "*leading 4 4"]
) -> Float[Tensor, "*leading vectors 4"]:
    """Multiply row vectors by transposed matrices, in at least float32, independent of the precision of a training."""
    with torch.autocast(vectors.device.type, enabled=False):
        return (vectors.to(frames.dtype) @ frames).to(vectors.dtype)
