"""Les Houches files: kinematics against vector, weights against the cross section, errors with their line."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import vector
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from femtobarn.events import EventError, lhe_info, read_lhe
from femtobarn.physics.objects import ANTIMUON, BJET, ELECTRON, JET, PHOTON

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


def test_weights_sum_to_cross_section_times_luminosity(path):
    assert read_lhe(path, luminosity=36.0).weight.sum() == pytest.approx(3.0 * 1000 * 36)
    negative = WHOLE.replace("2 2 1.0 91.2", "2 2 -0.5 91.2")
    path.write_text(negative)
    weight = read_lhe(path).weight
    np.testing.assert_allclose(weight, np.array([2.0, -1.0]) * 3.0 * 1000 * 100)


def test_compressed_files_are_the_same(path, tmp_path):
    packed = tmp_path / "tt.lhe.gz"
    packed.write_bytes(gzip.compress(WHOLE.encode()))
    assert read_lhe(packed).particles.tolist() == read_lhe(path).particles.tolist()
    assert lhe_info(packed) == lhe_info(path)
    packed.write_bytes(gzip.compress(WHOLE.encode())[:-30])
    for reader in (read_lhe, lhe_info):
        with pytest.raises(EventError, match="ends early"):
            reader(packed)


def test_info(path):
    info = lhe_info(path)
    assert (info.cross_section, info.error, info.events) == (3.0, 0.5, 2)
    assert info.comment == "e- mu+ and jets, by hand"


def test_info_counts_tags_that_a_block_cuts_in_two(path):
    path.write_text(HEAD + (SECOND * 40_000) + "</LesHouchesEvents>\n")
    assert path.stat().st_size > (1 << 22)
    assert lhe_info(path).events == 40_000


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
def test_errors_name_the_line(path, old, new, message):
    assert old in WHOLE
    path.write_text(WHOLE.replace(old, new, 1))
    with pytest.raises(EventError, match=message):
        read_lhe(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, len(WHOLE)),
    st.integers(0, 30),
    st.one_of(st.text(max_size=4), st.sampled_from(["<event>", "</event>", "inf", "1e400", "9" * 30])),
)
def test_a_damaged_file_is_an_error_or_reads(path, start, length, put):
    path.write_bytes((WHOLE[:start] + put + WHOLE[start + length :]).encode("utf-8", "surrogatepass"))
    for reader in (read_lhe, lhe_info):
        try:
            reader(path)
        except EventError as error:
            message = str(error)
        else:
            message = str(path)
        assert str(path) in message
