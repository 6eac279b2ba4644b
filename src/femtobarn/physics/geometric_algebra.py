r"""Spacetime algebra: numbers, four-vectors and planes as one kind of quantity that can be multiplied.

The products of four basis vectors with :math:`e_t^2 = 1` and :math:`e_x^2 = e_y^2 = e_z^2 = -1`, which anticommute,
span 16 dimensions: a scalar (grade 0), four vectors (1), six bivectors (2), four axial vectors (3), one pseudoscalar
:math:`I = e_t e_x e_y e_z` (4). Since :math:`I^2 = -1`, a pseudoscalar is the imaginary part of a scalar, an axial
vector that of a vector, and three bivectors those of the three others: eight complex numbers instead of 16 real ones.

Source: Hestenes, *Space-Time Algebra* (Gordon and Breach, 1966); Doran and Lasenby, *Geometric Algebra for Physicists*
(Cambridge, 2003), chapter 5.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from femtobarn.physics.lorentz import METRIC


class Multivectors(NamedTuple):
    """Channels of multivectors. The last axis holds real parts of all channels, then imaginary ones (times I)."""

    scalars: Float[Tensor, "rows two_channels"]  # 1; I
    vectors: Float[Tensor, "4 rows two_channels"]  # e_x, e_y, e_z, e_t; I times these
    bivectors: Float[Tensor, "3 rows two_channels"]  # e_x e_t, e_y e_t, e_z e_t; I times these


def grade(x: Multivectors, number: int) -> Multivectors:
    """The part of this grade, from 0 to 4, with zeros elsewhere."""
    part, half = ((0, 0), (1, 0), (2, slice(None)), (1, 1), (0, 1))[number]
    result = Multivectors(*(torch.zeros_like(component) for component in x))
    _halves(result[part])[half] = _halves(x[part])[half]
    return result


def reverse(x: Multivectors) -> Multivectors:
    """All products of vectors in the opposite order: bivectors and axial vectors change their sign."""
    signs = x.vectors.new_tensor([1, -1]).repeat_interleave(x.vectors.shape[-1] // 2)
    return Multivectors(x.scalars, x.vectors * signs, -x.bivectors)


def adjoint(x: Multivectors) -> Multivectors:
    """What multiplies from the other side of the sum of squares: (x y | z) = (y | adjoint(x) z).

    That is the reverse seen by an observer along e_t, so that it depends on the frame. In a product, it is what takes
    gradients from one factor to the other.
    """
    return from_components(components(x) * SQUARES.to(x.scalars)[:, None, None])


def inner(x: Multivectors, y: Multivectors) -> Float[Tensor, "rows channels"]:
    r"""The invariant product of each channel, the scalar in :math:`\tilde x y`: four-vectors give E E' - p·p'."""
    metric = x.vectors.new_tensor(METRIC)[:, None, None]
    products = x.scalars * y.scalars + (x.vectors * y.vectors * metric).sum(0) - (x.bivectors * y.bivectors).sum(0)
    real, imaginary = _halves(products)
    return torch.sub(real, imaginary)


def product(x: Multivectors, y: Multivectors) -> Multivectors:
    """The geometric product of each channel of x with that of y."""
    return from_components(multiply(components(x), components(y)))


def multiply(
    x: Float[Tensor, "16 rows channels"],
    y: Float[Tensor, "16 rows channels"],
    *,
    adjoint_of_x: bool = False,
    adjoint_of_y: bool = False,
) -> Float[Tensor, "16 rows channels"]:
    r"""The geometric product of components, or with the adjoint of a factor.

    With :math:`\sigma_i = e_i e_t` as Pauli matrices and I as i, scalars and bivectors are a complex 2 x 2 matrix
    :math:`\psi`, vectors and axial vectors another one, :math:`\chi`, times :math:`e_t`. Since
    :math:`e_t \psi = \bar\psi e_t`, multivectors multiply as the matrices

    .. math::
        \begin{pmatrix} \psi & \chi \\ \bar\chi & \bar\psi \end{pmatrix}, \qquad
        \bar\psi = \epsilon \psi^* \epsilon^{-1}, \quad \epsilon = \begin{pmatrix} 0 & 1 \\ -1 & 0 \end{pmatrix}

    do, of whose product the upper half is enough. What the lower half of y adds to it is, but for the order of rows and
    columns and for conjugation, another product with the upper half: in all 128 multiplications, where the table of all
    products of components has 256.
    """
    rows, channels = x.shape[1:]
    left = (_LEFT * SQUARES if adjoint_of_x else _LEFT).to(x)
    right = (_RIGHT * SQUARES if adjoint_of_y else _RIGHT).to(x)
    of_x = (left @ x.flatten(1)).view(2, 4, 1, 2, rows, channels)  # column, row, one, real or imaginary
    of_y = (right @ y.flatten(1)).view(2, 1, 4, 2, rows, channels)  # row, one, column, real or imaginary
    out = of_x[0, :, :, :1] * of_y[0]
    out.addcmul_(of_x[1, :, :, :1], of_y[1])
    for column, row in zip(of_x, of_y, strict=True):
        out[:, :, 0].addcmul_(column[:, :, 1], row[:, :, 1], value=-1)
        out[:, :, 1].addcmul_(column[:, :, 1], row[:, :, 0])
    return (_BACK.to(x) @ out.flatten(3).flatten(0, 2)).view(16, rows, channels)


def components(x: Multivectors) -> Float[Tensor, "16 rows channels"]:
    """Real and imaginary part in turn of the scalar, the bivectors, then the vectors."""
    parts = [
        torch.unflatten(grades, -1, (2, grades.shape[-1] // 2)).movedim(-2, -3)
        for grades in (x.scalars[None], x.bivectors, x.vectors)
    ]
    return torch.cat(parts).flatten(0, 1)


def from_components(x: Float[Tensor, "16 rows channels"]) -> Multivectors:
    """The inverse of `components`."""
    parts = torch.unflatten(x, 0, (8, 2)).transpose(1, 2).flatten(2)
    return Multivectors(parts[0], parts[4:], parts[1:4])


def _matrices() -> tuple[Tensor, Tensor, Tensor]:
    """From components to the entries of the matrices in `multiply`, and back."""
    unit_matrix, imaginary = torch.eye(2), torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    upper = torch.zeros(2, 2, 2, 2, 2, 4, 2)  # row, psi or chi, column, part; even or odd, component, part
    for parity, (unit, x, y, z) in enumerate(((0, 1, 2, 3), (3, 0, 1, 2))):  # e_t is the unit of chi, and comes last
        entries = upper[:, parity, :, :, parity]
        entries[0, 0, :, unit], entries[1, 1, :, unit] = unit_matrix, unit_matrix
        entries[0, 1, :, x], entries[1, 0, :, x] = unit_matrix, unit_matrix
        entries[0, 1, :, y], entries[1, 0, :, y] = -imaginary, imaginary
        entries[0, 0, :, z], entries[1, 1, :, z] = unit_matrix, -unit_matrix
    conjugate, sign = torch.tensor([1.0, -1.0])[:, None, None, None], torch.tensor([-1.0, 1.0])
    left = torch.zeros(2, 2, 2, 2, 2, 4, 2)  # column, for the upper half of y or the lower, row, part; components
    left[:, 0] = upper[:, 0].transpose(0, 1)
    left[:, 1] = sign[:, None, None, None, None, None] * (upper[:, 1].flip(1) * conjugate).transpose(0, 1)
    back = torch.zeros(2, 4, 2, 2, 2, 2, 2, 2)  # components; for the upper half of y or the lower, row, K, column, part
    forth = upper.movedim((0, 1, 2, 3), (3, 4, 5, 6)) / 2  # the transpose of `upper`, which is twice its inverse
    back[:, :, :, 0] = forth
    back[:, :, :, 1] = (forth * -sign[:, None] * conjugate[:, 0, 0, 0]).flip(4, 5)
    return left.reshape(16, 16), upper.reshape(16, 16), back.reshape(16, 32)


#: Signs of the squares of the components.
SQUARES = torch.tensor([1.0, -1.0] * 4 + [-1.0] * 6 + [1.0] * 2)
_LEFT, _RIGHT, _BACK = _matrices()


def _halves(x: Tensor) -> Tensor:
    """Real and imaginary parts of the last axis, as a view with these first."""
    return torch.unflatten(x, -1, (2, -1)).movedim(-2, 0)
