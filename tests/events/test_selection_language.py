"""The selection language: functions of numbers and objects, remedies for other spellings, and anything one can type."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import vector
from hypothesis import example, given, settings
from hypothesis import strategies as st

from femtobarn.events import SelectionError, select
from femtobarn.events.selection.cuts import check
from tests.support.fuzzing import N_MUTANTS, fuzz
from tests.support.sample import make_events

vector.register_awkward()

EVENTS = make_events(60)
PARTICLES = EVENTS.particles[ak.argsort(EVENTS.particles.pt, ascending=False)]
JETS = PARTICLES[(PARTICLES.kind == 1) | (PARTICLES.kind == 2)]
LEPTONS = PARTICLES[(PARTICLES.kind >= 3) & (PARTICLES.kind <= 6)]
MET = ak.zip({"pt": EVENTS.context.MET, "phi": EVENTS.context.phi_MET}, with_name="Momentum2D")


def pair(first: ak.Array, i: int, second: ak.Array, j: int) -> tuple[ak.Array, ak.Array]:
    """Objects by index, None where there are too few."""
    return ak.pad_none(first, i + 1)[:, i], ak.pad_none(second, j + 1)[:, j]


def agree(expression: str, expected: ak.Array) -> None:
    """Compares a number of the language, by a cut at its median, with that number in awkward and vector."""
    defined = ak.drop_none(expected)
    middle = float(np.median(ak.to_numpy(defined))) + 1e-6
    for cut in (middle, -1e9):
        passed = select(EVENTS, f"{expression} > {cut}")
        assert passed.tolist() == ak.fill_none(expected > cut, False).tolist(), expression
    assert select(EVENTS, f"{expression} < 1e9").sum() == len(defined)


def test_functions_of_two_objects_agree_with_vector():
    for name, first, second in (("jet[0], jet[1]", JETS, JETS), ("lepton[0], lepton[1]", LEPTONS, LEPTONS)):
        first_vector, second_vector = pair(first, 0, second, 1)
        agree(f"mass({name})", (first_vector + second_vector).mass)
        agree(f"delta_r({name})", first_vector.deltaR(second_vector))
        agree(f"delta_phi({name})", first_vector.deltaphi(second_vector))
        agree(f"delta_eta({name})", first_vector.deltaeta(second_vector))
        agree(
            f"mT({name})",
            np.sqrt(2 * first_vector.pt * second_vector.pt * (1 - np.cos(first_vector.deltaphi(second_vector)))),
        )
    first_vector, second_vector = pair(JETS, 2, LEPTONS, 0)
    agree("mass(jet[2], lepton[0])", (first_vector + second_vector).mass)
    agree("(jet[2] + lepton[0]).pt", (first_vector + second_vector).pt)
    agree("(jet[2] + lepton[0]).eta", (first_vector + second_vector).eta)
    agree("(jet[2] + lepton[0]).phi", (first_vector + second_vector).phi)
    agree("(jet[2] + lepton[0]).E", (first_vector + second_vector).E)
    agree("jet[2].pt", first_vector.pt)
    agree("mass(jet[2])", first_vector.mass)
    three = ak.pad_none(JETS, 3)
    agree("mass(jet[0], jet[1], jet[2])", (three[:, 0] + three[:, 1] + three[:, 2]).mass)
    agree("mass(jet[0] + jet[1], jet[2])", (three[:, 0] + three[:, 1] + three[:, 2]).mass)


def test_missing_momentum_has_an_angle_and_a_transverse_mass():
    lepton, jet = ak.pad_none(LEPTONS, 1)[:, 0], ak.pad_none(JETS, 2)[:, -1]
    agree("delta_phi(jet[1], MET)", ak.pad_none(JETS, 2)[:, 1].deltaphi(MET))
    agree("delta_phi(MET, lepton[0])", MET.deltaphi(lepton))
    agree("delta_phi(phi_MET, lepton.phi[0])", MET.deltaphi(lepton))
    agree("mT(lepton[0], MET)", np.sqrt(2 * lepton.pt * MET.pt * (1 - np.cos(lepton.deltaphi(MET)))))
    assert jet is not None
    assert select(EVENTS, "n_lep > 0 and abs(mT(lepton[0], MET) - mT) > 1e-9").sum() == 0


def test_each_object_of_a_collection_with_one_object():
    lepton = ak.pad_none(LEPTONS, 1)[:, 0]
    distances = JETS.deltaR(lepton)
    closest = ak.fill_none(ak.min(distances, axis=1) > 1, False)
    assert select(EVENTS, "min(delta_r(jet, lepton[0])) > 1").tolist() == closest.tolist()
    assert select(EVENTS, "min(delta_r(lepton[0], jet)) > 1").tolist() == closest.tolist()
    counts = ak.fill_none(ak.sum((distances < 2) & (JETS.pt > 50), axis=1), 0)
    assert select(EVENTS, "count(delta_r(jet, lepton[0]) < 2 and jet.pt > 50) == 2").tolist() == (counts == 2).tolist()
    masses = (JETS + lepton).mass
    largest = ak.fill_none(ak.max(masses, axis=1) > 200, False)
    assert select(EVENTS, "max(mass(jet, lepton[0])) > 200").tolist() == largest.tolist()
    # an angle to MET goes round the circle: never beyond a half turn
    assert select(EVENTS, "all(abs(delta_phi(jet, MET)) <= 3.1415926535897936)").all()


def test_observables_of_pairs_are_functions_of_objects():
    assert not select(EVENTS, "n_bjet >= 2 and abs(m_bb - mass(bjet[0], bjet[1])) > 1e-9 * m_bb").any()
    assert not select(EVENTS, "n_lep == 2 and abs(dr_ll_min - delta_r(lepton[0], lepton[1])) > 1e-12").any()
    assert not select(EVENTS, "abs(sum(jet.pt) - HT_jet) > 0").any()


def test_a_difference_of_angles_is_wrapped():
    for first, second, expected in ((3.0, -3.0, 6 - 2 * math.pi), (-3.0, 3.0, 2 * math.pi - 6), (math.pi, 0, -math.pi)):
        cut = f"abs(delta_phi({first!r}, {second!r}) - ({expected!r})) < 1e-12"
        assert select(EVENTS, cut).all(), cut


@pytest.mark.parametrize(
    ("name", "expected"),
    [(name, getattr(np, name)) for name in ("abs", "exp", "log", "log10", "sin", "cos", "tan", "sinh", "cosh", "tanh")],
)
def test_functions_of_a_number_agree_with_numpy(name, expected):
    ht = ak.sum(ak.concatenate([JETS.pt, LEPTONS.pt], axis=1), axis=1)
    agree(f"{name}(HT / 100)", expected(ht / 100))
    values = expected(JETS.pt / 50)
    middle = float(np.median(ak.to_numpy(ak.flatten(values)))) + 1e-6
    passed = ak.sum(values > middle, axis=1) >= 3
    assert select(EVENTS, f"count({name}(jet.pt / 50) > {middle}) >= 3").tolist() == passed.tolist()


def test_numbers_without_a_value_make_comparisons_false():
    for number in ("log(0)", "log(0 - 1)", "HT % 0", "1 / 0", "number % 0", "mass(lepton[8], jet[0])", "exp(99999)"):
        for comparison in ("> 0", "<= 0", "!= 3", "== 3"):
            assert not select(EVENTS, f"{number} {comparison}").any(), number


def test_whole_numbers_are_exact_whatever_their_size():
    large = 2**62 + np.arange(60)
    events = replace(EVENTS, number=large)
    first = 2**62
    for cut, expected in (
        (f"number == {first + 7}", [7]),
        (f"number in ({first + 3}, {first + 5}, 1.5)", [3, 5]),
        ("number % 10 == 4", [at for at in range(60) if (first + at) % 10 == 4]),
        (f"number > {first + 57}", [58, 59]),
    ):
        assert np.flatnonzero(select(events, cut)).tolist() == expected, cut
    assert np.flatnonzero(select(replace(EVENTS, number=2**53 + np.arange(60)), f"number - {2**53} == 3")).tolist() == [
        3
    ]


def test_names_may_hold_any_sign():
    for name in (r"$t\bar{t}$", "tt#1", "a=b && c", "ttH (bb)", "it's", "naïve µ"):
        events = replace(EVENTS, process=np.where(np.arange(60) < 5, name, EVENTS.process))
        quote = '"' if "'" in name else "'"
        assert select(events, f"process == {quote}{name}{quote} and n_jet >= 0").sum() == 5, name


def test_columns_of_the_context_may_be_names_but_no_lists():
    context = ak.with_field(EVENTS.context, ak.Array([[1.0, 2.0]] * 60), "lists")
    context = ak.with_field(context, ak.Array([[1.0], [1.0, 2.0]] * 30), "ragged")
    events = replace(EVENTS, context=ak.with_field(context, ak.Array(["a", "b"] * 30), "letter"))
    assert select(events, "letter == 'a' and letter in ('a', 'c')").sum() == 30
    for name in ("lists", "ragged"):
        with pytest.raises(SelectionError, match=f"{name} is not one number or name per event"):
            select(events, f"{name} > 3")


SPELLINGS = [
    ("n_jet = 6", 6, "equality is written =="),
    ("process === 'tttt'", 8, "equality is written =="),
    ("(x := 3) > 2", 3, "equality is written =="),
    ("n_jet >= 6 && HT > 500", 11, "joined by the word and"),
    ("(n_jet >= 6) & (HT > 500)", 13, "joined by the word and"),
    ("n_jet >= 6; HT > 500", 10, "joined by the word and"),
    ("n_jet >= 6, HT > 500", 10, "joined by the word and, not by a comma"),
    ("n_jet >= 6 || HT > 500", 11, "joined by the word or"),
    ("|charge| == 2", 0, r"an absolute value is abs\(...\)"),
    ("!(n_jet > 3)", 0, "reversed by the word not"),
    ("~(n_jet > 3)", 0, "reversed by the word not"),
    ("n_jet > 3 AND HT > 5", 10, "the word is and, in small letters"),
    ("n_jet > 3 Or HT > 5", 10, "the word is or, in small letters"),
    ("NOT n_jet > 3", 0, "the word is not, in small letters"),
    ("process IN ('tttt',)", 8, "the word is in, in small letters"),
    ("n_jet <> 3", 6, "unequal is written !="),
    ("n_jet => 3", 6, "greater or equal is written >="),
    ("n_jet =< 3", 6, "less or equal is written <="),
    ("n_jet ≥ 3", 6, "greater or equal is written >="),
    ("n_jet > = 3", 8, ">= is written without a space"),
    ("n_jet ! = 3", 6, "!= is written without a space"),
    ("HT ^ 2 > 3", 3, r"powers are written \*\*"),
    ("n_jet > 3 and < 5", 14, "a range is written 100 < x < 200"),
    ("process == tttt", 11, "names stand in quotes: 'tttt'"),
    ("tttt == process", 0, "names stand in quotes: 'tttt'"),
    ("process == ttH-bb", 11, "names stand in quotes: 'ttH-bb'"),
    ("process in (ttW, ttZ)", 12, "names stand in quotes: 'ttW'"),
    ("process == “tttt”", 11, "plain quotes"),
    ("process == 'tttt' or 'ttH'", 21, "process in"),
    ("process in ('tttt')", 12, r"a list of one has a comma: \('tttt',\)"),
    ("process in ('ttW' 'ttZ')", 18, "a comma is missing between them"),
    ("process == 'tttt", 11, "this quote is not closed"),
    ("HT > '500'", 0, "numbers stand without quotes"),
    ("n_jets > 3", 0, "did you mean n_jet"),
    ("nJet > 3", 0, "did you mean n_jet"),
    ("Njets > 3", 0, "did you mean n_jet"),
    ("NBJETS > 3", 0, "did you mean n_bjet"),
    ("n_leptons > 3", 0, "did you mean n_lep"),
    ("ht > 500", 0, "did you mean HT"),
    ("Met > 50", 0, "did you mean MET"),
    ("missingET > 50", 0, "did you mean MET"),
    ("eventNumber == 3", 0, "did you mean number"),
    ("jet_pt[0] > 5", 0, r"did you mean jet.pt\[0\]"),
    ("Jet_Pt[2] > 5", 0, r"did you mean jet.pt\[2\]"),
    ("jet2_pt > 5", 0, r"did you mean jet.pt\[1\]"),
    ("jet1.pt > 5", 0, r"did you mean jet\[0\].pt"),
    ("jets[0].pt > 5", 0, r"did you mean jet\[0\]"),
    ("el.pt[0] > 5", 0, "did you mean electron"),
    ("jet.PT[0] > 5", 0, "did you mean pt"),
    ("jet.energy[0] > 5", 0, "did you mean E"),
    ("pt(jet) > 5", 0, "a quantity stands behind its object: jet.pt"),
    ("E(jet[0] + jet[1]) > 5", 0, r"\(jet\[0\] \+ jet\[1\]\).E"),
    ("any(abs(eta) < 2)", 8, "eta of what"),
    ("jet.pt.max() > 5", 0, r"stands in front: max\(jet.pt\)"),
    ("jet.pt.max > 5", 0, r"stands in front: max\(jet.pt\)"),
    ("np.abs(HT) > 5", 0, r"without a module: abs\(HT\)"),
    ("TMath::Abs(HT) > 5", 5, "functions have one word"),
    ("jet.pt(0) > 5", 0, r"square brackets: jet.pt\[0\]"),
    ("len(jet) > 5", 0, r"did you mean count\? count\(jet\)"),
    ("jet.size > 5", 0, r"count\(jet\)"),
    ("ln(HT) > 5", 0, "did you mean log"),
    ("pow(HT, 2) > 5", 0, r"it is written a \*\* b"),
    ("deltaR(jet[0], jet[1]) > 5", 0, "did you mean delta_r"),
    ("HT>500GeV", 6, "units are GeV and radians, and are not written: 500"),
    ("HT > 0.5 TeV", 9, "not written: 500"),
    ("HT > 1,000", 6, "without commas: 1000"),
    ("(HT > 1,000)", 7, "without commas: 1000"),
    ("HT > 0,5", 6, "the decimal mark is a point: 0.5"),
    ("HT > 1 000", 7, "without spaces"),
    ("2HT > 5", 1, r"a product is written with \*"),
    ("2 HT > 5", 2, "an operator is missing in front of HT"),
    ("HT between 100 and 200", 3, "an operator is missing in front of between"),
    ("(n_jet > 3", 0, "never closed"),
    ("n_jet > 3)", 9, "no bracket was opened"),
    ("HT > 1e999", 5, "the number is too large"),
    ("f'{n_jet}' > 3", 1, "letters in front of a quote"),
    ("n_jet\0 > 1", 5, r"U\+0000 is not understood"),
    ("jet[0] > 100", 0, r"jet\[0\] needs a quantity"),
    ("jet[0] - jet[1] > 3", 0, r"objects are added by \+"),
    ("(jet[0] + jet[1]).charge > 0", 0, "a sum of objects has pt, eta, phi, E, mass, no charge"),
    ("delta_r(jet, jet) > 1", 0, "pairs of jets are not formed"),
    ("delta_r(jet, lepton) > 1", 0, r"give one an index, as lepton\[0\]"),
    ("delta_r(jet[0], MET) > 1", 16, "MET has pT and phi alone; delta_r needs eta too"),
    ("delta_phi(jet[0], phi_MET) > 1", 18, "takes objects or two angles"),
    ("mT(lepton[0]) > 1", 0, "mT takes two objects"),
    ("mass(jet[0], HT) > 1", 13, "mass takes objects"),
    ("log > 3", 0, "log is a function"),
]


@pytest.mark.parametrize(("expression", "column", "message"), SPELLINGS)
def test_errors_of_other_spellings_point_at_the_remedy(expression, column, message):
    with pytest.raises(SelectionError, match=message) as caught:
        select(EVENTS, expression)
    assert caught.value.column == column
    pointer = str(caught.value).split("\n")[-1]
    assert pointer.index("^") == column + 2


def test_spellings_are_refused_before_there_are_events():
    for expression, _, _ in SPELLINGS:
        with pytest.raises(SelectionError):
            check(expression, [])
    with pytest.raises(SelectionError, match="names stand in quotes"):
        check("process == tttt")
    check("log10(HT) > 2 and mass(jet[0], lepton[0]) > 50 and delta_phi(jet[0], MET) > 0")


#: Words of the language, and of others.
WORDS = """n_jet jet .pt [0] ( ) and or not in process 'a' > == 1 -1 , [ ] count sum min abs jet.pt lepton.eta ** / if
    else lambda : 1e999 {} = 0x1 1j True jet[0] mass( delta_r( delta_phi( mT( MET % log( && ! GeV .mass + HT ; ' # 500
    >= is := * number tttt \\ µ f'"""
PIECES = st.sampled_from([*WORDS.split(), " ", "\n"])


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=30) | st.lists(PIECES, max_size=12).map(" ".join) | st.lists(PIECES, max_size=12).map("".join))
@example("((((" * 200)
@example("[" * 9_000)
@example("-" * 3000 + "1 > 0")
@example("not " * 2000 + "n_jet > 0")
@example("+".join(["1"] * 4000) + " > 0")
@example("[" + "+".join(["1"] * 4000) + " for x in jet] > 0")
@example("1 < " * 2000 + "2")
@example("n_jet if n_jet > 1 else " * 400 + "2")
@example("lambda: " * 1200 + "2")
@example("9" * 5000 + " > 1")
@example("2 ** 999999999 > n_jet")
@example("**".join(["2"] * 3000) + " > n_jet")
@example("9**9**9**9 > n_jet")
@example("min(" + "1, " * 100_000 + "1) > 0")
@example("min(" + "-HT, " * 1500 + "1) > 0")
@example("process in (" + "'tttt', " * 1_000_000 + ")")
@example("process in (" + "'tttt', " * 1200 + ")")
@example("n_jet > 1 or " * 700 + "HT > 2")
@example("x" * 10_000_000)
@example("number == " + "1" * 4000)
@example("\ud800 > 1")
@example("n_jet\0 > 1")
@example("0777 > 1")
@example("(1 > 0) # and n_jet > 3")
@example("jet.pt[99999999999999999999999999] > 1")
@example("jet.pt[-9999999999999999999999999] > 1")
@example("process == '\\N{BULLET}'")
@example("process == '\\x4'")
@example("ｎ_jet > 1")
def test_any_text_is_a_selection_or_a_selection_error(text):
    try:
        passed = select(EVENTS, text)
    except SelectionError as error:
        failed, passed = error, None
    if passed is None:
        assert 0 <= failed.column <= len(failed.expression)
        assert "^" in str(failed)
        assert len(str(failed)) < 25_000
    else:
        assert passed.shape == (len(EVENTS),)


CUTS = (
    "n_jet >= 6 and n_bjet >= 2 and HT >= 500 and ((n_lep == 2 and abs(charge) == 2) or n_lep >= 3)",
    "count(jet.pt > 50 and abs(jet.eta) < 2.5) >= 4 and not jet.pt[0] / HT > 0.5",
    "process in ('tttt', 'ttH') or number % 3 == 1 and 20 <= MET < 300.5e0",
    "mass(jet[0], jet[1]) > 60 and (jet[0] + lepton[0]).pt < 400 and min(delta_r(jet, lepton[0])) > 0.4",
    "any(abs(delta_phi(jet, MET)) < 0.5) and mT(lepton[0], MET) > 50 and log10(max(HT, MET) + 1) > 2",
)


def read(path: Path) -> np.ndarray:
    """A selection in a file, applied."""
    return select(EVENTS, path.read_bytes().decode("utf-8", errors="surrogateescape"))


def a_mask(passed: np.ndarray, content: bytes) -> None:
    assert passed.dtype == np.bool_, f"a mask of {passed.dtype}"
    assert passed.shape == (len(EVENTS),), f"a mask of shape {passed.shape}"


@pytest.mark.parametrize("n_mutants", N_MUTANTS)
def test_mutants_of_selections_are_selections_or_selection_errors(tmp_path, n_mutants):
    for seed, cut in enumerate(CUTS):
        failures = fuzz(
            read, cut.encode(), tmp_path / "cut.txt", n_mutants // len(CUTS), seed=seed, errors=(SelectionError,),
            check=a_mask, names="^",
        )  # fmt: skip
        assert failures.n_refused > 0
