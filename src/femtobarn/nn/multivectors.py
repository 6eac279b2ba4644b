"""Layers for multivectors that turn with their input under every proper Lorentz transformation.

Brehmer et al., *Geometric Algebra Transformer*, arXiv:2305.18415; for spacetime: Spinner et al., arXiv:2405.14806.

Rows are objects. Each has channels of multivectors, and scalars of its own beside them; both may come in groups, heads
or factors, one after the other. In `Multivectors.scalars` a group holds its own scalars first, then the scalars and the
pseudoscalars of its multivectors: a transformation changes none of them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from femtobarn.nn.products import linear
from femtobarn.physics.geometric_algebra import Multivectors, components, from_components, multiply
from femtobarn.physics.lorentz import METRIC

#: The mean squared length of channels counts as this at least: lengths vanish where components do not.
SHORT = 0.01


class Channels(NamedTuple):
    """What a row holds."""

    multivectors: int  # in each group
    scalars: int  # in each group, beside those of the multivectors
    groups: int = 1

    @property
    def invariant(self) -> int:
        """Numbers of a row that no transformation changes."""
        return self.groups * (self.scalars + 2 * self.multivectors)

    @property
    def pairs(self) -> int:
        """Real and imaginary parts of all channels."""
        return 2 * self.groups * self.multivectors


class Linear(nn.Module):
    """The most general linear map of multivectors and scalars that commutes with proper Lorentz transformations.

    From one channel to another it has ten coefficients: one for each grade, and one for each grade times I, which turns
    scalars into pseudoscalars, vectors into axial vectors and planes into those across. So all that is invariant
    shares a matrix, vectors and axial vectors share one, applied to each of their four components, and bivectors have a
    complex one: 32 products for two channels, where a matrix of 16 x 16 has 256.

    Args:
        before: what goes in.
        after: what comes out.
        bias: of what is invariant.
        scale: of the first weights; 1 keeps the size of the numbers.
        bivectors: some go in; without, none come out.
        only_scalars: nothing else comes out.
    """

    def __init__(
        self,
        before: Channels,
        after: Channels,
        *,
        bias: bool = True,
        scale: float = 1.0,
        bivectors: bool = True,
        only_scalars: bool = False,
    ) -> None:
        super().__init__()
        self.before, self.after = before, after
        self.scalars = nn.Linear(before.invariant, after.invariant, bias=bias)
        own, others = before.groups * before.scalars, before.groups * before.multivectors
        bounds = torch.full((before.scalars + 2 * before.multivectors,), (2 * others) ** -0.5)
        bounds[: before.scalars] = (2 * max(own, 1)) ** -0.5
        draws = torch.empty_like(self.scalars.weight).uniform_(-scale, scale)
        self.scalars.weight.data = draws * bounds.repeat(before.groups)
        self.vectors: nn.Parameter | None = None
        self.bivectors: nn.Parameter | None = None
        if not only_scalars:
            bound = scale * others**-0.5
            self.vectors = nn.Parameter(torch.empty(after.pairs, before.pairs).uniform_(-bound, bound))
            if bivectors:
                shape = 2, after.pairs // 2, before.pairs // 2
                self.bivectors = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))

    def forward(self, x: Multivectors) -> Multivectors:
        """Every row mapped; where there is no weight for vectors or bivectors, none of them."""
        return Multivectors(
            linear(x.scalars, self.scalars.weight, self.scalars.bias),
            x.vectors[..., :0] if self.vectors is None else linear(x.vectors, self.vectors),
            x.bivectors[..., :0] if self.bivectors is None else linear(x.bivectors, self.complex_matrix()),
        )

    @torch.no_grad()
    def start_second_at_one(self) -> None:
        """The first weights of the second of two groups become such that it starts near the number 1."""
        c = self.after.multivectors
        assert self.vectors is not None
        for weight in (self.scalars.weight, self.vectors):
            weight[2 * c :] *= 0.5
        if self.bivectors is not None:
            self.bivectors[:, c:] *= 0.5
        self.scalars.bias[2 * c :] *= 0.5
        self.scalars.bias[2 * c : 3 * c] += 1

    def complex_matrix(self) -> Float[Tensor, "after before"]:
        """Multiplication with complex numbers as a real matrix, within the groups of both sides."""
        assert self.bivectors is not None
        shape = (2, self.after.groups, self.after.multivectors, self.before.groups, self.before.multivectors)
        real, imaginary = self.bivectors.view(shape)
        rows = (torch.stack([real, -imaginary], dim=-2), torch.stack([imaginary, real], dim=-2))
        return torch.stack(rows, dim=1).reshape(self.after.pairs, self.before.pairs)


def shrinkage(x: Multivectors, channels: Channels) -> Float[Tensor, "rows groups"]:
    r"""One over the size of the multivectors of each group, after multiplying with which the mean square is 1.

    .. math:: \Big(\frac1C \sum_c \sum_k |\langle x_c, x_c \rangle_k|\Big)^{-1/2}

    The sum is over channels c and grades k, whose squares each have a sign of their own.
    """
    c, s = channels.multivectors, channels.scalars
    square = torch.unflatten(x.scalars, -1, (channels.groups, -1))[..., s:].square().sum(-1)
    of_vectors = x.vectors.square()
    of_vectors = (of_vectors[3] - of_vectors[:3].sum(0)).abs()
    square = square + torch.unflatten(of_vectors, -1, (channels.groups, -1)).sum(-1)
    if x.bivectors.shape[-1]:
        of_bivectors = torch.unflatten(x.bivectors.square().sum(0), -1, (channels.groups, 2, c))
        real, imaginary = of_bivectors.unbind(-2)
        square = square + (real - imaginary).abs().sum(-1)
    return (square / c).clamp_min(SHORT).rsqrt()


def normed(x: Multivectors, channels: Channels) -> Multivectors:
    """Layer norm without parameters: of the scalars of each row, and of its multivectors by their lengths.

    Args:
        x: in one group.
        channels: of it.
    """
    s = channels.scalars
    factor = shrinkage(x, channels)
    own = nn.functional.layer_norm(x.scalars[:, :s], (s,))
    return Multivectors(torch.cat([own, x.scalars[:, s:] * factor], dim=-1), x.vectors * factor, x.bivectors * factor)


def gated(x: Multivectors, channels: Channels) -> Multivectors:
    """The norm, then GELU of scalars, and of the scalar of each multivector as a factor of all its components."""
    c, s = channels.multivectors, channels.scalars
    factor = shrinkage(x, channels)
    own = nn.functional.gelu(nn.functional.layer_norm(x.scalars[:, :s], (s,)), approximate="tanh")
    factor = factor * nn.functional.gelu(factor * x.scalars[:, s : s + c], approximate="tanh")
    factor = torch.cat([factor, factor], dim=-1)  # of real and imaginary parts
    return Multivectors(torch.cat([own, x.scalars[:, s:] * factor], dim=-1), x.vectors * factor, x.bivectors * factor)


def multiplied(x: Multivectors) -> Multivectors:
    """The geometric product of the channels of the first of two groups with those of the second."""
    left, right = zip(*(each.chunk(2, dim=-1) for each in x), strict=True)
    factors = components(Multivectors(*left)), components(Multivectors(*right))
    found: Tensor = _Product.apply(*factors)  # type: ignore[no-untyped-call]
    return from_components(found)


class _Product(torch.autograd.Function):
    """The way back is two products as well, each with the adjoint of the other factor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(x, y)
        return multiply(x, y)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, Tensor]:
        x, y = ctx.saved_tensors
        return multiply(slopes[0], y, adjoint_of_y=True), multiply(x, slopes[0], adjoint_of_x=True)


def side_by_side(x: Multivectors, channels: Channels) -> Float[Tensor, "rows groups numbers"]:
    """All numbers of each group next to each other: scalars, the scalars of multivectors, vectors, bivectors."""
    groups = channels.groups
    parts = [torch.unflatten(x.scalars, -1, (groups, -1))]
    for each in (x.vectors, x.bivectors):
        if each.shape[-1]:
            parts.append(torch.unflatten(each, -1, (groups, -1)).movedim(0, 2).flatten(2))
    return torch.cat(parts, dim=-1)


def apart(numbers: Float[Tensor, "rows groups numbers"], channels: Channels) -> Multivectors:
    """The inverse of `side_by_side`."""
    c = 2 * channels.multivectors
    s = channels.scalars + c
    scalars, vectors, bivectors = numbers.tensor_split((s, s + 4 * c), dim=-1)
    return Multivectors(
        scalars.flatten(1),
        torch.unflatten(vectors, -1, (4, c)).movedim(2, 0).flatten(2),
        torch.unflatten(bivectors, -1, (3, bivectors.shape[-1] // 3)).movedim(2, 0).flatten(2),
    )


def metric(channels: Channels, bivectors: bool = True) -> Float[Tensor, " numbers"]:
    """Signs of the numbers that stand side by side, with which those of two rows make their invariant product."""
    c = channels.multivectors
    signs = [1.0] * (channels.scalars + c) + [-1.0] * c
    for sign in METRIC:
        signs += [sign] * c + [-sign] * c
    if bivectors:
        signs += ([-1.0] * c + [1.0] * c) * 3
    return torch.tensor(signs)
