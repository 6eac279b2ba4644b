"""Colour sums of SU(3): traces of generators along quark lines, chains of structure constants along gluon lines.

Generators T^a = lambda^a / 2 with the Gell-Mann matrices, tr T^a T^b = 1/2 and [T^a, T^b] = i f^abc T^c.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

#: Number of colours, and of gluon states.
N_COLORS, N_GLUON_STATES = 3, 8

Order = tuple[int, ...]


def gell_mann() -> NDArray[np.complex128]:
    """The eight Gell-Mann matrices, shape (8, 3, 3)."""
    matrices = np.zeros((N_GLUON_STATES, N_COLORS, N_COLORS), dtype=np.complex128)
    for symmetric, antisymmetric, (row, column) in ((0, 1, (0, 1)), (3, 4, (0, 2)), (5, 6, (1, 2))):
        matrices[symmetric, row, column] = matrices[symmetric, column, row] = 1
        matrices[antisymmetric, row, column], matrices[antisymmetric, column, row] = -1j, 1j
    matrices[2] = np.diag([1, -1, 0])
    matrices[7] = np.diag([1, 1, -2]) / np.sqrt(3)
    return matrices


def structure_constants() -> NDArray[np.float64]:
    """f^abc, shape (8, 8, 8)."""
    generators = gell_mann() / 2
    commutator = np.einsum("aij,bjk->abik", generators, generators)
    commutator -= commutator.transpose(1, 0, 2, 3)
    constants: NDArray[np.float64] = np.real(-2j * np.einsum("abik,cki->abc", commutator, generators))
    return constants


def orders(n: int) -> list[Order]:
    """All orders of n gluons; rows and columns of the colour matrices are in this order."""
    return list(itertools.permutations(range(n)))


@cache
def quark_line(n_gluons: int) -> NDArray[np.float64]:
    """Tr(T^s1 .. T^sn T^tn .. T^t1) for all pairs of orders s, t of the gluons on a quark line."""
    generators = gell_mann() / 2
    chain = np.eye(N_COLORS, dtype=np.complex128)
    for _ in range(n_gluons):
        chain = np.einsum("...ij,ajk->...aik", chain, generators)
    return _gram(chain, n_gluons)


@cache
def gluon_line(n_gluons: int) -> NDArray[np.float64]:
    """Contraction of the chains (F^s2 .. F^s(N-1))_{a1 aN} for all pairs of orders of the middle gluons.

    Source: Del Duca, Dixon and Maltoni, hep-ph/9910563 (the basis of (N-2)! orders).
    """
    adjoint = -1j * structure_constants()
    chain = np.eye(N_GLUON_STATES, dtype=np.complex128)
    for _ in range(n_gluons - 2):
        chain = np.einsum("...ij,ajk->...aik", chain, adjoint)
    return _gram(chain, n_gluons - 2)


def _gram(chain: NDArray[np.complex128], n_gluons: int) -> NDArray[np.float64]:
    """Products of a chain, axes (gluons..., i, j), with itself in all orders of the gluons.

    The product depends on the relative order alone, because the colours of all gluons are summed over.
    """
    ends = (n_gluons, n_gluons + 1)
    relative = {order: float(np.real(np.vdot(chain, chain.transpose(*order, *ends)))) for order in orders(n_gluons)}
    every = orders(n_gluons)
    return np.array([[relative[_relative(first, second)] for second in every] for first in every])


def _relative(first: Order, second: Order) -> Order:
    """Position in the first order of the gluons of the second."""
    return tuple(first.index(label) for label in second)


@cache
def kleiss_kuijf(n_gluons: int) -> NDArray[np.float64]:
    r"""Colour-ordered amplitudes of all (N-1)! cyclic orders from the (N-2)! with gluons 1 and N at the ends.

    .. math:: A(1, a, N, b) = (-1)^{|b|} \sum_{s \in a\, ш\, b^T} A(1, s, N)

    Returns:
        shape ((N-1)!, (N-2)!); columns in the order of `orders`.

    Source: Kleiss and Kuijf, Nucl. Phys. B 312 (1989) 616.
    """
    middle = n_gluons - 2
    column = {order: place for place, order in enumerate(orders(middle))}
    rows = []
    for order in itertools.permutations(range(middle + 1)):  # label `middle` is gluon N
        end = order.index(middle)
        before, after = order[:end], order[end + 1 :]
        row = np.zeros(len(column))
        for shuffled in _shuffles(before, after[::-1]):
            row[column[shuffled]] += (-1) ** len(after)
        rows.append(row)
    return np.array(rows)


def _shuffles(first: Sequence[int], second: Sequence[int]) -> Iterator[Order]:
    """All merged orders that keep the order of both parts."""
    n = len(first) + len(second)
    for places in itertools.combinations(range(n), len(first)):
        left, right = iter(first), iter(second)
        yield tuple(next(left) if place in places else next(right) for place in range(n))
