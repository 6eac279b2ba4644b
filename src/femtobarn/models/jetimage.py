"""Jet images: an image of the pT fractions, centred and rotated, and a convolutional network.

De Oliveira et al., *Jet-Images - Deep Learning Edition*, arXiv:1511.05190, after Cogan et al., arXiv:1407.5675; the
network is that of Macaluso and Shih, *Pulling Out All the Tops with Computer Vision and Deep Learning*,
arXiv:1803.00107.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from femtobarn.inputs.feature_batch import Features, Sizes
from femtobarn.models.registry import model
from femtobarn.nn import Directions, directions, event_features, init_he, mlp_head
from femtobarn.physics.objects import BJET, CHARGED, LEPTONS, NEUTRAL, PHOTON

Channel = Literal["pt", "charged", "neutral", "leptons", "b_jets", "photons", "count"]

#: Types whose pT fractions a channel shows; `pt` shows all types, and `count` counts all particles.
CHANNEL_KINDS: dict[Channel, tuple[int, ...]] = {
    "charged": (CHARGED, *LEPTONS),
    "neutral": (NEUTRAL, PHOTON),
    "leptons": LEPTONS,
    "b_jets": (BJET,),
    "photons": (PHOTON,),
}

#: Half the width of the image of a jet, in units of rapidity and radians: the radius of large jets.
JET_REACH = 0.8

#: Half the width of the image of an event; more than π, so that the image overlaps at the other side of the beam.
EVENT_REACH = 3.6

#: Relative to the maximum asymmetry; images with smaller asymmetries are not flipped, so that rounding has no effect.
ASYMMETRY_TOLERANCE = 1e-5

Filters = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
PerParticle = Float[Tensor, "batch particles"]


@model(
    "jetimage",
    family="sequences and images",
    pairs=False,
    small={"pixels": 14, "filters": ((8,), (8,)), "kernel": 3, "fc": (16,), "dropout": 0.0},
)
class JetImage(nn.Module):
    r"""Image of a jet or an event in rapidity and azimuth, followed by a convolutional network.

    The image is made inside the network from the momenta, and from the types for channels that need them. A jet is
    centred at its pT-weighted mean, rotated until its principal axis lies along the first direction, and flipped in
    both directions until the third moments are positive. An event is centred at the axis of its summed momenta and
    flipped but not rotated, because rapidity and azimuth do not form a plane there. Its image covers more than a full
    turn in azimuth, so that no jet is cut in two; the scalar sum of pT and missing momentum join before the fully
    connected layers.

    Each particle contributes to the four nearest pixels in proportion to its distance, where the papers assign it to
    one pixel: the output is a continuous function of the momenta for any number of pixels. With the channel `pt` alone
    it is infrared- and collinear-safe.

    Args:
        sizes: widths of the inputs and outputs.
        pixels: pixels per side.
        reach: half the length of a side, in units of rapidity and radians; default: 0.8 for jets, 3.6 for events.
        channels: contents of the image: pT fractions (of all or of some types) and numbers of particles. Default:
            `pt`, `count` and, with types among the features, `charged` for jets, `b_jets` and `leptons` for events.
        filters: filters of the convolutions of each stage; a stage ends with a maximum over 2 x 2 pixels.
        kernel: pixels per filter in each direction.
        fc: widths of the fully connected layers before the last.
        dropout: dropout probability after each layer of `fc`.

    Raises:
        ValueError: fewer pixels than the stages need.
    """

    def __init__(
        self,
        sizes: Sizes,
        *,
        pixels: PositiveInt = 40,
        reach: PositiveFloat | None = None,
        channels: tuple[Channel, ...] | None = None,
        filters: Annotated[tuple[Filters, ...], Field(min_length=1)] = ((128, 64), (64, 64)),
        kernel: PositiveInt = 4,
        fc: tuple[PositiveInt, ...] = (64, 256, 256),
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    ) -> None:
        super().__init__()
        self.of_event = sizes.vectors > 0  # jets have no missing momentum
        self.pixels = pixels
        self.reach = reach or (EVENT_REACH if self.of_event else JET_REACH)
        self.channels = channels or default_channels(sizes)
        layers: list[nn.Module] = []
        before, length, padding = len(self.channels), pixels, (kernel - 1) // 2
        for stage in filters:
            for after in stage:
                layers += [nn.Conv2d(before, after, kernel, padding=padding), nn.ReLU()]
                before, length = after, length + 2 * padding - kernel + 1
            layers.append(nn.MaxPool2d(2))
            length //= 2
        if length < 1:
            raise ValueError(f"{pixels} x {pixels} pixels are too few for filters {filters} of {kernel} x {kernel}")
        self.layers = nn.Sequential(*layers)
        n_event_features = (1 + 2 * sizes.vectors) * self.of_event
        self.fc = mlp_head(before * length**2 + n_event_features, fc, sizes.outputs, dropout)
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
        """Last convolution, and in events the scalar sum of pT and missing momentum."""
        dtype = features.particles.dtype
        relative = directions(features.momenta, features.mask)
        latent: Tensor = self.layers(self.draw(features, relative).to(dtype)).flatten(1)
        if self.of_event:
            latent = torch.cat([latent, event_features(relative, features.vectors).to(dtype)], dim=-1)
        return latent

    def draw(self, features: Features, relative: Directions) -> Float[Tensor, "batch channels pixels pixels"]:
        """Images: first index rapidity, or the principal axis of a jet; second azimuth, or the orthogonal axis."""
        weight, x, y = relative.pt_fraction, relative.delta_y, relative.delta_phi
        if self.of_event:
            # the sine has no jump at the other side of the beam
            x, y = x * flip_sign(weight, x), y * flip_sign(weight, y.sin())
        else:
            x, y = rotate_to_principal_axis(weight, x, y)
            x, y = x * flip_sign(weight, x), y * flip_sign(weight, y)
        channels = [self.channel_weights(channel, weight, features) for channel in self.channels]
        first = self.pixel_weights(x)
        if self.of_event:  # azimuths beyond half a turn are those of the other side
            second = self.pixel_weights(y - math.tau) + self.pixel_weights(y) + self.pixel_weights(y + math.tau)
        else:
            second = self.pixel_weights(y)
        return (torch.stack(channels, dim=1)[..., None] * first[:, None]).transpose(2, 3) @ second[:, None]

    def channel_weights(self, channel: Channel, pt_fraction: PerParticle, features: Features) -> PerParticle:
        """Weight of each particle in a channel; 0 in padded slots."""
        if channel == "pt":
            return pt_fraction
        if channel == "count":
            return features.mask.to(pt_fraction.dtype)
        is_shown = torch.stack([features.kind == kind for kind in CHANNEL_KINDS[channel]]).any(0)
        return torch.where(is_shown, pt_fraction, 0.0)

    def pixel_weights(self, coordinate: PerParticle) -> Float[Tensor, "batch particles pixels"]:
        """Weights of each particle in the pixels: 1 at the centre of a pixel, falling to 0 at the next centres."""
        pixel = (coordinate / self.reach + 1) * self.pixels / 2 - 0.5
        centres = torch.arange(self.pixels, device=coordinate.device)
        return (1 - (pixel[..., None] - centres).abs()).clamp_min(0)


def default_channels(sizes: Sizes) -> tuple[Channel, ...]:
    """Channels for the available features."""
    if sizes.vectors:
        return ("pt", "count", "b_jets", "leptons")
    return ("pt", "count", "charged") if sizes.scalars[1] > sizes.scalars[0] else ("pt", "count")


def rotate_to_principal_axis(weight: PerParticle, x: PerParticle, y: PerParticle) -> tuple[PerParticle, PerParticle]:
    """Coordinates along and orthogonal to the principal axis, relative to the weighted mean."""
    x, y = (coordinate - (weight * coordinate).sum(1, keepdim=True) for coordinate in (x, y))
    xx, yy, xy = ((weight * product).sum(1, keepdim=True) for product in (x * x, y * y, x * y))
    difference, skew = xx - yy, 2 * xy
    # the gradient of atan2(0, 0) is NaN
    angle = torch.atan2(skew, torch.where((difference == 0) & (skew == 0), 1.0, difference)) / 2
    c, s = angle.cos(), angle.sin()
    return c * x + s * y, c * y - s * x


def flip_sign(weight: PerParticle, coordinate: PerParticle) -> Float[Tensor, "batch 1"]:
    """Sign of the third moment: -1 if the image must be flipped, else 1."""
    cubes = weight * coordinate**3
    threshold = -ASYMMETRY_TOLERANCE * cubes.abs().sum(1, keepdim=True)
    return torch.where(cubes.sum(1, keepdim=True) < threshold, -1.0, 1.0)
