"""Jet images: a picture of where the momentum goes, upright, and a convolutional network that looks at it.

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

from femtobarn.inputs.encoded import Encoded, Sizes
from femtobarn.models.registry import model
from femtobarn.nn import directions, event_features, init_he, mlp_head
from femtobarn.physics.objects import BJET, CHARGED, LEPTONS, NEUTRAL, PHOTON

Channel = Literal["pt", "charged", "neutral", "leptons", "b_jets", "photons", "count"]

#: Which particles each channel shows the shares of pT of; `pt` shows all, and `count` counts all.
KINDS: dict[Channel, tuple[int, ...]] = {
    "charged": (CHARGED, *LEPTONS),
    "neutral": (NEUTRAL, PHOTON),
    "leptons": LEPTONS,
    "b_jets": (BJET,),
    "photons": (PHOTON,),
}

#: Half the width of the image of a jet, the radius of large jets, and of an event, which shows a bit of the other side
#: of the beam twice.
OF_JET, OF_EVENT = 0.8, 3.6

#: Asymmetries below this, in units of the largest that there could be, do not turn an image over: rounding must not.
TIE = 1e-5

Filters = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
Places = Float[Tensor, "batch particles"]


@model(
    "jetimage",
    pairs=False,
    small={"pixels": 14, "filters": ((8,), (8,)), "kernel": 3, "fc": (16,), "dropout": 0.0},
)
class JetImage(nn.Module):
    r"""Image of a jet, or of an event, in rapidity and azimuth, and a convolutional network that looks at it.

    It draws the image itself, from the momenta alone but for the channels that ask for types. A jet is moved with its
    centre (of pT) to the middle, turned until its principal axis lies along the first direction, and turned over in
    both directions until the third moments are positive, so that its longer tail points the same way in each. An event
    lies around the axis of its summed momenta and is turned over but not turned: rapidity and azimuth are no plane
    there. The azimuth goes a bit further than around, so that no jet is cut in two; the scalar sum of pT and missing
    momentum stand beside what the network has seen.

    Each particle is shared out among the four nearest pixels in proportion, where the papers give it to one: the answer
    is a continuous function of the momenta, whatever the pixels, and rounding does not decide where something lies.
    With the channel `pt` alone it is infrared- and collinear-safe.

    Args:
        sizes: widths of the inputs and outputs.
        pixels: of each side.
        reach: half the length of a side, in units of rapidity and radians; 0.8 for jets and 3.6 for events by default.
        channels: what is drawn: shares of pT (of all, or of some types) and numbers of particles. By default `pt`,
            `count` and, where the features tell types, `charged` for jets, `b_jets` and `leptons` for events.
        filters: of the convolutions of each stage; a stage ends by taking the largest of 2 x 2.
        kernel: pixels that a filter spans in each direction.
        fc: widths of the fully connected layers before the last.
        dropout: after each of those.

    Raises:
        ValueError: an image that the stages leave nothing of.
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
        self.reach = reach or (OF_EVENT if self.of_event else OF_JET)
        self.channels = channels or usual(sizes)
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
        beside = (1 + 2 * sizes.vectors) * self.of_event
        self.fc = mlp_head(before * length**2 + beside, fc, sizes.outputs, dropout)
        init_he(self)

    def forward(self, encoded: Encoded) -> Float[Tensor, "batch outputs"]:
        """Logits of each event."""
        dtype = encoded.particles.dtype
        seen: Tensor = self.layers(self.draw(encoded).to(dtype)).flatten(1)
        if self.of_event:
            around = directions(encoded.momenta, encoded.mask)
            seen = torch.cat([seen, event_features(around, encoded.vectors).to(dtype)], dim=-1)
        logits: Tensor = self.fc(seen)
        return logits

    def draw(self, encoded: Encoded) -> Float[Tensor, "batch channels pixels pixels"]:
        """The images: first index rapidity, or the principal axis of a jet; second azimuth, or across."""
        where = directions(encoded.momenta, encoded.mask)
        share, x, y = where.pt_fraction, where.delta_y, where.delta_phi
        if self.of_event:
            # the sine does not jump on the other side of the beam
            x, y = x * side(share, x), y * side(share, y.sin())
        else:
            x, y = upright(share, x, y)
            x, y = x * side(share, x), y * side(share, y)
        shown = torch.stack([self.shown(channel, share, encoded) for channel in self.channels], dim=1)
        first = self.hats(x)
        # the azimuths beyond half a turn are those of the other side
        second = self.hats(y - math.tau) + self.hats(y) + self.hats(y + math.tau) if self.of_event else self.hats(y)
        return (shown[..., None] * first[:, None]).transpose(2, 3) @ second[:, None]

    def shown(self, channel: Channel, share: Places, encoded: Encoded) -> Places:
        """What a channel shows of each particle; 0 in padded slots, where the shares are."""
        if channel == "pt":
            return share
        if channel == "count":
            return encoded.mask.to(share.dtype)
        of_kind = torch.stack([encoded.kind == kind for kind in KINDS[channel]]).any(0)
        return torch.where(of_kind, share, 0.0)

    def hats(self, place: Places) -> Float[Tensor, "batch particles pixels"]:
        """How near each place is to the middle of each pixel: 1 there, 0 from the middles of the next on."""
        pixel = (place / self.reach + 1) * self.pixels / 2 - 0.5
        middles = torch.arange(self.pixels, device=place.device)
        return (1 - (pixel[..., None] - middles).abs()).clamp_min(0)


def usual(sizes: Sizes) -> tuple[Channel, ...]:
    """The channels that go with the features."""
    if sizes.vectors:
        return ("pt", "count", "b_jets", "leptons")
    return ("pt", "count", "charged") if sizes.scalars[1] > sizes.scalars[0] else ("pt", "count")


def upright(share: Places, x: Places, y: Places) -> tuple[Places, Places]:
    """Places along the principal axis of the shares and across it, from their centre."""
    x, y = (place - (share * place).sum(1, keepdim=True) for place in (x, y))
    xx, yy, xy = ((share * product).sum(1, keepdim=True) for product in (x * x, y * y, x * y))
    long, skew = xx - yy, 2 * xy
    # the slope of atan2(0, 0) is NaN
    angle = torch.atan2(skew, torch.where((long == 0) & (skew == 0), 1.0, long)) / 2
    c, s = angle.cos(), angle.sin()
    return c * x + s * y, c * y - s * x


def side(share: Places, place: Places) -> Float[Tensor, "batch 1"]:
    """-1 where the third moment is negative, so that the image has to be turned over; else 1."""
    cubes = share * place**3
    return torch.where(cubes.sum(1, keepdim=True) < -TIE * cubes.abs().sum(1, keepdim=True), -1.0, 1.0)
