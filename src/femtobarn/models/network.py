"""Network: the complete function from raw particles to outputs, one module and one file."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from femtobarn.inputs import Batch, Inputs
from femtobarn.inputs.feature_batch import Features
from femtobarn.models.depths import at_depth, vectors_method

#: Slots; minimum after trimming. A softmax over fewer than a vector register of numbers takes six times longer.
MIN_SLOTS = 16


class Network(nn.Module):
    """Feature extraction and architecture in one: raw particles in GeV as input, at three depths of output.

    Args:
        inputs: features and their standardization, fitted to training events.
        architecture: a registered model, built for `inputs.sizes(outputs)`.

    Example:
        >>> network = Network(inputs, find("part")(inputs.sizes(5)))  # doctest: +SKIP
        >>> logits = network(make_batch(events, slots=18))  # doctest: +SKIP
        >>> latent = network.latent(make_batch(events, slots=18))  # doctest: +SKIP
    """

    def __init__(self, inputs: Inputs, architecture: nn.Module) -> None:
        super().__init__()
        self.inputs = inputs
        self.architecture = architecture

    def forward(self, batch: Batch) -> Float[Tensor, "batch outputs"]:
        """Outputs of each event, such as logits: `head` of `latent`. Contents of padded slots have no effect."""
        outputs: Tensor = self.architecture(self.features(batch))
        return outputs

    def latent(self, batch: Batch) -> Float[Tensor, "batch width"]:
        """Latent vector of each event, the input of the head.

        Raises:
            ValueError: the architecture has no latent vector; the message lists the models that have one.
        """
        return at_depth(self.architecture, "latent")(self.features(batch))

    def objects(self, batch: Batch) -> Float[Tensor, "batch particles width"]:
        """Vector of each particle, in the slots of the batch; 0 in padded slots.

        Raises:
            ValueError: the architecture has no vectors of particles; the message lists the models that have them.
        """
        objects = at_depth(self.architecture, "objects")(self.features(batch))
        n_trimmed = batch.mask.shape[1] - objects.shape[1]
        return nn.functional.pad(objects, (0, 0, 0, n_trimmed)) if n_trimmed else objects

    def vectors(self, batch: Batch) -> Float[Tensor, "batch particles vectors 4"]:
        """Four-vectors of each particle from an equivariant network: a boost of the event boosts them.

        (px, py, pz, E) in the slots of the batch, in float64; 0 in padded slots. `lorentznet`, `lgatr` and `lgatr-slim`
        return GeV, networks with local frames return numbers without a unit.

        Raises:
            ValueError: the architecture has no four-vectors; the message lists the models that have them.
        """
        vectors = vectors_method(self.architecture)(self.features(batch))
        n_trimmed = batch.mask.shape[1] - vectors.shape[1]
        return nn.functional.pad(vectors, (0, 0, 0, 0, 0, n_trimmed)) if n_trimmed else vectors

    @property
    def head(self) -> nn.Module:
        """Layers from the latent vector to the outputs."""
        head = self.architecture.head
        assert isinstance(head, nn.Module)
        return head

    @property
    def output_layer(self) -> nn.Linear:
        """Last layer of the head: the only parameters whose shapes follow from the number of outputs."""
        return [layer for layer in self.head.modules() if isinstance(layer, nn.Linear)][-1]

    def features(self, batch: Batch) -> Features:
        """Features of a batch, without slots that are empty in all events."""
        features: Features = self.inputs(trim(batch))
        return features


def trim(batch: Batch) -> Batch:
    """Remove the slots at the end that are empty in all events of the batch: pairs cost the slots squared."""
    if torch.compiler.is_exporting():
        return batch
    filled = batch.mask.any(0).nonzero()
    slots = max(MIN_SLOTS, int(filled[-1]) + 1 if len(filled) else 1)
    return batch.replace(
        momenta=batch.momenta[:, :slots],
        kind=batch.kind[:, :slots],
        mask=batch.mask[:, :slots],
        tracks=batch.tracks[:, :slots],
    )
