"""Berends-Giele currents of gluons: all tree diagrams of colour-ordered gluons, without drawing one.

Vectors have their components first, in the order (E, px, py, pz), then one axis for the polarisation of each gluon of
the process, which has size 1 for gluons that are not in the current, and the points last. Products of currents
broadcast over the polarisation axes, so that all combinations of polarisations are computed at once.

Source: Berends and Giele, Nucl. Phys. B 306 (1988) 759.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from functools import reduce

import torch
from torch import Tensor

#: An ordered set of gluons, by their labels.
Word = tuple[int, ...]


def total(terms: Iterable[Tensor]) -> Tensor:
    """Sum of terms, which broadcast to each other."""
    return reduce(operator.add, terms)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Minkowski product of vectors whose components (E, px, py, pz) are the first axis."""
    return a[0] * b[0] - a[1] * b[1] - a[2] * b[2] - a[3] * b[3]


def square(p: Tensor) -> Tensor:
    """Invariant mass squared of a vector, as (E + pz)(E - pz) - px² - py²."""
    return (p[0] - p[3]) * (p[0] + p[3]) - p[1] * p[1] - p[2] * p[2]


def linear_polarizations(p: Tensor) -> Tensor:
    """Two real transverse polarisation vectors of each massless momentum; their sum over states is that of helicities.

    Args:
        p: momenta, shape (4, points), components (E, px, py, pz). The signs of incoming momenta do not matter.

    Returns:
        shape (4, 2, points), with a time component of 0.
    """
    _, px, py, pz = p
    transverse = torch.hypot(px, py)
    length = torch.hypot(transverse, pz)
    # along the z axis every azimuth is as good as another
    is_on_axis = transverse < 1e-14 * length
    scale = torch.where(is_on_axis, 1.0, transverse)
    cos_phi, sin_phi = torch.where(is_on_axis, 1.0, px / scale), torch.where(is_on_axis, 0.0, py / scale)
    cos_theta, sin_theta = pz / length, transverse / length
    zero = torch.zeros_like(px)
    first = torch.stack([zero, cos_theta * cos_phi, cos_theta * sin_phi, -sin_theta])
    second = torch.stack([zero, -sin_phi, cos_phi, zero])
    return torch.stack([first, second], dim=1)


class GluonCurrents:
    """Currents J(w) of ordered sets w of outgoing gluons, each computed once.

    Args:
        momenta: outgoing momenta of the gluons (incoming ones with their signs flipped), shape (gluons, 4, points),
            components (E, px, py, pz) in GeV.
        polarizations: polarisation vectors of each gluon, shape (gluons, 4, states, points).
    """

    def __init__(self, momenta: Tensor, polarizations: Tensor) -> None:
        self.n_gluons, _, self.n_points = momenta.shape
        self._momenta: dict[frozenset[int], Tensor] = {
            frozenset([label]): self._spread(momenta[label]) for label in range(self.n_gluons)
        }
        self._currents: dict[Word, Tensor] = {
            (label,): self._on_axis(polarizations[label], label) for label in range(self.n_gluons)
        }

    def _spread(self, vector: Tensor) -> Tensor:
        """A vector (4, points) with an axis of size 1 for every gluon."""
        return vector.reshape(4, *([1] * self.n_gluons), self.n_points)

    def _on_axis(self, vectors: Tensor, label: int) -> Tensor:
        """Polarisation vectors (4, states, points) with their states on the axis of the gluon."""
        shape = [1] * self.n_gluons
        shape[label] = vectors.shape[1]
        return vectors.reshape(4, *shape, self.n_points)

    def momentum(self, labels: Sequence[int]) -> Tensor:
        """Sum of the momenta of some gluons."""
        key = frozenset(labels)
        if key not in self._momenta:
            *rest, last = sorted(key)
            self._momenta[key] = self.momentum(rest) + self._momenta[frozenset([last])]
        return self._momenta[key]

    def current(self, word: Word) -> Tensor:
        """J(w) with its propagator 1/P²."""
        if word not in self._currents:
            self._currents[word] = self.amputated(word) / square(self.momentum(word))
            # reflection: J(m..1) = (-1)^(m+1) J(1..m)
            self._currents[word[::-1]] = -self._currents[word] if len(word) % 2 == 0 else self._currents[word]
        return self._currents[word]

    def amputated(self, word: Word) -> Tensor:
        """J(w) without its propagator: what couples to a further gluon.

        .. math:: P^2 J(1..m) = \\sum_k [J(1..k), J(k+1..m)] + \\sum_{k<l} \\{J(1..k), J(k+1..l), J(l+1..m)\\}
        """
        size = len(word)
        vertices = [self._three(word[:k], word[k:]) for k in range(1, size)]
        vertices += [
            _four(self.current(word[:k]), self.current(word[k:l]), self.current(word[l:]))
            for k in range(1, size - 1)
            for l in range(k + 1, size)  # noqa: E741
        ]
        return total(vertices)

    def _three(self, left: Word, right: Word) -> Tensor:
        """[a, b] = 2 (P_b.a) b - 2 (P_a.b) a + (a.b)(P_a - P_b)."""
        a, b = self.current(left), self.current(right)
        p_a, p_b = self.momentum(left), self.momentum(right)
        return (2 * dot(p_b, a)) * b - (2 * dot(p_a, b)) * a + dot(a, b) * (p_a - p_b)


def _four(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """{a, b, c} = 2 (a.c) b - (a.b) c - (b.c) a."""
    return (2 * dot(a, c)) * b - dot(a, b) * c - dot(b, c) * a
