"""Les Houches files: kinematics against vector, weights against the cross section, errors with their line."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import vector

from femtobarn.events import EventError, lhe_info, read_lhe
from femtobarn.events.formats.lhe import hard_numbers
from femtobarn.events.formats.lhe_events import HardEvents, read_head
from femtobarn.events.formats.lhe_markup import Markup
from femtobarn.physics.objects import ANTIMUON, BJET, ELECTRON, JET, PHOTON
from tests.support.same_events import assert_same

HEAD = """<LesHouchesEvents version="3.0">
<!--
e- mu+ and jets, by hand
-->
<header>
</header>
<init>
2212 2212 6.5e+03 6.5e+03 0 0 10042 10042 3 2
2.0 0.3 2.0 1
1.0 0.4 1.0 2
</init>
"""
FIRST = """<event>
 9 1 1.0 91.2 0.0078 0.118
 21 -1 0 0 501 502 0 0 500.0 500.0 0 0 9
 21 -1 0 0 502 503 0 0 -400.0 400.0 0 0 9
 24 2 1 2 0 0 30.0 40.0 0.0 94.5 80.4 0 9
 5 1 1 2 501 0 30.0 40.0 20.0 54.1 4.7 0 9
 21 1 1 2 501 0 -30.0 10.0 -20.0 37.416573867739416 0 0 9
 11 1 3 3 0 0 5.0 12.0 0.0 13.0 0 0 9
 -12 1 3 3 0 0 -6.0 0.0 2.0 6.324555320336759 0 0 9
 14 1 3 3 0 0 0.0 -8.0 1.0 8.06225774829855 0 0 9
 22 1 3 3 0 0 0.0 7.0 0.0 7.0 0 0 9
# a comment
<rwgt>
<wgt id='1'> 1.0 </wgt>
</rwgt>
</event>
"""
SECOND = """<event>
2 2 1.0 91.2 0.0078 0.118
-13 1 1 2 0 0 3.0 4.0 0.0 5.0 0 0 9
-1 1 1 2 0 0 -3.0 4.0 1.0 5.0990195135927845 0 0 9
</event>
"""
WHOLE = HEAD + FIRST + SECOND + "</LesHouchesEvents>\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "tt.lhe"
    path.write_text(WHOLE)
    return path


def test_partons_become_objects_and_neutrinos_missing_momentum(path):
    events = read_lhe(path)
    assert events.particles.kind.tolist() == [[BJET, JET, ELECTRON, PHOTON], [ANTIMUON, JET]]
    assert events.particles.truth_id.tolist() == [[5, 21, 11, 22], [-13, -1]]
    b = vector.obj(px=30, py=40, pz=20, E=54.1)
    first = events.particles[0, 0]
    np.testing.assert_allclose([first.pt, first.eta, first.phi, first.E, first.mass], [b.pt, b.eta, b.phi, b.E, b.mass])
    neutrinos = vector.obj(px=-6, py=-8)
    np.testing.assert_allclose(events.context.MET, [neutrinos.rho, 0])
    np.testing.assert_allclose(events.context.phi_MET, [neutrinos.phi, 0])
    assert events.processes == ("tt",)


def test_neutralinos_and_dark_matter_are_missing_momentum(path):
    path.write_text(WHOLE.replace("-12 1 3 3", "1000022 1 3 3").replace("14 1 3 3", "-52 1 3 3"))
    assert read_lhe(path).context.MET.tolist() == [10.0, 0.0]


def test_weights_sum_to_cross_section_times_luminosity(path):
    assert read_lhe(path, luminosity=36.0).weight.sum() == pytest.approx(3.0 * 1000 * 36)
    negative = WHOLE.replace("2 2 1.0 91.2", "2 2 -0.5 91.2")
    path.write_text(negative)
    weight = read_lhe(path).weight
    np.testing.assert_allclose(weight, np.array([2.0, -1.0]) * 3.0 * 1000 * 100)


def test_compressed_lhe_files_read_the_same(path, tmp_path):
    packed = tmp_path / "tt.lhe.gz"
    packed.write_bytes(gzip.compress(WHOLE.encode()))
    assert read_lhe(packed).particles.tolist() == read_lhe(path).particles.tolist()
    assert lhe_info(packed) == lhe_info(path)
    packed.write_bytes(gzip.compress(WHOLE.encode())[:-30])
    for reader in (read_lhe, lhe_info):
        with pytest.raises(EventError, match="ends early"):
            reader(packed)


def test_lhe_info_agrees_with_the_file(path):
    info = lhe_info(path)
    assert (info.cross_section, info.error, info.events) == (3.0, 0.5, 2)
    assert info.comment == "e- mu+ and jets, by hand"


@pytest.mark.parametrize("chunk_bytes", [1, 2, 7, 100])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_events_do_not_depend_on_where_the_file_is_cut_into_pieces(path, chunk_bytes, pack):
    path.write_bytes(pack(WHOLE.encode()))
    expected = [event.rows for event in HardEvents(path)]
    assert len(expected) == 2
    assert [event.rows for event in HardEvents(path, chunk_bytes=chunk_bytes)] == expected


def test_undecayed_particles_are_refused_or_counted(path):
    path.write_text(WHOLE.replace("24 2 1 2", "24 1 1 2"))
    with pytest.raises(EventError, match=r"tt\.lhe:16: W \(PDG 24\) .*femtobarn simulate"):
        read_lhe(path)
    events = read_lhe(path, undecayed="skip")
    assert events.provenance["files"][0]["undecayed"] == {"24": 1}
    assert events.particles.kind.tolist() == [[BJET, JET, ELECTRON, PHOTON], [ANTIMUON, JET]]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<LesHouchesEvents", "<html", "1: is no Les Houches event file"),
        ("<init>", "<initial>", "has no <init> block"),
        ("1.0 0.4 1.0 2\n", "", "<init> announces 2 processes and has 1"),
        ("0 0 10042", "10042", "first line of <init> has 8 numbers"),
        ("</LesHouchesEvents>", "", "has no </LesHouchesEvents>"),
        ("2 2 1.0 91.2", "3 2 1.0 91.2", "has 2 particles of 3 announced"),
        ("54.1", "5x.1", "17: no numbers: '5 1 1 2"),
        ("54.1 4.7 0 9", "", "17: 9 numbers where 11 belong"),
        ("54.1", "nan", "17: NaN or infinity"),
        ("54.1", "-54.1", "17: negative energy"),
        ("54.1", "14.1", r"17: energy below \|p\|"),
        ("2 2 1.0 91.2", "2 2 -1.0 91.2", "weights sum to 0"),
        ("2 2 1.0 91.2", "nan 2 1.0 91.2", "a whole number belongs"),
        (FIRST + SECOND, "", "has no events"),
    ],
)
def test_lhe_errors_name_the_line(path, old, new, message):
    assert old in WHOLE
    path.write_text(WHOLE.replace(old, new, 1))
    with pytest.raises(EventError, match=message):
        read_lhe(path)


#: Other ways to write the same file, all of them valid.
VARIANTS = {
    "byte order mark": lambda text: "\ufeff" + text,
    "declaration and blank lines": lambda text: (
        '<?xml version="1.0"?>\n\n' + text.replace("\n<event>", "\n\n\n<event>")
    ),
    "text around": lambda text: (
        "made today\n" + text.replace("<init>", "a remark\n<init>", 1) + "that was all, 2 events\n"
    ),
    "text between events": lambda text: text.replace("</event>", "</event>\nnext one\n# 5 1 2\n", 1),
    "comment with an event": lambda text: text.replace(
        "<event>", "<!-- not this:\n<event>\n 1 2 3\n</event> -->\n<event>", 1
    ),
    "comment within an event": lambda text: text.replace(" 21 -1", "<!-- </event>\n-->\n 21 -1", 1),
    "data not parsed": lambda text: text.replace("<event>", "<![CDATA[<event>]]>\n<event>", 1),
    "header": lambda text: text.replace("<header>", "<header><x a='1'>pt < 5 & <y <initrwgt></x>\n"),
    "card in a header": lambda text: text.replace("<header>", "<header><slha>\nBLOCK MASS # 1 < 2\n 25 125.0\n</slha>"),
    "attributes over lines": lambda text: text.replace("<event>", "<event\n npLO='0'\n npNLO=\"a > b\" >"),
    "tags share a line": lambda text: text.replace("<event>\n", "<event> ").replace("</event>\n", "</event>"),
    "no ends of line": lambda text: (
        text[: len(HEAD)] + re.sub(r"# a comment", "", text[len(HEAD) :]).replace("\n", " ")
    ),
    "init in one line": lambda text: text.replace("3 2\n2.0", "3 2 2.0").replace("2.0 1\n1.0", "2.0 1 1.0"),
    "ends of line of Windows": lambda text: text.replace("\n", "\r\n"),
    "numbers of Fortran": lambda text: (
        text.replace("2.0 0.3", "0.20D+01 3.d-1").replace("2 2 1.0", "2 2 1.0d0").replace(" 13.0 ", " 1.3Q1 ")
    ),
    "tiny numbers of Fortran": lambda text: text.replace("0.0 13.0", "0.0-101 13.0"),
    "whole numbers with a point": lambda text: text.replace("22 1 3 3", "22. 1.0 3 3"),
    "columns nobody uses": lambda text: (
        text.replace("0 9\n", "***** 9.\n").replace("501 502", "*** ***").replace("91.2 0.0078", "Inf x")
    ),
    "columns that are missing": lambda text: text.replace("0 0 9\n", "0\n"),
    "init with other elements": lambda text: text.replace(
        "</init>", "<generator name='g' version='1'>1 2 3</generator>\n<weightinfo name='w'/>\n# 1 2\n</init>"
    ).replace("<init>", "<init>\n<initrwgt>\n<weight id='1'> 1 2 </weight> 3 4\n</initrwgt>"),
    "comments behind numbers": lambda text: text.replace("3 2\n", "3 2 # two\n").replace("-13 1 1", "# 1 2\n-13 1 1"),
    "elements in events": lambda text: text.replace(
        "</event>",
        "<weights> 1 2 3 </weights><scales muf='1.0'/>\n<clustering>\n<clus> 1 2 </clus></clustering>\n</event>",
    ).replace("9 1 1.0", "<scales/>9 1 1.0"),
    "text in events": lambda text: text.replace("# a comment", "#pdf 1 2 < 3 4\nremark of a program"),
    "groups of events": lambda text: text.replace("<event>", "<eventgroup>\n<event>", 1).replace(
        "</Les", "</eventgroup>\n</Les"
    ),
    "elements between events": lambda text: text.replace("</event>", "</event><note> 1 2 <b>3</b> </note>\n<mark/>", 1),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_valid_variants_of_lhe_read_the_same(path, variant):
    expected = read_lhe(path)
    text = VARIANTS[variant](WHOLE)
    assert text != WHOLE
    path.write_text(text, encoding="utf-8", newline="")
    events = read_lhe(path)
    assert_same(expected, events, ("weight", "process"))  # numbers have the file's checksum
    np.testing.assert_array_equal(events.number - events.number[0], np.arange(2))
    info = lhe_info(path)
    assert (info.events, info.cross_section, info.error) == (2, 3.0, 0.5)


DAMAGE = {
    "opening tag": ("<event>\n2 2", "<evont>\n2 2", "28: '<evont>' stands between events"),
    "opening tag without end": ("<event>\n2 2", "<event\n2 2", "28: a lone < stands between events"),
    "opening tag without begin": ("<event>\n2 2", "event>\n2 2", "28: 'event>' stands between events"),
    "opening tag in capitals": ("<event>\n2 2", "<EVENT>\n2 2", "28: '<EVENT>' stands between events"),
    "no opening tag": ("<event>\n2 2", "2 2", "28: '2 2 1.0 91.2 .* stands between events"),
    "attribute without end": ("<event>\n2 2", "<event a='1>\n2 2", "28: a lone < stands between"),
    "closing tag": (
        "</event>\n<event>\n2",
        "</evant>\n<event>\n2",
        "27: '</evant>' stands within the event that begins on line 12",
    ),
    "no closing tag": (
        "</event>\n<event>\n2",
        "<event>\n2",
        "27: '<event>' stands within the event that begins on line 12",
    ),
    "no tags at all": ("</event>\n<event>\n2", "2", "27: the event has 12 particles of 9 announced"),
    "no closing tag at the end": ("</event>\n</Les", "</Les", "32: '</LesHouchesEvents>' stands within"),
    "event within an event": (" 21 -1", "<event>\n 21 -1", "14: '<event>' stands within"),
    "too many particles": ("\n 9 1 1.0", "\n 8 1 1.0", "22: the event has 9 particles of 8 announced"),
    "too few particles": ("2 2 1.0 91.2", "3 2 1.0 91.2", "32: the event has 2 particles of 3 announced"),
    "negative count": ("2 2 1.0 91.2", "-1 2 1.0 91.2", "30: the event has 2 particles of -1 announced"),
    "element without end": ("</rwgt>", "", "24: <rwgt> has no </rwgt> before line 27"),
    "comment without end": ("# a comment", "<!-- a comment", "<!-- has no -->"),
    "neutrino": ("-6.0 0.0 2.0", "nan 0.0 2.0", "20: NaN or infinity: '-12"),
    "energy of a neutrino": ("6.324555320336759", "inf", "20: NaN or infinity: '-12"),
    "neutrino off its shell": ("6.324555320336759", "1.3", r"energy below \|p\|"),
    "large energy": ("54.1", "1e12", r"17: energy above 1e\+09 GeV"),
    "along the beam": ("0.0 7.0 0.0 7.0", "0.0 0.0 7.0 7.0", "22: pT of 0"),
    "weight": ("2 2 1.0 91.2", "2 2 nan 91.2", "29: NaN or infinity: '2 2 nan"),
    "fraction of a PDG number": ("-1 1 1 2", "-1.9 1 1 2", "31: '-1.9' where a whole number belongs"),
    "fraction of a status": ("-1 1 1 2", "-1 2.7 1 2", "31: '2.7' where a whole number belongs"),
    "status": ("-1 1 1 2", "-1 11 1 2", "31: status 11 is none of"),
    "large PDG number": ("-1 1 1 2", "-9999999999 1 1 2", "31: -9999999999 is no PDG number"),
    "number of Python": ("54.1", "5_4.1", "17: no numbers"),
    "one word less": ("-1 1 1 2 0 0", "-1 1 1 2 0", "31: 12 numbers where 13 belong"),
    "one word more": ("-1 1 1 2 0 0", "-1 1 1 2 0 0 0", "31: 14 numbers where 13 belong"),
    "cross section NaN": ("2.0 0.3 2.0 1", "nan 0.3 2.0 1", "9: NaN or infinity"),
    "cross section zero": ("2.0 0.3 2.0 1", "-1.0 0.3 2.0 1", "11: the cross section is 0 pb"),
    "cross section of another sign": (
        "2.0 0.3 2.0 1",
        "-2.0 0.3 2.0 1",
        "weights sum to 2, but its cross section is -1",
    ),
    "one process more": ("3 2\n", "3 1\n", "<init> announces 1 processes and has 2"),
    "no end of init": ("</init>", "", "'<event>' stands within the <init> of line 7"),
    "no end of the header": ("</header>", "", "5: has no <init> block: <header> has no </header> before line 7"),
    "second file": ("</LesHouchesEvents>\n", "</LesHouchesEvents>\n" + WHOLE, "34: a second <LesHouchesEvents>"),
    "event behind the end": ("</LesHouchesEvents>\n", "</LesHouchesEvents>\n" + SECOND, "34: '<event>' stands behind"),
    "promise of MadGraph": (
        "</header>",
        "<MGGenerationInfo>\n#  Number of Events        :       3\n</MGGenerationInfo>\n</header>",
        "has 2 events, but <MGGenerationInfo> .* says 3",
    ),
    "promise of version 3": (
        "</init>",
        "<xsecinfo neve='3' totxsec='3.0'/></init>",
        "has 2 events, but <xsecinfo .* says 3",
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_lhe_is_an_error_with_its_line(path, case):
    old, new, message = DAMAGE[case]
    assert old in WHOLE
    path.write_text(WHOLE.replace(old, new, 1))
    for reader in (read_lhe, lhe_info):
        if case == "along the beam" and reader is lhe_info:  # no detector is asked there
            continue
        with pytest.raises(EventError, match=message) as caught:
            reader(path)
        assert str(path) in str(caught.value)


def test_utf16_lhe_is_refused_with_its_remedy(path):
    path.write_text(WHOLE, encoding="utf-16")
    with pytest.raises(EventError, match=r"1: is UTF-16 text .*iconv"):
        read_lhe(path)


@pytest.mark.parametrize("promise", ["<MGGenerationInfo>\n# Number of Events : 2\n</MGGenerationInfo>", "<!-- {} -->"])
def test_number_of_events_promised_in_a_header_is_checked(path, promise):
    out = "<MGGenerationInfo>\n# Number of Events : 9\n</MGGenerationInfo>"
    path.write_text(WHOLE.replace("</header>", promise.format(out) + "</header>"))
    assert len(read_lhe(path)) == 2


CUTS = {
    "behind an event": WHOLE[: -len("</LesHouchesEvents>\n")],
    "within an event": WHOLE[: -len("0 0 9\n</event>\n</LesHouchesEvents>\n")],
    "within a tag": WHOLE[: -len("ent>\n</LesHouchesEvents>\n")],
}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("pack", [bytes, lambda text: gzip.compress(text)[:-4]], ids=["plain", "compressed"])
def test_tolerant_keeps_the_whole_events_of_a_cut_file(path, cut, pack):
    text = CUTS[cut]
    path.write_bytes(pack(text.encode()))
    with pytest.raises(EventError, match=r"ends early"):
        read_lhe(path)
    events = read_lhe(path, tolerant=True)
    complete = 2 if cut == "behind an event" else 1
    record = events.provenance["files"][0]
    assert (len(events), record["skipped"], record["truncated"]) == (complete, 2 - complete, True)
    assert events.weight.sum() == pytest.approx(3.0 * 1000 * 100)


@pytest.mark.parametrize(
    ("old", "new"), [("<event>\n2 2", "<evont>\n2 2"), ("2 2 1.0", "1 2 1.0"), ("-3.0 4.0 1.0", "-3.0 4.0 9.0")]
)
def test_tolerant_leaves_out_damaged_events(path, old, new):
    assert old in SECOND
    path.write_text(HEAD + FIRST + SECOND.replace(old, new) + SECOND + FIRST + "</LesHouchesEvents>\n")
    events = read_lhe(path, tolerant=True)
    assert events.particles.truth_id.tolist() == [[5, 21, 11, 22], [-13, -1], [5, 21, 11, 22]]
    assert events.provenance["files"][0]["skipped"] == 1
    assert events.weight.sum() == pytest.approx(3.0 * 1000 * 100)


def test_events_that_come_again_at_once_are_one_hard_event(path):
    """Colours may be drawn anew, and the sign of a zero says nothing."""
    again = SECOND.replace("1 1 2 0 0", "1 1 2 501 0").replace("4.0 0.0", "4.0 -0.0")
    path.write_text(HEAD + FIRST + SECOND + again + SECOND + FIRST + FIRST + SECOND + "</LesHouchesEvents>\n")
    events = read_lhe(path)
    assert (events.hard - events.hard[0]).tolist() == [0, 1, 1, 1, 4, 4, 6] == hard_numbers(path).tolist()
    assert (events.number - events.hard[0]).tolist() == list(range(7))
    assert events.provenance["files"][0]["repeated"] == 3


def read_all(pieces: Iterator[bytes], path: Path) -> None:
    markup = Markup(pieces, path, max_bytes=10_000)
    read_head(markup, path)
    while markup.next().category != "end":
        pass


def test_text_without_end_is_refused_before_it_is_in_memory(path):
    for begin in (b"", HEAD.encode(), (HEAD + "<!--").encode(), (HEAD + "<event>").encode(), HEAD[:-8].encode()):
        left = iter([begin, *[b"1 2 x " * 100] * 1000])
        with pytest.raises(EventError, match="no end within 1e\\+04 bytes"):
            read_all(left, path)
        assert len(list(left)) > 900


def test_blank_lines_need_no_memory(path):
    markup = Markup(iter([HEAD.encode(), *[b"\n" * 600] * 1000]), path, max_bytes=10_000)
    read_head(markup, path)
    assert markup.next().line == HEAD.count("\n") + 600_000 + 1
