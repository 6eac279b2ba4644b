"""Dark Machines text: exact round trips, and an error with line and remedy for everything that can go wrong."""

from __future__ import annotations

import gzip
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from femtobarn.events import EventError, Events, read_darkmachines, write_darkmachines
from femtobarn.events.faults import MAX_ENERGY
from femtobarn.events.formats.darkmachines_columns import _thousandth
from femtobarn.events.formats.darkmachines_lines import careful
from femtobarn.events.storage.files import MAX_LINE_BYTES
from femtobarn.physics.objects import NAMES
from tests.support.same_events import assert_same
from tests.support.sample import make_events

GOOD = "7;tttt;0.5;50000;-1.25;j,110000,100000,-0.4,1.5;b,90000.5,80000,0.3,-3;e-,60000,50000,0.6,0.1\n"
EASY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
COLUMNS = ("weight", "process", "number")


def slow(path: Path) -> list[tuple[int, str, float, list[float], list[list[float]]]]:
    """The format read once more, in the plainest way, energies in MeV."""
    words = dict(zip(("j", "b", "e-", "e+", "m-", "m+", "g"), range(1, 8), strict=True))
    events = []
    for line in path.read_text().splitlines():
        fields = line.split(";")
        objects = [field.split(",") for field in fields[5:] if field]
        values = [[float(words[word]), *map(float, rest)] for word, *rest in objects]
        events.append((int(fields[0]), fields[1], float(fields[2]), [float(fields[3]), float(fields[4])], values))
    return events


def test_reader_agrees_with_a_plain_one(tmp_path):
    path = tmp_path / "events.csv"
    write_darkmachines(make_events(200), path)
    events, plain = read_darkmachines(path), slow(path)
    assert events.number.tolist() == [event[0] for event in plain]
    assert events.process.tolist() == [event[1] for event in plain]
    np.testing.assert_array_equal(events.weight, [event[2] for event in plain])
    np.testing.assert_allclose(events.context.MET, [event[3][0] / 1000 for event in plain], rtol=1e-15)
    objects = np.array([values for event in plain for values in event[4]])
    flat = ak.flatten(events.particles)
    for column, name, scale in ((0, "kind", 1), (1, "E", 1000), (2, "pt", 1000), (3, "eta", 1), (4, "phi", 1)):
        np.testing.assert_allclose(ak.to_numpy(flat[name]), objects[:, column] / scale, rtol=1e-15)


@pytest.mark.parametrize("suffix", [".csv", ".txt.gz"])
@pytest.mark.parametrize("unit", ["MeV", "GeV"])
def test_text_written_and_read_is_exact(tmp_path, suffix, unit):
    events = make_events(300)
    path = tmp_path / f"events{suffix}"
    write_darkmachines(events, path, unit=unit)
    assert_same(events, read_darkmachines(path, unit=unit), COLUMNS, truth=False)


@st.composite
def samples(draw: st.DrawFn) -> Events:
    """Any events the format can hold, of the ugliest numbers."""
    counts = draw(st.lists(st.integers(0, 4), min_size=1, max_size=6))
    total = sum(counts)

    def numbers(kind: st.SearchStrategy[Any], count: int, dtype: Any = np.float64) -> NDArray[Any]:
        return np.array(draw(st.lists(kind, min_size=count, max_size=count)), dtype=dtype)

    eta = numbers(st.floats(-6, 6), total)
    pt = numbers(st.floats(0, 1e6), total)
    mass = numbers(st.floats(0, 1e3), total)
    inside = st.floats(-np.pi, np.pi, exclude_max=True)
    events = len(counts)
    columns = {
        "pt": pt,
        "eta": eta,
        "phi": numbers(inside, total),
        "E": np.hypot(pt * np.cosh(eta), mass),
        "kind": numbers(st.integers(1, len(NAMES) - 1), total, np.int8),
    }
    names = st.sampled_from(["tttt", "t t H", "10", "é"])
    number = numbers(st.integers(-(10**10), 10**10), events, np.int64) * 10 + np.arange(events)
    return Events(
        particles=ak.unflatten(ak.zip(columns, with_name="Momentum4D"), counts),
        context=ak.zip(
            {
                "MET": numbers(st.floats(0, MAX_ENERGY), events),
                "phi_MET": numbers(inside, events),
            }
        ),
        weight=numbers(st.floats(allow_nan=False, allow_infinity=False), events),
        process=numbers(names, events, np.str_),
        number=number,
        hard=number,
    )


@EASY
@given(samples())
def test_any_events_return_from_text_to_the_last_bit(tmp_path, events):
    path = tmp_path / "events.csv"
    write_darkmachines(events, path)
    assert_same(events, read_darkmachines(path, unit="MeV"), COLUMNS, truth=False)


@EASY
@given(
    st.integers(0, 2 * len(GOOD)),
    st.integers(0, 12),
    st.one_of(
        st.text(max_size=6), st.sampled_from([";", ",", "\n", "nan", "-", "e", "9" * 30, "j,1,1,1,1;", '"', "\0"])
    ),
    st.booleans(),
)
def test_a_damaged_line_is_an_error_or_reads_right(tmp_path, start, length, put, tolerant):
    text = GOOD + GOOD.replace("7;", "8;", 1)
    damaged = text[:start] + put + text[start + length :]
    path = tmp_path / "events.csv"
    path.write_bytes(damaged.encode("utf-8", "surrogatepass"))
    try:
        events = read_darkmachines(path, tolerant=tolerant)
    except EventError as error:
        events, message = None, str(error)
    if events is None:
        assert str(path) in message
        return
    assert len(events) + events.provenance["files"][0]["skipped"] <= damaged.count("\n") + 1
    again = tmp_path / "again.csv"
    write_darkmachines(events, again)
    assert_same(events, read_darkmachines(again), COLUMNS, truth=False)


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


BAD = {
    "truncated line": (GOOD[:9] + "\n", "truncated line.*has 3 of the fields"),
    "truncated object": (changed(",0.6,0.1", ""), "truncated object 'e-,60000,50000'"),
    "no end": (GOOD.rstrip(), "the last line has no end"),
    "GeV": (GOOD.replace("000,", ",").replace("000.5", ".5"), "wrong unit"),
    "unknown object": (changed("e-", "tau"), "unknown object 'tau' in 'tau,60000"),
    "NaN": (changed("110000", "nan"), "E in 'j,nan,.* NaN or infinity"),
    "NaN in the header": (changed("50000;", "NaN;"), "MET is 'NaN', NaN or infinity"),
    "infinity": (changed("110000", "1e999"), "NaN or infinity: 'j,1e999"),
    "no number": (changed("110000", "11oooo"), "E in .* is '11oooo', no number"),
    "negative energy": (changed("110000", "-110000"), "negative energy: 'j,-110000"),
    "negative pT": (changed("100000", "-100000"), "negative pT"),
    "energy below momentum": (changed("110000", "90000"), r"energy below \|p\|"),
    "negative MET": (changed("50000;", "-50000;"), "negative MET"),
    "degrees": (changed("-0.4,1.5", "-0.4,90"), r"phi outside ±2π \(degrees"),
    "event number": (GOOD.replace("7;", "7.5;", 1), "event ID '7.5' is no whole number"),
    "no process": (changed("tttt", ""), "process ID '' is no name"),
    "empty object": (changed(";b,", ";;b,"), "truncated object ''"),
}


@pytest.mark.parametrize("case", BAD)
def test_errors_name_file_line_text_and_remedy(tmp_path, case):
    bad, message = BAD[case]
    path = tmp_path / "events.csv"
    before = GOOD.replace("7;", "1;", 1) + GOOD.replace("7;", "2;", 1)
    path.write_text(before + bad)
    with pytest.raises(EventError, match=rf"events\.csv:3: .*{message}.*; \w+") as caught:
        read_darkmachines(path)
    assert caught.value.line == 3
    events = read_darkmachines(path, tolerant=True)
    assert events.number.tolist() == [1, 2]
    assert events.provenance["files"][0]["skipped"] == 1


SPREADSHEETS = {
    "comment": ("# made by me\n" + GOOD, "'# made by me' is a comment"),
    "commented event": ("#" + GOOD, "is a comment"),
    "header": ("event ID; process ID; event weight; MET; METphi; obj1, E1, pt1, eta1, phi1\n" + GOOD, "a header"),
    "short header": ("id;process;weight;met;phi\n" + GOOD, "a header"),
    "quotes": (";".join(f'"{field}"' for field in GOOD.strip().split(";")) + "\n", "in quotes"),
    "decimal comma": (changed("0.5;50000;-1.25", "0,5;50000,0;-1,25"), "decimal comma.*decimal point"),
    "decimal comma in objects": (GOOD.replace("110000,100000,-0.4,1.5", "110000,0,100000,0,-0,4,1,5"), "decimal comma"),
    "commas": (GOOD.replace(";", ","), "separated by commas.*semicolons"),
    "tabs": (GOOD.replace(";", "\t"), "separated by tabs"),
    "rounded number": (changed("7;tttt", "1.23457E+12;tttt"), "was rounded"),
    "hexadecimal number": (changed("7;tttt", "0x10;tttt"), "hexadecimal"),
    "hexadecimal energy": (changed("110000", "0x1p17"), "hexadecimal"),
    "old ends of line": (GOOD.replace("\n", "\r") * 3, "carriage return alone.*tr"),
}


@pytest.mark.parametrize("case", SPREADSHEETS)
def test_damage_by_spreadsheets_is_named(tmp_path, case):
    text, message = SPREADSHEETS[case]
    path = tmp_path / "events.csv"
    path.write_text(text, newline="")
    with pytest.raises(EventError, match=rf"events\.csv:1: .*{message}"):
        read_darkmachines(path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf16_text_is_refused_with_its_remedy(tmp_path, encoding):
    path = tmp_path / "events.csv"
    path.write_text(GOOD, encoding=encoding)
    for tolerant in (False, True):
        with pytest.raises(EventError, match=r"1: is UTF-16 text .*iconv"):
            read_darkmachines(path, tolerant=tolerant)


def test_event_numbers_stay_integers(tmp_path):
    path = tmp_path / "events.csv"
    numbers = [2**53 + 1, 2**63 - 1, -(2**63)]
    path.write_text("".join(GOOD.replace("7;", f"{number};", 1) for number in numbers))
    assert read_darkmachines(path).number.tolist() == numbers
    assert careful(path.read_bytes(), 1, path, None, False)[0].number.tolist() == numbers
    path.write_text(GOOD.replace("7;", f"{2**63};", 1))
    with pytest.raises(EventError, match=rf"1: event ID '{2**63}' is no whole number of 64 bits"):
        read_darkmachines(path)


def test_a_line_without_end_is_refused_before_it_is_in_memory(tmp_path):
    path = tmp_path / "events.csv.gz"
    path.write_bytes(gzip.compress(GOOD.encode() + b"0" * (5 * MAX_LINE_BYTES), 1))
    for tolerant in (False, True):
        with pytest.raises(EventError, match=r"2: the line that begins with '0+' has no end within 8 MB"):
            read_darkmachines(path, tolerant=tolerant)


def test_tolerant_keeps_the_whole_lines_of_a_compressed_file_that_was_cut(tmp_path):
    path = tmp_path / "events.csv.gz"
    lines = [GOOD.replace("7;", f"{number};", 1) for number in range(300)]
    path.write_bytes(gzip.compress("".join(lines).encode(), 0)[: 200 * len(GOOD)])
    with pytest.raises(EventError, match="ends early"):
        read_darkmachines(path)
    events = read_darkmachines(path, tolerant=True)
    assert 150 < len(events) < 250
    assert events.provenance["files"][0]["skipped"] == 1


def test_the_first_fault_is_reported_whatever_its_sort(tmp_path):
    path = tmp_path / "events.csv"
    path.write_text(GOOD + changed("110000", "-110000").replace("7;", "8;") + "9;x\n")
    with pytest.raises(EventError, match="negative energy") as caught:
        read_darkmachines(path)
    assert caught.value.line == 2


def test_line_numbers_hold_across_blocks_and_blank_lines(tmp_path):
    lines = [GOOD.replace("7;", f"{number};", 1) for number in range(50)]
    path = tmp_path / "events.csv"
    path.write_text("\n" + "".join(lines))
    assert len(read_darkmachines(path, block_bytes=256)) == 50
    path.write_text("\n" + "".join(lines) + lines[20])
    with pytest.raises(EventError, match=r"csv:52: event 20 of tttt was on line 22 already"):
        read_darkmachines(path, block_bytes=256)
    assert len(read_darkmachines(path, tolerant=True, block_bytes=256)) == 50


def test_the_same_number_in_another_process_is_no_duplicate(tmp_path):
    path = tmp_path / "events.csv"
    path.write_text(GOOD + GOOD.replace("tttt", "ttH"))
    assert read_darkmachines(path).processes == ("ttH", "tttt")


@pytest.mark.parametrize(
    "same",
    [
        GOOD.replace("\n", ";\n"),
        GOOD.replace("\n", ";;;;\n"),
        "\ufeff" + GOOD,
        GOOD.replace(";", "; ").replace(",", ", "),
        GOOD.replace("\n", "\r\n"),
        GOOD.replace("110000", "1.1e+05"),
        GOOD.replace("110000", "+110000"),
        GOOD + "\n\n",
    ],
)
def test_harmless_variants_of_text_read_the_same(tmp_path, same):
    path, other = tmp_path / "events.csv", tmp_path / "other.csv"
    path.write_text(GOOD)
    other.write_bytes(same.encode())
    assert_same(read_darkmachines(path), read_darkmachines(other))


def test_text_in_gev_needs_the_unit(tmp_path):
    path = tmp_path / "events.csv"
    write_darkmachines(make_events(20), path, unit="GeV")
    with pytest.raises(EventError, match=r"wrong unit.*unit='GeV'"):
        read_darkmachines(path)
    write_darkmachines(make_events(20), path)
    with pytest.raises(EventError, match="too much for GeV"):
        read_darkmachines(path, unit="GeV")


def test_empty_and_cut_text_is_refused(tmp_path):
    path = tmp_path / "events.csv"
    path.write_bytes(b"")
    with pytest.raises(EventError, match="is empty"):
        read_darkmachines(path)
    path.write_bytes(b"\n\n")
    with pytest.raises(EventError, match="has no events"):
        read_darkmachines(path)
    path.write_text("x\n")
    with pytest.raises(EventError, match="all 1 lines are bad"):
        read_darkmachines(path, tolerant=True)
    packed = gzip.compress(GOOD.encode() * 50)
    path.write_bytes(packed[:-20])
    with pytest.raises(EventError, match="ends early"):
        read_darkmachines(path)
    path.write_bytes(packed[:12] + b"\xff" * 30 + packed[42:])
    with pytest.raises(EventError, match=r"damaged|ends early"):
        read_darkmachines(path)
    with pytest.raises(FileNotFoundError):
        read_darkmachines(tmp_path / "none.csv")


def test_process_name_replaces_names_of_the_file(tmp_path):
    path = tmp_path / "events.csv"
    path.write_text(GOOD)
    events = read_darkmachines(path, process="signal", luminosity=36.0)
    assert events.processes == ("signal",)
    assert events.luminosity == 36.0


def test_writer_refuses_what_text_cannot_hold(tmp_path):
    events = make_events(4)
    path = tmp_path / "events.csv"
    with pytest.raises(ValueError, match="process name 'a;b'"):
        write_darkmachines(replace(events, process=np.full(4, "a;b")), path)
    with pytest.raises(ValueError, match="weight has NaN"):
        write_darkmachines(replace(events, weight=np.full(4, np.nan)), path)
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=200, deadline=None)
@given(st.integers(-(10**15) + 1, 10**15 - 1), st.integers(0, 6))
def test_thousandths_agree_with_exact_arithmetic(digits, places):
    text = f"{Decimal(digits).scaleb(-places):f}"
    divided = _thousandth(np.array([float(text)]))
    assert divided is not None
    assert divided.tolist() == [float(Fraction(text) / 1000)]


@pytest.mark.parametrize("digits", [3, 6, 9, 14, 16])
def test_short_numbers_are_rounded_once(tmp_path, digits):
    rng = np.random.default_rng(digits)
    values = [f"{value:.{digits}g}" for value in 10 ** rng.uniform(3.1, 6.9, 300)]
    path = tmp_path / "events.csv"
    path.write_text("".join(f"{i};x;1;{met};0;j,{met},{met},0,0\n" for i, met in enumerate(values)))
    exact = [float(Fraction(value) / 1000) for value in values]
    events = read_darkmachines(path)
    assert ak.to_numpy(ak.flatten(events.particles.E)).tolist() == exact
    assert ak.to_numpy(ak.flatten(events.particles.pt)).tolist() == exact
    assert events.context.MET.tolist() == exact
