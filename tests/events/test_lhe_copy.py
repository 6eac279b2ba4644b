"""Les Houches files as Pythia reads them: line by line, and the events that `read_lhe` finds."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from femtobarn.events import EventError, read_lhe
from femtobarn.events.formats.lhe_copy import rewrite_lhe
from tests.events.test_readers_lhe import FIRST, HEAD, SECOND, VARIANTS, WHOLE
from tests.support.same_events import assert_same


def events_by_line(path: Path) -> list[list[list[float]]]:
    """The numbers of each event, as a program reads them that knows lines and no XML."""
    lines = iter(path.read_text().split("\n"))
    assert next(lines).startswith("<LesHouchesEvents")
    assert "<init>" in lines
    _, _ = (int(word) for word in next(lines).split()[-2:])
    events = []
    for line in lines:
        if "<event" in line:
            numbers = [float(word) for word in next(lines).split()]
            rows = [[float(word) for word in next(lines).split()] for _ in range(int(numbers[0]))]
            assert [len(row) for row in rows] == [13] * len(rows)
            events.append([numbers, *rows])
    return events


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != "columns nobody uses"])
def test_a_copy_holds_the_same_events_line_by_line(tmp_path, variant):
    path, copy = tmp_path / "tt.lhe", tmp_path / "copy" / "tt.lhe"
    copy.parent.mkdir()
    path.write_text(VARIANTS.get(variant, str)(WHOLE), encoding="utf-8", newline="")
    rewrite_lhe(path, copy)
    assert_same(read_lhe(path), read_lhe(copy), ("weight", "process"))  # numbers have the file's checksum
    events = events_by_line(copy)
    assert [len(rows) - 1 for rows in events] == [9, 2]
    np.testing.assert_allclose(events[0][4][6:10], [30.0, 40.0, 20.0, 54.1])
    assert "<wgt id='1'> 1.0 </wgt>" in copy.read_text()


def test_copy_refuses_files_without_what_a_shower_needs(tmp_path):
    path = tmp_path / "tt.lhe"
    path.write_text(WHOLE.replace("501 502", "*** 502"))
    assert len(read_lhe(path)) == 2
    with pytest.raises(EventError, match=r"14: column 5 is no number: '21 -1 0 0 \*\*\* 502"):
        rewrite_lhe(path, tmp_path / "copy.lhe")


def test_the_simulation_reads_the_same_events_and_numbers_as_read_lhe(tmp_path):
    """Comments that hold events, tags that share lines, Fortran's numbers, and an event that comes twice."""
    pytest.importorskip("pythia8mc")
    pytest.importorskip("fastjet")
    from femtobarn.simulate import Plan, run

    text = gzip.decompress((Path(__file__).parents[1] / "data" / "ttWW.lhe.gz").read_bytes()).decode()
    head, *events = text.removesuffix("</LesHouchesEvents>\n").split("<event>")
    first, second, third = (event.replace("e+0", "D+0") for event in events[:3])
    events = [first, second.replace("501", "601"), second.replace("501", "701"), third]
    text = (
        head
        + "<!--\n<event>\n-->"
        + "".join(f"<event {first}".replace("<event \n", "<event\n >\n") for first in events)
    )
    path = tmp_path / "ttWW.lhe"
    path.write_text(text.replace("</event>\n", "</event>") + "</LesHouchesEvents>")
    plan = Plan(path, "ttWW", events=8, settings=("PartonLevel:all = off",))
    simulated = run(plan, tmp_path / "ttWW.parquet", workers=1)
    read = read_lhe(path, undecayed="skip")
    assert (read.hard - read.hard[0]).tolist() == [0, 1, 1, 3]
    assert simulated.hard.tolist() == [0, 1, 1, 3, 0, 1, 1, 3]
    assert simulated.number.tolist() == list(range(8))
    assert simulated.provenance["processes"]["ttWW"]["repeated_hard_events"] == 1


def test_two_copies_are_the_same_to_the_last_byte(tmp_path):
    path, once, twice = (tmp_path / name for name in ("tt.lhe", "once.lhe", "twice.lhe"))
    path.write_text(HEAD + SECOND + FIRST + "</LesHouchesEvents>")
    rewrite_lhe(path, once)
    rewrite_lhe(once, twice)
    assert once.read_bytes() == twice.read_bytes()
