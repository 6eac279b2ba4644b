"""The selection language against plain Python, and against anything one can type."""

from __future__ import annotations

import ast
import math
from dataclasses import replace
from functools import cache
from typing import Any

import awkward as ak
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from femtobarn.events import SelectionError, cutflow, select
from femtobarn.events.selection.cuts import check
from femtobarn.physics.objects import CHARGES
from femtobarn.physics.observables import observables
from tests.support.sample import make_events

EVENTS = make_events(60)
KINDS = {
    "jet": (1, 2),
    "bjet": (2,),
    "ljet": (1,),
    "electron": (3, 4),
    "muon": (5, 6),
    "lepton": (3, 4, 5, 6),
    "photon": (7,),
    "object": (1, 2, 3, 4, 5, 6, 7),
}


OBSERVABLES = observables(EVENTS.padded(), *(np.asarray(EVENTS.context[name]) for name in ("MET", "phi_MET")))
PARTICLES = [sorted(event, key=lambda particle: -particle["pt"]) for event in EVENTS.particles.tolist()]


@cache
def plain(event: int, collection: str, quantity: str) -> list[float]:
    """A quantity of the objects of an event, hardest first, from the record by hand."""
    chosen = [particle for particle in PARTICLES[event] if particle["kind"] in KINDS[collection]]
    if quantity == "charge":
        return [CHARGES[particle["kind"]] for particle in chosen]
    return [particle[quantity] for particle in chosen]


def agree(expression: str, expected) -> None:
    passed = select(EVENTS, expression)
    assert passed.dtype == np.bool_
    assert passed.tolist() == [bool(expected(event)) for event in range(len(EVENTS))]


def test_selection_of_the_reference_region_agrees_with_plain_python():
    region = "n_jet >= 6 and n_bjet >= 2 and HT >= 500 and ((n_lep == 2 and abs(charge) == 2) or n_lep >= 3)"

    def passes(event: int) -> bool:
        charges = plain(event, "lepton", "charge")
        ht = sum(plain(event, "jet", "pt")) + sum(plain(event, "lepton", "pt"))
        leptons = len(charges) >= 3 or (len(charges) == 2 and abs(sum(charges)) == 2)
        return len(plain(event, "jet", "pt")) >= 6 and len(plain(event, "bjet", "pt")) >= 2 and ht >= 500 and leptons

    agree(region, passes)
    assert 0 < select(EVENTS, region).sum() < len(EVENTS)


@pytest.mark.parametrize("collection", KINDS)
@pytest.mark.parametrize("quantity", ["pt", "eta", "phi", "E", "charge"])
def test_selection_takes_objects_by_index_and_function(collection, quantity):
    def of(event: int) -> list[float]:
        return plain(event, collection, quantity)

    name = f"{collection}.{quantity}"
    agree(f"{name}[0] > 0.5", lambda event: of(event)[:1] and of(event)[0] > 0.5)
    agree(f"{name}[2] <= 0.5", lambda event: len(of(event)) > 2 and of(event)[2] <= 0.5)
    agree(f"{name}[-1] < 0.5", lambda event: of(event) and of(event)[-1] < 0.5)
    agree(f"{name}[-2] < 0.5", lambda event: len(of(event)) > 1 and of(event)[-2] < 0.5)
    agree(f"count({name} > 0.3) >= 2", lambda event: sum(value > 0.3 for value in of(event)) >= 2)
    agree(f"any({name} > 0.3)", lambda event: any(value > 0.3 for value in of(event)))
    agree(f"all({name} > -0.3)", lambda event: all(value > -0.3 for value in of(event)))
    agree(f"min({name}) < 0.1", lambda event: of(event) and min(of(event)) < 0.1)
    agree(f"max({name}) < 0.9", lambda event: of(event) and max(of(event)) < 0.9)
    agree(f"sum({name}) <= 0.01", lambda event: math.fsum(of(event)) <= 0.01)


def test_selection_counts_collections_and_computes_masses():
    agree("count(bjet) == 2", lambda event: len(plain(event, "bjet", "pt")) == 2)
    mass = [sorted(zip(event.pt, event.mass, strict=True))[-1][1] for event in EVENTS.particles]
    agree("object.mass[0] > 5", lambda event: mass[event] > 5)


def test_conditions_on_several_quantities_of_an_object():
    def passes(event: int) -> bool:
        pairs = zip(plain(event, "jet", "pt"), plain(event, "jet", "eta"), strict=True)
        met = float(EVENTS.context.MET[event])
        return any(pt > met and (abs(eta) < 1 or not pt < 80) for pt, eta in pairs)

    agree("count(jet.pt > MET and (abs(jet.eta) < 1 or not jet.pt < 80)) >= 1", passes)


def test_selection_uses_columns_of_the_record():
    agree("process == 'tttt'", lambda event: EVENTS.process[event] == "tttt")
    agree("process not in ('tttt', \"ttH\")", lambda event: EVENTS.process[event] not in ("tttt", "ttH"))
    agree("number in (1, 2, 5.0)", lambda event: EVENTS.number[event] in (1, 2, 5))
    agree("weight > 0.01", lambda event: EVENTS.weight[event] > 0.01)
    extra = replace(EVENTS, context=ak.with_field(EVENTS.context, np.arange(60) * 1.0, "pileup"))
    assert select(extra, "20 <= pileup < 30").sum() == 10
    assert extra.select("20 <= pileup < 30").number.tolist() == list(range(20, 30))


def test_missing_numbers_make_comparisons_false():
    agree("HT / n_lep > 0", lambda event: plain(event, "lepton", "pt"))
    agree("not HT / n_lep > 0", lambda event: not plain(event, "lepton", "pt"))
    agree("sqrt(0 - n_jet) >= 0", lambda event: not plain(event, "jet", "pt"))
    agree("photon.pt[0] != 3", lambda event: plain(event, "photon", "pt"))
    agree("max(photon.pt[0], MET) > 0", lambda event: plain(event, "photon", "pt"))


def test_a_cut_may_go_over_several_lines():
    assert (
        select(EVENTS, "\n  n_jet > 4\n  and HT > 300\n").tolist() == select(EVENTS, "n_jet > 4 and HT > 300").tolist()
    )


NAMES = st.sampled_from(["n_jet", "HT", "MET", "charge", "n_lep", "weight", "number"])
CONSTANTS = st.one_of(st.integers(-5, 700), st.floats(-1e3, 1e3).map(lambda value: round(value, 3)))
LEAVES = (
    NAMES | CONSTANTS.map(str) | st.sampled_from(["jet.pt[0]", "lepton.pt[1]", "max(bjet.pt)", "count(jet.pt > 50)"])
)
NUMBERS = st.recursive(
    LEAVES,
    lambda inner: (
        st.tuples(inner, st.sampled_from("+-*/%"), inner).map(lambda parts: f"({' '.join(parts)})")
        | inner.map(lambda text: f"abs({text})")
        | inner.map(lambda text: f"-({text})")
    ),
    max_leaves=6,
)
CONDITIONS = st.recursive(
    st.tuples(NUMBERS, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), NUMBERS).map(" ".join)
    | st.tuples(CONSTANTS.map(str), NUMBERS, CONSTANTS.map(str)).map(" < ".join),
    lambda inner: (
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda parts: f"({' '.join(parts)})")
        | inner.map(lambda text: f"not ({text})")
    ),
    max_leaves=5,
)


class Missing:
    """What is not there: any number made of it is not there, any comparison with it false."""

    def _none(self, other: object = None) -> Missing:
        return self

    def _false(self, other: object) -> bool:
        return False

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __mod__ = __rmod__ = (
        _none
    )
    __neg__ = __abs__ = _none
    __lt__ = __le__ = __gt__ = __ge__ = __eq__ = __ne__ = _false
    __hash__ = None  # type: ignore[assignment]


class Number(float):
    """A float that gives `Missing` where it would leave the numbers."""

    def _made(self, work: Any, other: Any) -> Any:
        if isinstance(other, Missing):
            return other
        try:
            value = work(float(self), float(other))
        except (ZeroDivisionError, OverflowError):
            return Missing()
        return Number(value) if math.isfinite(value) else Missing()

    def __add__(self, other):
        return self._made(float.__add__, other)

    def __sub__(self, other):
        return self._made(float.__sub__, other)

    def __mul__(self, other):
        return self._made(float.__mul__, other)

    def __truediv__(self, other):
        return self._made(float.__truediv__, other)

    def __mod__(self, other):
        return self._made(float.__mod__, other)

    def __neg__(self):
        return Number(-float(self))

    def __abs__(self):
        return Number(abs(float(self)))


class Objects:
    """Attributes of the objects of one event, for Python's own interpreter."""

    def __init__(self, event: int, collection: str) -> None:
        self.event, self.collection = event, collection

    def __getattr__(self, quantity: str):
        values = plain(self.event, self.collection, quantity)

        class Values(list[Any]):
            def __getitem__(self, index):
                return Number(list.__getitem__(self, index)) if -len(self) <= index < len(self) else Missing()

            def __gt__(self, other):
                return [value > other for value in self]

        return Values(values)


def interpreted(expression: str, event: int) -> bool:
    """The expression run by Python itself on one event."""
    names = {name: column[event] for name, column in OBSERVABLES.items()}
    names |= {"weight": EVENTS.weight[event], "number": EVENTS.number[event]}
    scope: dict[str, Any] = {name: Number(value) for name, value in names.items()} | {
        name: Objects(event, name) for name in KINDS
    }
    functions: dict[str, Any] = {
        "max": lambda values: Number(max(values)) if values else Missing(),
        "count": lambda values: Number(sum(values)),
        "abs": abs,
    }
    return bool(
        eval(compile(_numbered(expression), "cut", "eval"), {"__builtins__": {}, "N": Number}, scope | functions)
    )


def _numbered(expression: str):
    """Every constant but an index as a `Number`, so that dividing by zero gives no exception."""

    class Wrap(ast.NodeTransformer):
        def visit_Constant(self, node):
            return ast.Call(ast.Name("N", ast.Load()), [node], [])

        def visit_Subscript(self, node):
            return node

    return ast.fix_missing_locations(Wrap().visit(ast.parse(expression, mode="eval")))


@settings(max_examples=150, deadline=None)
@given(CONDITIONS)
def test_random_expressions_agree_with_python(expression):
    passed = select(EVENTS[:12], expression)
    assert passed.tolist() == [interpreted(expression, event) for event in range(12)]


@pytest.mark.parametrize(
    ("expression", "column", "message"),
    [
        ("n_jets >= 6", 0, "no name 'n_jets'; did you mean n_jet"),
        ("HT > 500 and n_bjett > 2", 13, "did you mean n_bjet"),
        ("qqq > 1", 0, "there are n_jet, n_bjet"),
        ("jet.pT[0] > 3", 0, "no quantity of jet, 'pT'; did you mean pt"),
        ("jets.pt[0] > 3", 0, "no collection of objects 'jets'; did you mean jet"),
        ("cuont(jet.pt > 3) > 1", 0, "no function 'cuont'; did you mean count"),
        ("jet.pt > 50", 0, r"condition on each jet; put it into count\(...\)"),
        ("n_jet + 1", 0, "this is a number"),
        ("n_jet > 4 and jet", 14, "jet needs a quantity: jet.pt, .* or count"),
        ("HT > 'a'", 0, "a number cannot be compared with a name"),
        ("process > 'a'", 0, "names are compared with =="),
        ("process in 'tttt'", 11, "stands a list in brackets"),
        ("process in ('a', 1)", 17, "in the list stand names"),
        ("any(jet.pt > lepton.pt)", 4, "jet and lepton stand side by side"),
        ("sum(HT) > 3", 0, r"sum works on objects, as in sum\(jet.pt\)"),
        ("count(jet.pt) > 3", 6, "count needs a condition"),
        ("abs(HT, MET) > 3", 0, "abs takes one argument"),
        ("jet.pt['a'] > 1", 7, "an index is a whole number"),
        ("jet.pt[0:2] > 1", 7, "an index is a whole number"),
        ("HT[0] > 1", 0, "only a quantity of objects has an index"),
        ("(n_jet > 3) + 1 > 2", 1, "arithmetic needs a number"),
        ("not n_jet", 4, "not needs a condition"),
        ("n_jet > 3 > (HT > 2)", 8, "a number cannot be compared with a condition"),
        ("n_jet is 3", 0, "comparisons are"),
        ("n_jet >", 7, "cannot be read"),
        ("  n_jet > > 4", 10, "cannot be read"),
        ("", 0, "is empty"),
        ("True", 0, "neither a number nor a name"),
        ("µµ > 3 and n_jetz > 1", 0, "no name 'μμ'"),
        ("process == 'µµ' and n_jetz > 1", 20, "did you mean n_jet"),
        ("n_jet // 2 > 1", 0, r"the operations are \+ - \* /"),
        ("[x for x in jet] > 1", 0, "is not understood in a selection"),
        ("HT.real > 1", 0, "no collection of objects 'HT'"),
        ("__import__('os').system('true')", 0, "only functions can be called"),
    ],
)
def test_errors_point_at_the_place_and_name_what_there_is(expression, column, message):
    with pytest.raises(SelectionError, match=message) as caught:
        select(EVENTS, expression)
    assert caught.value.column == column
    shown, pointer = str(caught.value).split("\n")[-2:]
    assert pointer.index("^") == column + 2
    assert len(shown) == len(expression) + 2


def test_a_selection_can_be_checked_before_there_are_events():
    check("n_jet >= 6 and pileup > 20")
    check("n_jet >= 6 and pileup > 20", context=["pileup"])
    for expression, context in (("n_jet >= 6 and pileup > 20", []), ("jet.pt > 3", None), ("n_jet >", None)):
        with pytest.raises(SelectionError):
            check(expression, context)


def test_cut_flow_adds_up_events_and_weights():
    cuts = {"jets": "n_jet >= 4", "b-jets": "n_bjet >= 2", "H_T": "HT > 400"}
    steps, passed = cutflow(EVENTS, cuts)
    assert (passed == select(EVENTS, " and ".join(cuts.values()))).all()
    assert [step.cut for step in steps] == ["all", *cuts]
    expressions = ["1 > 0", *cuts.values()]
    for at, step in enumerate(steps):
        mask = select(EVENTS, " and ".join(expressions[: at + 1]))
        assert step.events == mask.sum()
        assert step.expected == pytest.approx(EVENTS.weight[mask].sum())


def test_selections_work_on_no_events():
    assert select(EVENTS[:0], "n_jet >= 6 and jet.pt[0] > 3 and count(lepton.pt > 3) > 1").shape == (0,)
