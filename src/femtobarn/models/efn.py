"""Energy flow network: a network per direction, summed with pT fractions as weights, and a network of the sum.

Komiske, Metodiev and Thaler, *Energy Flow Networks: Deep Sets for Particle Jets*, arXiv:1810.05165.
"""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from femtobarn.inputs.feature_batch import Features, Sizes
from femtobarn.models.registry import model
from femtobarn.nn import Directions, PackedRows, directions, event_features, init_he, mlp, mlp_head


@model("efn", family="sets", pairs=False, small={"phi": (16, 16), "fc": (16,), "dropout": 0.0})
class EFN(nn.Module):
    r"""Energy flow network (EFN), infrared- and collinear-safe by construction.

    .. math:: F\Big(\sum_i z_i\, \Phi(\Delta y_i, \Delta\phi_i)\Big), \quad z_i = p_{T,i} / \sum_j p_{T,j}

    A particle without momentum and a collinear splitting do not change the sum: the output can be computed in
    perturbation theory. Therefore the network uses momenta only and ignores all other features (types, tracks).
    Directions are relative to the axis of the summed momenta, in rapidity and azimuth.

    In an event, whose particles are all around the beam, :math:`\Phi` gets the cosine and the sine of the azimuth,
    because an angle would jump opposite to the axis. F gets, beside the sum, the logarithm of the scalar sum of pT and
    the missing transverse momentum in units of it and relative to the axis: the output is invariant under rotations
    around the beam and boosts along it.

    Args:
        sizes: widths of the inputs and outputs.
        phi: widths of the layers of each direction; the last one is the width of the sum.
        fc: widths of the fully connected layers before the last.
        dropout: dropout probability after each layer of `fc`.
    """

    def __init__(
        self,
        sizes: Sizes,
        *,
        phi: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (100, 100, 256),
        fc: tuple[PositiveInt, ...] = (100, 100, 100),
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    ) -> None:
        super().__init__()
        self.of_event = sizes.vectors > 0  # jets have no missing momentum
        self.phi = mlp(3 if self.of_event else 2, phi)
        self.fc = mlp_head(phi[-1] + (1 + 2 * sizes.vectors) * self.of_event, fc, sizes.outputs, dropout)
        init_he(self)

    @property
    def head(self) -> nn.Module:
        """Layers from the latent vector to the outputs."""
        return self.fc

    def forward(self, features: Features) -> Float[Tensor, "batch outputs"]:
        """Outputs of each event."""
        outputs: Tensor = self.fc(self.latent(features))
        return outputs

    def latent(self, features: Features) -> Float[Tensor, "batch width"]:
        """Sum of Φ, weighted by pT fractions, and in events the scalar sum of pT and missing momentum."""
        relative = directions(features.momenta, features.mask)
        rows, dtype = PackedRows(features.mask), features.particles.dtype
        pt_fraction = rows.pack(relative.pt_fraction[..., None]).to(dtype)
        total = rows.sum(pt_fraction * self.phi_rows(relative, rows, dtype))
        if self.of_event:
            total = torch.cat([total, event_features(relative, features.vectors).to(dtype)], dim=-1)
        return total

    def objects(self, features: Features) -> Float[Tensor, "batch particles width"]:
        """Φ of the direction of each particle, not weighted by pT."""
        rows = PackedRows(features.mask)
        relative = directions(features.momenta, features.mask)
        return rows.unpack(self.phi_rows(relative, rows, features.particles.dtype))

    def phi_rows(self, relative: Directions, rows: PackedRows, dtype: torch.dtype) -> Float[Tensor, "rows width"]:
        """Φ of each real particle."""
        y, phi = relative.delta_y, relative.delta_phi
        coordinates = (y, phi.cos(), phi.sin()) if self.of_event else (y, phi)
        values: Tensor = self.phi(rows.pack(torch.stack(coordinates, dim=-1)).to(dtype))
        return values
