"""The spacetime algebra against Dirac matrices, which are another one with the same rules."""

from __future__ import annotations

import pytest
import torch

from femtobarn.physics import geometric_algebra as ga
from femtobarn.physics import lorentz
from femtobarn.physics.geometric_algebra import Multivectors, components, from_components

PAULI = torch.tensor([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]], dtype=torch.complex128)
T = torch.diag(torch.tensor([1, 1, -1, -1], dtype=torch.complex128))
SPACE = [torch.kron(torch.tensor([[0, 1], [-1, 0]], dtype=torch.complex128), sigma) for sigma in PAULI]
VECTORS = torch.stack([*SPACE, T])  # e_x, e_y, e_z, e_t
I = T @ SPACE[0] @ SPACE[1] @ SPACE[2]  # noqa: E741
PLANES = torch.stack([e @ T for e in SPACE])
ONE = torch.eye(4, dtype=torch.complex128)

#: The 16 basis elements in the order of the components.
BASIS = torch.stack([each @ e for e in (ONE, *PLANES, *VECTORS) for each in (ONE, I)])


def some(seed: int, rows: int = 3, channels: int = 5) -> Multivectors:
    generator = torch.Generator().manual_seed(seed)
    return Multivectors(
        *(
            torch.randn(*shape, rows, 2 * channels, generator=generator, dtype=torch.float64)
            for shape in ((), (4,), (3,))
        )
    )


def matrices(x: Multivectors) -> torch.Tensor:
    return torch.einsum("krc,kab->rcab", components(x).to(BASIS.dtype), BASIS)


def same(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_dirac_matrices_are_a_spacetime_algebra():
    for a in range(4):
        for b in range(4):
            product = VECTORS[a] @ VECTORS[b] + VECTORS[b] @ VECTORS[a]
            same(product, 2 * lorentz.METRIC[a] * ONE if a == b else 0 * ONE)
    same(I @ I, -ONE)


def test_components_come_back():
    x = some(3)
    assert all(torch.equal(found, expected) for found, expected in zip(from_components(components(x)), x, strict=True))
    p = torch.randn(6, 4, dtype=torch.float64)
    vectors = torch.nn.functional.pad(p.T[..., None], (0, 1))  # one channel
    of_vectors = Multivectors(torch.zeros(6, 2).double(), vectors, torch.zeros(3, 6, 2).double())
    same(matrices(of_vectors)[:, 0], torch.einsum("rk,kab->rab", p.to(VECTORS.dtype), VECTORS))


def test_products_are_those_of_the_matrices():
    x, y = some(1), some(2)
    same(matrices(ga.product(x, y)), matrices(x) @ matrices(y))


def test_products_of_basis_elements_have_one_component():
    """All 256 of them, so that no sign hides behind another."""
    every = torch.eye(16, dtype=torch.float64)
    x, y = (from_components(each[..., None]) for each in (every.repeat_interleave(16, 1), every.repeat(1, 16)))
    found = ga.product(x, y)
    assert (components(found).abs().sum(0) == 1).all()
    same(matrices(found), matrices(x) @ matrices(y))


def test_the_product_is_associative():
    x, y, z = some(1), some(2), some(3)
    same(components(ga.product(ga.product(x, y), z)), components(ga.product(x, ga.product(y, z))))


def test_grades_are_products_of_as_many_vectors():
    x = some(4)
    same(torch.stack([components(ga.grade(x, k)) for k in range(5)]).sum(0), components(x))
    assert [int((components(ga.grade(x, k))[:, 0, 0] != 0).sum()) for k in range(5)] == [1, 4, 6, 4, 1]
    for k in range(5):
        # the parity of a grade, and whether its elements commute with I
        part = matrices(ga.grade(x, k))
        same(I @ part, (-1) ** k * part @ I)
        again = torch.stack([e @ part @ e * sign for e, sign in zip(VECTORS, lorentz.METRIC, strict=True)]).sum(0)
        same(again, (-1) ** k * (4 - 2 * k) * part)  # e^a A_k e_a = (-1)^k (4 - 2k) A_k


def test_reverse_of_a_product_is_the_product_of_reverses():
    x, y = some(1), some(2)
    same(components(ga.reverse(ga.product(x, y))), components(ga.product(ga.reverse(y), ga.reverse(x))))
    for k, sign in enumerate((1, 1, -1, -1, 1)):
        part = ga.grade(x, k)
        same(components(ga.reverse(part)), sign * components(part))


def test_inner_product_is_the_scalar_of_reverse_times():
    x, y = some(1), some(2)
    same(ga.inner(x, y), components(ga.product(ga.reverse(x), y))[0])
    same(ga.inner(x, y), torch.einsum("rcab,rcba->rc", matrices(ga.reverse(x)), matrices(y)).real / 4)
    vectors = ga.grade(x, 1), ga.grade(y, 1)
    p, q = (each.vectors[..., :5].movedim(0, -1) for each in vectors)
    same(ga.inner(*vectors), lorentz.dot(p, q))


def euclid(x: Multivectors, y: Multivectors) -> torch.Tensor:
    return (components(x) * components(y)).sum(0)


def test_adjoint_moves_a_factor_across_the_sum_of_squares():
    x, y, z = some(1), some(2), some(3)
    same(euclid(ga.product(x, y), z), euclid(y, ga.product(ga.adjoint(x), z)))
    same(euclid(ga.product(x, y), z), euclid(x, ga.product(z, ga.adjoint(y))))


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("rows", [0, 1, 7])
def test_any_number_of_rows_and_channels(rows, channels):
    x, y = some(1, rows, channels), some(2, rows, channels)
    same(matrices(ga.product(x, y)), matrices(x) @ matrices(y))
