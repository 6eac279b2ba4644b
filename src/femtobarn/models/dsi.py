"""DSI: deep sets of each type of particle, joined with the Lorentz invariants of all pairs.

Spinner et al., arXiv:2405.14806, section 4.1 and appendix (baseline of amplitude regression); deep sets: Zaheer et al.,
arXiv:1703.06114.
"""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from femtobarn.inputs.feature_batch import Features, Sizes
from femtobarn.models.registry import model
from femtobarn.nn import Linear, PackedRows, mlp
from femtobarn.nn.slots import kinematic, n_kinematic, n_pair_inputs, order_by_type, pairs_in_slots


@model(
    "dsi",
    family="sets",
    pairs="needed",
    ordered=True,
    double=True,
    small={"prenet": (16, 16), "width": 8, "widths": (16, 16)},
)
class DSI(nn.Module):
    r"""Deep sets with invariants (DSI): a network for each type of particle, summed over equal particles.

    .. math:: F\Big(\sum_{i \in A} \Phi_A(p_i), \sum_{i \in B} \Phi_B(p_i), \ldots, \{\ln p_i \cdot p_j\}_{i<j}\Big)

    Invariants, `interactions: [dot]`, are in fixed slots as in `mlp-i`: the sums keep the exchange symmetry of equal
    particles, the invariants do not.

    Args:
        sizes: widths of the inputs and outputs.
        prenet: widths of the hidden layers of each particle.
        width: width of the sum of each type.
        widths: widths of the hidden layers of the event.

    Raises:
        ValueError: no pairwise features.
    """

    def __init__(
        self,
        sizes: Sizes,
        *,
        prenet: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (128,) * 4,
        width: PositiveInt = 64,
        widths: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (128,) * 4,
    ) -> None:
        super().__init__()
        n_pairs = n_pair_inputs(sizes)
        self.slots, self.scalars = sizes.slots, sizes.scalars
        n_types = max(sizes.scalars[1] - sizes.scalars[0], 1)
        self.prenets = nn.ModuleList(
            nn.Sequential(mlp(n_kinematic(sizes), prenet, nn.GELU), Linear(prenet[-1], width)) for _ in range(n_types)
        )
        self.layers = mlp(n_types * width + n_pairs + sizes.context, widths, nn.GELU)
        self.head = Linear(widths[-1], sizes.outputs)

    def latent(self, features: Features) -> Float[Tensor, "batch width"]:
        """Last hidden layer."""
        particles = kinematic(features, self.scalars)
        flags = features.particles[..., slice(*self.scalars)] > 0.5
        sums = []
        for number, prenet in enumerate(self.prenets):
            is_type = features.mask & flags[..., number] if flags.shape[-1] else features.mask
            rows = PackedRows(is_type)
            sums.append(rows.sum(prenet(rows.pack(particles))))
        invariants = pairs_in_slots(features.pairs, order_by_type(features, self.slots))
        latent: Tensor = self.layers(torch.cat([*sums, invariants, features.context], dim=-1))
        return latent

    def forward(self, features: Features) -> Float[Tensor, "batch outputs"]:
        """Outputs of each event."""
        outputs: Tensor = self.head(self.latent(features))
        return outputs
