"""Equivariant transformers with a global token: blocks over the tokens of an event, of any type of features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from femtobarn.inputs.feature_batch import Features, Sizes
from femtobarn.nn.attention import Bias
from femtobarn.nn.packing import PackedRows
from femtobarn.nn.tokens import Reference, particle_vectors


class GlobalTokenTransformer(nn.Module, ABC):
    """Transformer whose global token, the last one of each event, gives the latent vector.

    A subclass has `embed_tokens`, which makes the features of the tokens, the layers `blocks` and the layer `head`.
    Features are a tuple with `scalars` (one row per token) and `vectors` (4, rows, channels).

    Args:
        sizes: widths of the inputs and outputs.
        references: reference vectors among the tokens.
        scale: GeV; unit of the momenta.
    """

    blocks: nn.ModuleList
    head: nn.Linear

    def __init__(self, sizes: Sizes, references: Sequence[Reference], scale: float) -> None:
        super().__init__()
        self.sizes, self.references, self.scale = sizes, tuple(references), scale

    @abstractmethod
    def embed_tokens(self, features: Features) -> tuple[Any, PackedRows, Bias]:
        """Features of the tokens, the index of their rows, and the bias of the attention."""

    def forward(self, features: Features) -> Float[Tensor, "batch outputs"]:
        """Outputs of each event."""
        outputs: Tensor = self.head(self.latent(features))
        return outputs

    def latent(self, features: Features) -> Float[Tensor, "batch width"]:
        """Scalars of the global token after the last block."""
        x, _ = self.encode(features, self.blocks)
        scalars: Tensor = x.scalars
        return scalars

    def objects(self, features: Features) -> Float[Tensor, "batch particles width"]:
        """Scalars of each particle before the last block, which updates the global token only."""
        x, rows = self.encode(features, list(self.blocks)[:-1])
        return rows.unpack(x.scalars)[:, : features.mask.shape[1]]

    def vectors(self, features: Features) -> Float[Tensor, "batch particles vectors 4"]:
        """Four-vectors of each particle before the last block, in the laboratory frame, in GeV."""
        x, rows = self.encode(features, list(self.blocks)[:-1])
        return particle_vectors(x.vectors, rows, features, self.references, self.scale)

    def encode(self, features: Features, blocks: Iterable[nn.Module]) -> tuple[Any, PackedRows]:
        """Features of the tokens after some blocks, and the index of their rows."""
        x, rows, bias = self.embed_tokens(features)
        for block in blocks:
            x = block(x, rows, bias, features.mask.shape[1])
        return x, rows
