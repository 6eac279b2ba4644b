"""Energy flow network: a network of each direction, summed with the shares of pT, and a network of the sum.

Komiske, Metodiev and Thaler, *Energy Flow Networks: Deep Sets for Particle Jets*, arXiv:1810.05165.
"""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from femtobarn.inputs.encoded import Encoded, Sizes
from femtobarn.models.registry import model
from femtobarn.nn import PackedRows, directions, event_features, init_he, mlp, mlp_head


@model("efn", pairs=False, small={"phi": (16, 16), "fc": (16,), "dropout": 0.0})
class EFN(nn.Module):
    r"""Energy flow network (EFN), infrared- and collinear-safe by construction.

    .. math:: F\Big(\sum_i z_i\, \Phi(\Delta y_i, \Delta\phi_i)\Big), \quad z_i = p_{T,i} / \sum_j p_{T,j}

    A particle without momentum adds nothing, and one that splits collinearly adds what it added before: the answer can
    be computed in perturbation theory. So it sees momenta alone, whatever features there are: no types, no tracks.
    Directions are those around the axis of the summed momenta, in rapidity and azimuth.

    The objects of an event lie all around the beam. There :math:`\Phi` gets the cosine and the sine of the azimuth, as
    an angle would jump opposite of the axis, and F gets, beside the sum, the logarithm of the scalar sum of pT and the
    missing transverse momentum in units of it and relative to the axis: turning an event around the beam or boosting
    it along the beam changes nothing.

    Args:
        sizes: widths of the inputs and outputs.
        phi: widths of the layers for each direction; the last one is that of the sum.
        fc: widths of the fully connected layers before the last.
        dropout: after each of these.
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

    def forward(self, encoded: Encoded) -> Float[Tensor, "batch outputs"]:
        """Logits of each event."""
        seen = directions(encoded.momenta, encoded.mask)
        place = (
            (seen.delta_y, seen.delta_phi.cos(), seen.delta_phi.sin())
            if self.of_event
            else (seen.delta_y, seen.delta_phi)
        )
        rows, dtype = PackedRows(encoded.mask), encoded.particles.dtype
        share = rows.pack(seen.pt_fraction[..., None]).to(dtype)
        whole = rows.sum(share * self.phi(rows.pack(torch.stack(place, dim=-1)).to(dtype)))
        if self.of_event:
            whole = torch.cat([whole, event_features(seen, encoded.vectors).to(dtype)], dim=-1)
        logits: Tensor = self.fc(whole)
        return logits
