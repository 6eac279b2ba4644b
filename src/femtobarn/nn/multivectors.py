"""Layers for multivectors that are equivariant under every proper Lorentz transformation.

Brehmer et al., *Geometric Algebra Transformer*, arXiv:2305.18415; for spacetime: Spinner et al., arXiv:2405.14806.

Rows are tokens. Each row has channels of multivectors and additional scalars; both may form groups (heads or factors),
one after the other. In `Multivectors.scalars` a group holds its additional scalars first, then the scalars and the
pseudoscalars of its multivectors, all of which are invariant.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from femtobarn.nn.products import linear
from femtobarn.physics.geometric_algebra import Multivectors, components, from_components, multiply
from femtobarn.physics.lorentz import METRIC

#: Minimum of the mean squared length of channels in norms: a light-like vector has length 0.
MIN_MEAN_SQUARE = 0.01


class MultivectorChannels(NamedTuple):
    """Numbers of channels of a row."""

    multivectors: int  # in each group
    scalars: int  # in each group, additional to those of the multivectors
    groups: int = 1

    @property
    def invariant(self) -> int:
        """Number of invariant components of a row."""
        return self.groups * (self.scalars + 2 * self.multivectors)

    @property
    def pairs(self) -> int:
        """Number of real and imaginary parts of all channels."""
        return 2 * self.groups * self.multivectors


class EquivariantLinear(nn.Module):
    """Most general linear map of multivectors and scalars that commutes with proper Lorentz transformations.

    It has ten coefficients per pair of channels: one for each grade, and one for each grade times I, which maps scalars
    to pseudoscalars, vectors to axial vectors and bivectors to their duals. So all invariant components share a matrix;
    vectors and axial vectors share one, applied to each of their four components; bivectors have a complex one. These
    are 32 products for two channels, where a 16 x 16 matrix has 256.

    Args:
        before: input channels.
        after: output channels.
        bias: add a bias to the invariant components.
        scale: factor of the initial weights; 1 preserves the variance.
        bivectors: the inputs contain bivectors; without, neither do the outputs.
        only_scalars: compute the invariant components only.
    """

    def __init__(
        self,
        before: MultivectorChannels,
        after: MultivectorChannels,
        *,
        bias: bool = True,
        scale: float = 1.0,
        bivectors: bool = True,
        only_scalars: bool = False,
    ) -> None:
        super().__init__()
        self.before, self.after = before, after
        self.scalars = nn.Linear(before.invariant, after.invariant, bias=bias)
        n_scalars, n_multivectors = before.groups * before.scalars, before.groups * before.multivectors
        bounds = torch.full((before.scalars + 2 * before.multivectors,), (2 * n_multivectors) ** -0.5)
        bounds[: before.scalars] = (2 * max(n_scalars, 1)) ** -0.5
        draws = torch.empty_like(self.scalars.weight).uniform_(-scale, scale)
        self.scalars.weight.data = draws * bounds.repeat(before.groups)
        self.vectors: nn.Parameter | None = None
        self.bivectors: nn.Parameter | None = None
        if not only_scalars:
            bound = scale * n_multivectors**-0.5
            self.vectors = nn.Parameter(torch.empty(after.pairs, before.pairs).uniform_(-bound, bound))
            if bivectors:
                shape = 2, after.pairs // 2, before.pairs // 2
                self.bivectors = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))

    def forward(self, x: Multivectors) -> Multivectors:
        """Map every row; grades without a weight are left out."""
        return Multivectors(
            linear(x.scalars, self.scalars.weight, self.scalars.bias),
            x.vectors[..., :0] if self.vectors is None else linear(x.vectors, self.vectors),
            x.bivectors[..., :0] if self.bivectors is None else linear(x.bivectors, self.complex_matrix()),
        )

    @torch.no_grad()
    def init_second_group_near_one(self) -> None:
        """Initialize the weights of the second of two groups so that its multivectors are close to the number 1."""
        c = self.after.multivectors
        assert self.vectors is not None
        for weight in (self.scalars.weight, self.vectors):
            weight[2 * c :] *= 0.5
        if self.bivectors is not None:
            self.bivectors[:, c:] *= 0.5
        self.scalars.bias[2 * c :] *= 0.5
        self.scalars.bias[2 * c : 3 * c] += 1

    def complex_matrix(self) -> Float[Tensor, "after before"]:
        """Multiplication by complex numbers as a real matrix, within the groups of both sides."""
        assert self.bivectors is not None
        shape = (2, self.after.groups, self.after.multivectors, self.before.groups, self.before.multivectors)
        real, imaginary = self.bivectors.view(shape)
        rows = (torch.stack([real, -imaginary], dim=-2), torch.stack([imaginary, real], dim=-2))
        return torch.stack(rows, dim=1).reshape(self.after.pairs, self.before.pairs)


def inverse_rms(x: Multivectors, channels: MultivectorChannels) -> Float[Tensor, "rows groups"]:
    r"""Inverse root-mean-square length of the multivectors of each group.

    .. math:: \Big(\frac1C \sum_c \sum_k |\langle x_c, x_c \rangle_k|\Big)^{-1/2}

    The sum is over channels c and grades k; the squares of each grade have a sign of their own.
    """
    c, s = channels.multivectors, channels.scalars
    square = torch.unflatten(x.scalars, -1, (channels.groups, -1))[..., s:].square().sum(-1)
    vectors2 = x.vectors.square()
    vectors2 = (vectors2[3] - vectors2[:3].sum(0)).abs()
    square = square + torch.unflatten(vectors2, -1, (channels.groups, -1)).sum(-1)
    if x.bivectors.shape[-1]:
        bivectors2 = torch.unflatten(x.bivectors.square().sum(0), -1, (channels.groups, 2, c))
        real, imaginary = bivectors2.unbind(-2)
        square = square + (real - imaginary).abs().sum(-1)
    return (square / c).clamp_min(MIN_MEAN_SQUARE).rsqrt()


def multivector_norm(x: Multivectors, channels: MultivectorChannels) -> Multivectors:
    """Layer norm without parameters: of the scalars of each row, and of its multivectors by their lengths.

    Args:
        x: multivectors in a single group.
        channels: channels of `x`.
    """
    s = channels.scalars
    factor = inverse_rms(x, channels)
    scalars = nn.functional.layer_norm(x.scalars[:, :s], (s,))
    return Multivectors(
        torch.cat([scalars, x.scalars[:, s:] * factor], dim=-1), x.vectors * factor, x.bivectors * factor
    )


def norm_and_gate(x: Multivectors, channels: MultivectorChannels) -> Multivectors:
    """Norm, then GELU of the scalars, and GELU of the scalar of each multivector as a factor of its components."""
    c, s = channels.multivectors, channels.scalars
    factor = inverse_rms(x, channels)
    scalars = nn.functional.gelu(nn.functional.layer_norm(x.scalars[:, :s], (s,)), approximate="tanh")
    factor = factor * nn.functional.gelu(factor * x.scalars[:, s : s + c], approximate="tanh")
    factor = torch.cat([factor, factor], dim=-1)  # of real and imaginary parts
    return Multivectors(
        torch.cat([scalars, x.scalars[:, s:] * factor], dim=-1), x.vectors * factor, x.bivectors * factor
    )


def group_product(x: Multivectors) -> Multivectors:
    """Geometric product of the channels of the first of two groups with the channels of the second."""
    left, right = zip(*(part.chunk(2, dim=-1) for part in x), strict=True)
    factors = components(Multivectors(*left)), components(Multivectors(*right))
    product: Tensor = _GeometricProduct.apply(*factors)  # type: ignore[no-untyped-call]
    return from_components(product)


class _GeometricProduct(torch.autograd.Function):
    """Geometric product; its gradients are two products with the adjoint of the other factor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(x, y)
        return multiply(x, y)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor]:
        x, y = ctx.saved_tensors
        (grad,) = grad_outputs
        return multiply(grad, y, adjoint_of_y=True), multiply(x, grad, adjoint_of_x=True)


def concat_components(x: Multivectors, channels: MultivectorChannels) -> Float[Tensor, "rows groups components"]:
    """Concatenate all components of each group: scalars, scalars of multivectors, vectors, bivectors."""
    groups = channels.groups
    parts = [torch.unflatten(x.scalars, -1, (groups, -1))]
    for grade in (x.vectors, x.bivectors):
        if grade.shape[-1]:
            parts.append(torch.unflatten(grade, -1, (groups, -1)).movedim(0, 2).flatten(2))
    return torch.cat(parts, dim=-1)


def split_components(numbers: Float[Tensor, "rows groups components"], channels: MultivectorChannels) -> Multivectors:
    """Inverse of `concat_components`."""
    c = 2 * channels.multivectors
    s = channels.scalars + c
    scalars, vectors, bivectors = numbers.tensor_split((s, s + 4 * c), dim=-1)
    return Multivectors(
        scalars.flatten(1),
        torch.unflatten(vectors, -1, (4, c)).movedim(2, 0).flatten(2),
        torch.unflatten(bivectors, -1, (3, bivectors.shape[-1] // 3)).movedim(2, 0).flatten(2),
    )


def component_signs(channels: MultivectorChannels, bivectors: bool = True) -> Float[Tensor, " components"]:
    """Signs of the concatenated components in the invariant product of two rows."""
    c = channels.multivectors
    signs = [1.0] * (channels.scalars + c) + [-1.0] * c
    for sign in METRIC:
        signs += [sign] * c + [-sign] * c
    if bivectors:
        signs += ([-1.0] * c + [1.0] * c) * 3
    return torch.tensor(signs)
