"""Damaged Les Houches and Dark Machines files: an error that names the file, or everything that is in them."""

from __future__ import annotations

import gzip
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import awkward as ak
import numpy as np
import pytest

from femtobarn.events import Events, lhe_info, read_darkmachines, read_lhe, write_darkmachines
from femtobarn.events.formats.darkmachines_columns import fast
from femtobarn.events.formats.darkmachines_lines import careful
from tests.support.fuzzing import N_MUTANTS, fuzz
from tests.support.sample import make_events

LHE = b"""<LesHouchesEvents version="3.0">
<header>
<MGGenerationInfo>
#  Number of Events        :       4
</MGGenerationInfo>
</header>
<init>
2212 2212 6.5e+03 6.5e+03 0 0 10042 10042 3 2
2.0 0.3 2.0 1
1.0 0.4 1.0 2
</init>
<event>
 6 1 1.0 91.2 0.0078 0.118
 21 -1 0 0 501 502 0 0 500.0 500.0 0 0 9
 24 2 1 2 0 0 30.0 40.0 0.0 94.5 80.4 0 9
 5 1 1 2 501 0 30.0 40.0 20.0 54.1 4.7 0 9
 11 1 3 3 0 0 5.0 12.0 0.0 13.0 0 0 9
 -12 1 3 3 0 0 -6.0 0.0 2.0 6.4 0 0 9
 22 1 3 3 0 0 0.0 7.0 0.0 7.0 0 0 9
<rwgt><wgt id='1'> 1.0 </wgt></rwgt>
</event>
<event>
2 2 1.0 91.2 0.0078 0.118
-13 1 1 2 0 0 3.0 4.0 0.0 5.0 0 0 9
-1 1 1 2 0 0 -3.0 4.0 1.0 5.1 0 0 9
# a comment
</event>
<event npLO="1">
2 2 0.5 91.2 0.0078 0.118
-13 1 1 2 0 0 3.0 -4.0 0.0 5.0 0 0 9
-1 1 1 2 0 0 -3.0 4.5 1.0 5.6 0 0 9
</event>
<event>
1 2 1.0 91.2 0.0078 0.118
21 1 1 2 0 0 13.0 4.0 0.0 14.0 0 0 9
</event>
</LesHouchesEvents>
"""
INVISIBLE = (12, 14, 16, 51, 52, 53, 1000022, 1000039)


def fortran(word: str) -> float:
    """1.0D+02 and 1.2-101 as well."""
    return float(re.sub(r"(?<=[0-9.])[dD]?(?=[+-][0-9])", "e", word.replace("_", "?")))


def lhe_events(content: bytes) -> list[tuple[float, list[list[float]]]]:
    """Weight and final particles (PDG number, px, py, pz, E) of each event, by the plainest reading of its XML."""
    try:
        bodies = list(ET.fromstring(content.replace(b"\r", b" ")).iter("event"))
        texts = ["".join([body.text or "", *(inner.tail or "" for inner in body)]) for body in bodies]
    except ET.ParseError:  # a bare < in a header, and other things that no program minds
        plain = re.sub(r"(?s)<!--.*?-->|<!\[CDATA\[.*?\]\]>", "", content.decode("latin-1"))
        texts = re.findall(r"(?s)<event(?:\s[^<>]*)?>(.*?)</event\s*>", plain)
        texts = [re.sub(r"(?s)<(\w+)[^<>]*>.*?</\1>|<\w[^<>]*/>", "", text) for text in texts]
    events = []
    for text in texts:
        lines = [words for line in text.split("\n") if (words := line.split("#")[0].split())]
        words = [word for line in lines for word in line]
        rows = lines[1 : int(words[0]) + 1]
        if not all(11 <= len(row) <= 13 for row in rows):
            rows = [words[at : at + 13] for at in range(6, len(words), 13)]
        final = [[fortran(row[column]) for column in (0, 6, 7, 8, 9)] for row in rows if fortran(row[1]) == 1]
        events.append((fortran(words[2]), final))
    return events


def is_whole_lhe(events: Events, content: bytes) -> None:
    """Every event and particle that is in the file is among those read."""
    plain = lhe_events(content)
    assert len(events) == len(plain), f"{len(events)} events of {len(plain)}"
    assert len(events) == len(re.findall(rb"<event[\s>]", content)), "opening tags without an event"
    weights = np.array([weight for weight, _ in plain])
    np.testing.assert_allclose(events.weight / events.weight.sum(), weights / weights.sum(), atol=1e-12)
    for particles, met, (_, rows) in zip(events.particles, events.context.MET, plain, strict=True):
        visible = [row for row in rows if abs(row[0]) not in INVISIBLE]
        assert particles.truth_id.tolist() == [row[0] for row in visible], "particles are missing"
        np.testing.assert_allclose(particles.E, [row[4] for row in visible])
        hidden = np.array([row[1:3] for row in rows if abs(row[0]) in INVISIBLE]).reshape(-1, 2).sum(axis=0)
        np.testing.assert_allclose(met, np.hypot(*hidden))


@pytest.mark.parametrize("n_mutants", N_MUTANTS)
def test_damaged_lhe_is_refused_or_read_in_full(tmp_path, n_mutants):
    """And what the simulation counts is what is read."""

    def read(path: Path) -> Events:
        events = read_lhe(path)
        info = lhe_info(path)
        assert info.events == len(events), f"lhe_info counts {info.events}, read_lhe {len(events)}"
        return events

    result = fuzz(read, LHE, tmp_path / "events.lhe", n_mutants, check=is_whole_lhe)
    assert 0 < result.n_accepted < result.n_refused


@pytest.mark.parametrize("n_mutants", N_MUTANTS)
def test_what_is_read_tolerantly_of_damaged_lhe_is_sound(tmp_path, n_mutants):
    def tolerant(path: Path) -> Events:
        return read_lhe(path, undecayed="skip", tolerant=True)

    def counted(events: Events, content: bytes) -> None:
        assert len(events) + events.provenance["files"][0]["skipped"] >= len(re.findall(rb"<event[\s>]", content))

    fuzz(tolerant, LHE, tmp_path / "events.lhe", n_mutants, seed=3, check=counted)


@pytest.mark.parametrize("n_mutants", N_MUTANTS)
def test_damaged_compressed_files_are_refused(tmp_path, n_mutants):
    """gzip has a checksum: only its header may change without a trace."""
    packed = gzip.compress(LHE)
    expected = lhe_events(LHE)

    def same(events: Events, _: bytes) -> None:
        assert len(events) == len(expected)
        np.testing.assert_allclose(ak.flatten(events.particles.E).to_numpy()[:2], [54.1, 13.0])

    fuzz(read_lhe, packed, tmp_path / "events.lhe.gz", n_mutants, check=same)


WORDS = {"j": 1, "b": 2, "e-": 3, "e+": 4, "m-": 5, "m+": 6, "g": 7}


def darkmachines(folder: Path) -> bytes:
    """A sound file of a few events."""
    path = folder / "sound.csv"
    write_darkmachines(make_events(6, max_objects=5), path)
    return path.read_bytes()


def is_whole_text(events: Events, content: bytes) -> None:
    """Every line of the file is an event, with the numbers and objects of the line."""
    lines = [line for line in content.decode("utf-8", "replace").split("\n") if line.strip()]
    assert len(events) == len(lines), f"{len(events)} events of {len(lines)} lines"
    for event, line in enumerate(lines):
        number, process, weight, met, _, *objects = [field.strip() for field in line.rstrip("; \r\t").split(";")]
        assert (events.number[event], events.process[event]) == (int(number), process)
        np.testing.assert_allclose(
            [events.weight[event], events.context.MET[event]], [float(weight), float(met) / 1000]
        )
        values = [[word.strip() for word in words.split(",")] for words in objects]
        particles = events.particles[event]
        assert particles.kind.tolist() == [WORDS[word] for word, *_ in values], "objects are missing"
        np.testing.assert_allclose(particles.E, [float(energy) / 1000 for _, energy, *_ in values])
        np.testing.assert_allclose(particles.eta, [float(eta) for *_, eta, _ in values])


@pytest.mark.parametrize("n_mutants", N_MUTANTS)
def test_damaged_text_is_refused_or_read_in_full(tmp_path, n_mutants):
    """And whether all lines are read at once or one by one makes no difference."""

    def read(path: Path) -> Events:
        content = path.read_bytes()
        block = fast(content, 1, None)
        if block is not None:
            careful_block, _ = careful(content, 1, path, None, False)
            for name, column in block._asdict().items():
                np.testing.assert_array_equal(column, getattr(careful_block, name), err_msg=name)
        return read_darkmachines(path)

    result = fuzz(read, darkmachines(tmp_path), tmp_path / "events.csv", n_mutants, check=is_whole_text)
    assert 0 < result.n_accepted < result.n_refused


@pytest.mark.parametrize("n_mutants", N_MUTANTS)
def test_what_is_read_tolerantly_of_damaged_text_is_sound(tmp_path, n_mutants):
    def counted(events: Events, content: bytes) -> None:
        lines = sum(bool(line.strip()) for line in content.split(b"\n"))
        assert len(events) + events.provenance["files"][0]["skipped"] == lines

    path = tmp_path / "events.csv"
    fuzz(lambda path: read_darkmachines(path, tolerant=True), darkmachines(tmp_path), path, n_mutants, check=counted)
