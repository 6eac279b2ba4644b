"""1D convolutional network: filters that slide over the list of particles, hardest first.

LeCun et al., *Gradient-Based Learning Applied to Document Recognition*, doi:10.1109/5.726791; over the objects of a
four-top event: Moskvitina et al., arXiv:2211.05143.
"""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import AfterValidator, Field, PositiveInt
from torch import Tensor, nn

from femtobarn.inputs.feature_batch import Features, Sizes
from femtobarn.models.registry import model
from femtobarn.nn import BatchNorm, PackedRows, mlp_head

#: Particles; unit of sums over an event, about their number, so that the sums are of order 1.
SUM_UNIT = 10


def _odd(number: int) -> int:
    if number % 2 == 0:
        raise ValueError(f"{number} is even; a filter that is centred on an object spans an odd number of them")
    return number


@model(
    "cnn",
    family="sequences and images",
    small={"channels": (16, 16), "fc": (16,), "dropout": 0.0},
    ordered=True,
    pairs=False,
)
class CNN(nn.Module):
    """Convolutions over the list of particles by falling pT, then sum and maximum over the list.

    Every filter combines a particle with its neighbours in the list, so the output depends on the order. Beyond either
    end of the list there are zeros; padding is set to 0 after each layer and is therefore equivalent to the end. The
    network consists of linear layers, batch norm, ReLU and pooling, for which layer-wise relevance propagation is well
    defined. It takes no pairwise features.

    Args:
        sizes: widths of the inputs and outputs.
        channels: filters of each convolution.
        kernel: particles per filter, an odd number.
        fc: widths of the fully connected layers before the last; MET and its direction join here.
        dropout: dropout probability after each layer of `fc`.
    """

    def __init__(
        self,
        sizes: Sizes,
        *,
        channels: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (64, 128, 128),
        kernel: Annotated[PositiveInt, AfterValidator(_odd)] = 3,
        fc: tuple[PositiveInt, ...] = (128, 64),
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
    ) -> None:
        super().__init__()
        widths = (sizes.particles, *channels)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(before, after, kernel, padding=_odd(kernel) // 2, bias=False)
            for before, after in zip(widths, channels, strict=False)
        )
        self.norms = nn.ModuleList(BatchNorm(width) for width in channels)
        self.fc = mlp_head(2 * channels[-1] + sizes.context, fc, sizes.outputs, dropout)

    @property
    def head(self) -> nn.Module:
        """Layers from the latent vector to the outputs."""
        return self.fc

    def forward(self, features: Features) -> Float[Tensor, "batch outputs"]:
        """Outputs of each event."""
        outputs: Tensor = self.fc(self.latent(features))
        return outputs

    def latent(self, features: Features) -> Float[Tensor, "batch width"]:
        """Sum and maximum of each channel over the particles, and the features of the event."""
        return self.pool(self.convolve(features), features.context)

    def objects(self, features: Features) -> Float[Tensor, "batch particles width"]:
        """Channels of each particle after the last convolution."""
        return self.convolve(features).transpose(1, 2)

    def convolve(self, features: Features) -> Float[Tensor, "batch channels particles"]:
        """Channels of each particle after the last convolution; 0 for padding."""
        rows = PackedRows(features.mask)
        x = features.particles.transpose(1, 2)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            filtered = rows.pack(convolution(x).transpose(1, 2))
            x = rows.unpack(torch.relu(norm(filtered))).transpose(1, 2)
        return x

    def pool(
        self, x: Float[Tensor, "batch channels particles"], context: Float[Tensor, "batch event_features"]
    ) -> Float[Tensor, "batch features"]:
        """Sum and maximum of each channel over the particles, and the features of the event."""
        # nothing is below 0 after a ReLU, so padding is no maximum
        return torch.cat([x.sum(-1) / SUM_UNIT, x.amax(-1), context], dim=-1)
