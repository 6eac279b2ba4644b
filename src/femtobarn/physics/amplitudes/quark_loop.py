"""Five-gluon amplitudes with a massless quark in the loop, colour-ordered and for given helicities.

Formulas are written with the legs j1..j5 of an order called 1..5; all legs are outgoing. A common pole and the
renormalisation scale drop out of the sum over the orders of photons and are left out.

Source: Bern, Dixon and Kosower, Phys. Rev. Lett. 70 (1993) 2677, hep-ph/9302280.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import reduce

from torch import Tensor

from femtobarn.physics.amplitudes import loop_functions
from femtobarn.physics.amplitudes.currents import square
from femtobarn.physics.amplitudes.spinors import spinor_products

Order = Sequence[int]


class QuarkLoop:
    """Spinor products of five massless legs, and the loop functions of their invariants, each computed once.

    Args:
        p: momenta, shape (5, 4, points), components (E, px, py, pz), the two incoming legs first, positive energies.
    """

    def __init__(self, p: Tensor) -> None:
        self._angle, self._bracket = spinor_products(p)
        signs = (-1, -1, 1, 1, 1)
        self._s = {
            frozenset((i, j)): square(signs[i] * p[i] + signs[j] * p[j]) for i in range(5) for j in range(i + 1, 5)
        }
        self._logs = {pair: loop_functions.log_minus(s) for pair, s in self._s.items()}
        self._functions: dict[tuple[object, ...], Tensor] = {}

    def amplitude(self, order: Order, helicities: Sequence[int]) -> Tensor:
        """Amplitude a of a cyclic order, with helicities by leg, up to the pole that cancels over orders."""
        ordered = [helicities[leg] for leg in order]
        if ordered.count(-1) > 2:  # parity exchanges < > and [ ]
            products, ordered = (self._bracket, self._angle), [-helicity for helicity in ordered]
        else:
            products = (self._angle, self._bracket)
        minus = [place for place, helicity in enumerate(ordered) if helicity < 0]
        # rotate so that the minus helicities are j1, or j1 and j2, or j1 and j3
        start = minus[0] if minus else 0
        if len(minus) == 2 and minus[1] - minus[0] > 2:
            start = minus[1]
        legs = _Legs(self, tuple(order[(start + place) % 5] for place in range(5)), *products)
        if not minus:
            return legs.all_plus()
        if len(minus) == 1:
            return legs.one_minus()
        return legs.adjacent_minus() if (minus[1] - minus[0]) in (1, 4) else legs.separate_minus()

    def invariant(self, i: int, j: int) -> Tensor:
        """s_ij in GeV²."""
        return self._s[frozenset((i, j))]

    def log(self, i: int, j: int) -> Tensor:
        """ln(-s_ij)."""
        return self._logs[frozenset((i, j))]

    def function(self, name: str, *pairs: tuple[int, int]) -> Tensor:
        """A function of ratios of invariants: `l0`, `l1`, `l2` of s_x/s_y, `ls1` of s_x/s_z and s_y/s_z."""
        keys = [frozenset(pair) for pair in pairs]
        function = (name, *keys)
        if function not in self._functions:
            ratios = [self._s[key] / self._s[keys[-1]] for key in keys[:-1]]
            logs = [self._logs[key] - self._logs[keys[-1]] for key in keys[:-1]]
            self._functions[function] = getattr(loop_functions, name)(*ratios, *logs)
        return self._functions[function]


class _Legs:
    """The formulas for one order; `a(i, j)` is <ij>, `b(i, j)` is [ij], with legs counted from 1."""

    def __init__(self, loop: QuarkLoop, legs: tuple[int, ...], angle: Tensor, bracket: Tensor) -> None:
        self.loop, self.legs = loop, legs
        self.angle, self.bracket = angle, bracket

    def a(self, *legs: int) -> Tensor:
        """Product of <ij> over pairs of legs."""
        return self._product(self.angle, legs)

    def b(self, *legs: int) -> Tensor:
        """Product of [ij] over pairs of legs."""
        return self._product(self.bracket, legs)

    def _product(self, table: Tensor, legs: tuple[int, ...]) -> Tensor:
        pairs = zip(legs[::2], legs[1::2], strict=True)
        return reduce(operator.mul, (table[self.legs[i - 1], self.legs[j - 1]] for i, j in pairs))

    def s(self, i: int, j: int) -> Tensor:
        """s_ij."""
        return self.loop.invariant(self.legs[i - 1], self.legs[j - 1])

    def f(self, name: str, *pairs: tuple[int, int]) -> Tensor:
        """Loop function of invariants of legs of this order."""
        return self.loop.function(name, *((self.legs[i - 1], self.legs[j - 1]) for i, j in pairs))

    def all_plus(self) -> Tensor:
        """a(+++++)."""
        a, b, s = self.a, self.b, self.s
        invariants = s(1, 2) * s(2, 3) + s(2, 3) * s(3, 4) + s(3, 4) * s(4, 5) + s(4, 5) * s(5, 1) + s(5, 1) * s(1, 2)
        odd = b(1, 2) * a(2, 3) * b(3, 4) * a(4, 1) - a(1, 2) * b(2, 3) * a(3, 4) * b(4, 1)
        return -(invariants + odd) / (6 * a(1, 2, 2, 3, 3, 4, 4, 5, 5, 1))

    def one_minus(self) -> Tensor:
        """a(-++++)."""
        a, b, s = self.a, self.b, self.s
        a12, a13, a14, a15 = (a(1, leg) for leg in (2, 3, 4, 5))
        squares = (a12 * a13) ** 2 * b(2, 3) / a(2, 3)
        squares = squares + (a13 * a14) ** 2 * b(3, 4) / a(3, 4) + (a14 * a15) ** 2 * b(4, 5) / a(4, 5)
        total = (s(2, 3) + s(3, 4) + s(4, 5)) * b(2, 5) ** 2
        total = total - b(2, 4) * a(4, 3) * b(3, 5) * b(2, 5) - b(1, 2, 1, 5) / (a12 * a15) * squares
        return -total / (3 * b(1, 2) * a(2, 3, 3, 4, 4, 5) * b(5, 1))

    def adjacent_minus(self) -> Tensor:
        """a(--+++)."""
        a, b, s = self.a, self.b, self.s
        s51 = s(5, 1)
        chain = b(3, 4) * a(4, 1, 2, 4) * b(4, 5)
        x = a(2, 3) * b(3, 4) * a(4, 1) + a(2, 4) * b(4, 5) * a(5, 1)
        ratio = ((2, 3), (5, 1))
        fermion = -(a(1, 2) ** 2) * x * self.f("l0", *ratio) / (2 * a(2, 3, 3, 4, 4, 5, 5, 1) * s51)
        scalar = -fermion / 3 - chain * x * self.f("l2", *ratio) / (3 * a(3, 4, 4, 5) * s51**3)
        scalar = scalar - a(3, 5) * b(3, 5) ** 3 / (3 * b(1, 2, 2, 3) * a(3, 4, 4, 5) * b(5, 1))
        scalar = scalar + a(1, 2) * b(3, 5) ** 2 / (3 * b(2, 3) * a(3, 4, 4, 5) * b(5, 1))
        scalar = scalar + a(1, 2) * chain / (6 * s(2, 3) * a(3, 4, 4, 5) * s51)
        return self._with_tree(a(1, 2), (2, 3), (5, 1)) - fermion - scalar

    def separate_minus(self) -> Tensor:
        """a(-+-++)."""
        a, b, s = self.a, self.b, self.s
        s34, s51 = s(3, 4), s(5, 1)
        y = a(1, 5) * b(5, 2) * a(2, 3) - a(3, 4) * b(4, 2) * a(2, 1)
        p, q = a(4, 1) * b(2, 4), a(5, 3) * b(2, 5)
        d = a(1, 2, 2, 3, 3, 4, 4, 5, 5, 1)
        a13, b24, b25 = a(1, 3), b(2, 4), b(2, 5)
        first = self.f("ls1", (2, 3), (3, 4), (5, 1))
        second = self.f("ls1", (1, 2), (5, 1), (3, 4))
        l0 = self.f("l0", (3, 4), (5, 1))
        fermion = -(a13**2) * p * b24 * first / (a(4, 5, 5, 1) * s51**2)
        fermion = fermion + a13**2 * q * b25 * second / (a(3, 4, 4, 5) * s34**2)
        fermion = fermion - a13**3 * y * l0 / (2 * d * s51)
        l1_34_51 = self.f("l1", (3, 4), (5, 1))
        l1_51_34 = self.f("l1", (5, 1), (3, 4))
        sum_first = 2 * first + self.f("l1", (2, 3), (5, 1)) + l1_34_51
        sum_second = 2 * second + self.f("l1", (1, 2), (3, 4)) + l1_51_34
        scalar = -a(1, 2, 2, 3, 3, 4) * p**2 * sum_first / (a(4, 5, 5, 1, 2, 4, 2, 4) * s51**2)
        scalar = scalar + a(3, 2, 2, 1, 1, 5) * q**2 * sum_second / (a(5, 4, 4, 3, 2, 5, 2, 5) * s34**2)
        scalar = scalar + 2 * a(2, 3) ** 2 * p**3 * self.f("l2", (2, 3), (5, 1)) / (3 * a(4, 5, 5, 1, 2, 4) * s51**3)
        scalar = scalar - 2 * a(2, 1) ** 2 * q**3 * self.f("l2", (1, 2), (3, 4)) / (3 * a(5, 4, 4, 3, 2, 5) * s34**3)
        bracket = a13 * b24 * b25 * y / (3 * a(4, 5))
        bracket = bracket + 2 * a(1, 2, 3, 4) ** 2 * a(4, 1) * b24**3 / (3 * a(4, 5, 5, 1, 2, 4))
        bracket = bracket - 2 * a(3, 2, 1, 5) ** 2 * a(5, 3) * b25**3 / (3 * a(5, 4, 4, 3, 2, 5))
        scalar = scalar + self.f("l2", (3, 4), (5, 1)) / s51**3 * bracket
        scalar = scalar + a13**3 * y * l0 / (6 * d * s51)
        scalar = scalar + (b24 * b25) ** 2 / (3 * b(1, 2, 2, 3, 3, 4) * a(4, 5) * b(5, 1))
        scalar = scalar - a(1, 2) * a(4, 1) ** 2 * b24**3 / (3 * a(4, 5, 5, 1, 2, 4) * b(2, 3, 3, 4) * s51)
        scalar = scalar + a(3, 2) * a(5, 3) ** 2 * b25**3 / (3 * a(5, 4, 4, 3, 2, 5) * b(2, 1, 1, 5) * s34)
        scalar = scalar + a13**2 * b24 * b25 / (6 * s34 * a(4, 5) * s51)
        return self._with_tree(a13, (3, 4), (5, 1)) - fermion - scalar

    def _with_tree(self, minus: Tensor, x: tuple[int, int], y: tuple[int, int]) -> Tensor:
        """-(Vf + Vs) tree with Vf = -2 + (ln(-s_x) + ln(-s_y))/2 and Vs = -Vf/3 + 2/9."""
        log_x, log_y = (self.loop.log(self.legs[i - 1], self.legs[j - 1]) for i, j in (x, y))
        fermion = -2 + (log_x + log_y) / 2
        tree = minus**4 / self.a(1, 2, 2, 3, 3, 4, 4, 5, 5, 1)
        return -(fermion * (2 / 3) + 2 / 9) * tree
