"""Parquet: exact round trips of the own layout, and foreign layouts through a mapping."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from pydantic import ValidationError

from femtobarn.events import EventError, Mapping, read_parquet, write_parquet
from femtobarn.events.inspect import problems
from femtobarn.physics.objects import ANTIMUON, BJET, ELECTRON, JET, MUON, PHOTON, POSITRON
from tests.support.jets import jet_events
from tests.support.same_events import assert_same
from tests.support.sample import make_events


def simulated(count: int = 200):
    """Events with truth columns, one more context column and a provenance."""
    events = make_events(count)
    truth = ak.values_astype(events.particles.kind * 7, np.int32)
    particles = ak.with_field(ak.with_field(events.particles, truth, "truth_id"), truth > 14, "prompt")
    context = ak.with_field(events.context, np.arange(count) * 0.1, "vertices")
    provenance = {"processes": {"tttt": {"cross_section_pb": 0.005458, "cut_flow": [{"cut": "all", "events": 3}]}}}
    return replace(events, particles=particles, context=context, luminosity=36.1, provenance=provenance)


def test_parquet_written_and_read_is_exact(tmp_path):
    events = simulated()
    path = tmp_path / "new" / "events.parquet"
    write_parquet(events, path)
    back = read_parquet(path)
    assert_same(events, back)
    assert back.particles.prompt.layout.content.dtype == np.bool_
    assert back.luminosity == 36.1
    assert back.provenance["processes"] == events.provenance["processes"]
    assert back.provenance["files"][0]["events"] == 200
    assert ak.fields(back.particles) == ak.fields(events.particles)
    assert [file.name for file in path.parent.iterdir()] == ["events.parquet"]


def test_parquet_holds_events_without_objects_and_no_events(tmp_path):
    events = make_events(20)
    empty = replace(events, particles=events.particles[events.particles.pt < 0])
    for sample in (empty, events[:0]):
        write_parquet(sample, tmp_path / "events.parquet")
        assert_same(sample, read_parquet(tmp_path / "events.parquet"))


def test_compact_files_keep_the_detector_s_resolution(tmp_path):
    events = simulated(500)
    write_parquet(events, tmp_path / "full.parquet")
    write_parquet(events, tmp_path / "compact.parquet", compact=True)
    back = read_parquet(tmp_path / "compact.parquet")
    objects, stored_objects = ak.flatten(events.particles), ak.flatten(back.particles)
    np.testing.assert_allclose(stored_objects.pt, objects.pt, rtol=2.5e-4)
    np.testing.assert_allclose(stored_objects.eta, objects.eta, atol=2.5e-4)
    np.testing.assert_allclose(stored_objects.phi, objects.phi, atol=5e-4)
    np.testing.assert_allclose(stored_objects.E, objects.E, rtol=1e-3)
    np.testing.assert_allclose(stored_objects.mass, objects.mass, atol=0.01)
    np.testing.assert_array_equal(stored_objects.truth_id, objects.truth_id)
    assert ak.min(stored_objects.phi) >= -np.pi
    assert ak.max(stored_objects.phi) < np.pi
    assert (tmp_path / "compact.parquet").stat().st_size * 2.5 < (tmp_path / "full.parquet").stat().st_size
    write_parquet(back, tmp_path / "again.parquet", compact=True)
    assert_same(back, read_parquet(tmp_path / "again.parquet"))


def test_parquet_refuses_tracks_that_are_no_numbers(tmp_path):
    jets = jet_events(5)
    wrong = ak.where(jets.particles.pt == ak.max(jets.particles.pt[3]), np.nan, jets.particles.dz)
    odd = replace(jets, particles=ak.with_field(jets.particles, wrong, "dz"))
    write_parquet(odd, tmp_path / "jets.parquet")
    with pytest.raises(EventError, match=r"jets\.parquet, row 3: dz is NaN or infinite: object with"):
        read_parquet(tmp_path / "jets.parquet")
    assert any("dz is NaN or infinite: 1 objects" in text for text in problems(odd))


def test_context_columns_need_names_of_their_own(tmp_path):
    events = make_events(4)
    with pytest.raises(ValueError, match="other names than weight"):
        write_parquet(
            replace(events, context=ak.with_field(events.context, events.weight, "weight")), tmp_path / "x.parquet"
        )


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("pt", np.nan, r"row 2: NaN or infinity: object with kind"),
        ("E", -5.0, "row 2: negative energy"),
        ("E", 1.0, r"row 2: energy below \|p\|"),
        ("kind", 14, "row 2: unknown object"),
        ("phi", 170.0, r"row 2: phi outside ±2π"),
    ],
)
def test_impossible_objects_in_parquet_are_refused(tmp_path, column, value, message):
    events = make_events(5)
    flat = ak.to_numpy(ak.flatten(events.particles[column])).copy()
    counts = ak.to_numpy(ak.num(events.particles.pt))
    flat[counts[:2].sum()] = value
    broken = replace(events, particles=ak.with_field(events.particles, ak.unflatten(flat, counts), column))
    write_parquet(broken, tmp_path / "events.parquet")
    with pytest.raises(EventError, match=rf"events\.parquet, {message}") as caught:
        read_parquet(tmp_path / "events.parquet")
    assert caught.value.row == 2


def test_damaged_parquet_is_refused(tmp_path):
    path = tmp_path / "events.parquet"
    write_parquet(make_events(50), path)
    content = path.read_bytes()
    for damaged in (b"", content[:-100], b"PAR1" + content[50:], b"nothing of the kind"):
        path.write_bytes(damaged)
        with pytest.raises(EventError, match=r"events\.parquet: cannot be read as Parquet"):
            read_parquet(path)
    with pytest.raises(FileNotFoundError):
        read_parquet(tmp_path / "none.parquet")


def test_missing_columns_and_gaps_in_parquet_are_refused(tmp_path):
    path = tmp_path / "events.parquet"
    write_parquet(make_events(3), path)
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["eta"]), path)
    with pytest.raises(EventError, match="has no column 'eta'; it has number"):
        read_parquet(path)
    weight = pa.array([1.0, None, 1.0])
    pq.write_table(table.set_column(table.column_names.index("weight"), "weight", weight), path)
    with pytest.raises(EventError, match="row 1: weight is missing"):
        read_parquet(path)
    pq.write_table(pa.table({"x": [1]}), path)
    with pytest.raises(EventError, match=r"no event file of this package; describe its columns with `data.mapping`"):
        read_parquet(path)


LISTS = """
unit: MeV
objects:
  jet: {pt: jet_pt, eta: jet_eta, phi: jet_phi, mass: jet_m, btag: jet_score, btag_above: 0.8}
  photon: {pt: ph_pt, eta: ph_eta, phi: ph_phi, E: ph_e}
  electron: {pt: "el{}_pt", eta: "el{}_eta", phi: "el{}_phi", charge: "el{}_q"}
  muon: {pt: "mu{}_pt", eta: "mu{}_eta", phi: "mu{}_phi", charge: "mu{}_q"}
MET: met
phi_MET: met_phi
weight: w
process: sample
number: id
context: [pileup]
"""


def foreign() -> dict[str, Any]:
    return {
        "jet_pt": [[50000.0, 30000.0], [], [40000.0]],
        "jet_eta": [[0.0, 1.0], [], [-2.0]],
        "jet_phi": [[1.0, 4.0], [], [-1.0]],
        "jet_m": [[5000.0, 3000.0], [], [0.0]],
        "jet_score": pa.array([[0.9, 0.1], [], [0.81]], pa.list_(pa.float32())),
        "ph_pt": [[], [20000.0], []],
        "ph_eta": [[], [0.0], []],
        "ph_phi": [[], [0.5], []],
        "ph_e": [[], [20000.0], []],
        "el1_pt": [25000.0, np.nan, 30000.0],
        "el1_eta": [0.5, np.nan, 0.1],
        "el1_phi": [0.0, np.nan, 0.2],
        "el1_q": [1, 0, -1],
        "el2_pt": pa.array([None, None, 20000.0]),
        "el2_eta": pa.array([None, None, 1.5]),
        "el2_phi": pa.array([None, None, -0.2]),
        "el2_q": pa.array([None, None, 1]),
        "mu1_pt": [0, 60000, 0],
        "mu1_eta": [0.0, -0.3, 0.0],
        "mu1_phi": [0.0, 3.0, 0.0],
        "mu1_q": [0, -1, 0],
        "met": pa.array([100000.0, 0.0, 5.0], pa.float32()),
        "met_phi": [0.0, -3.0, 2.0],
        "w": [0.1, -0.2, 0.3],
        "sample": ["a", "b", "b"],
        "id": [7, 8, 9],
        "pileup": [20, 30, 40],
    }


def mapped(text: str = LISTS) -> Mapping:
    return Mapping.model_validate(yaml.safe_load(text))


def test_mapping_reads_lists_and_numbered_columns(tmp_path: Path):
    path = tmp_path / "foreign.parquet"
    pq.write_table(pa.table(foreign()), path)
    events = read_parquet(path, mapped())
    padded = events.padded()
    assert padded.kind.tolist() == [[BJET, JET, POSITRON], [MUON, PHOTON, 0], [BJET, ELECTRON, POSITRON]]
    np.testing.assert_allclose(padded.pt[0], [50, 30, 25])
    np.testing.assert_allclose(padded.phi[0], [1, 4 - 2 * np.pi, 0])
    np.testing.assert_allclose(padded.E[0], np.hypot(padded.pt[0] * np.cosh(padded.eta[0]), [5, 3, 0]))
    assert padded.E[1, 1] == 20.0
    assert events.context.MET.tolist() == [100.0, 0.0, 0.005]
    assert events.context.pileup.tolist() == [20, 30, 40]
    assert events.weight.tolist() == [0.1, -0.2, 0.3]
    assert events.process.tolist() == ["a", "b", "b"]
    assert events.number.tolist() == events.hard.tolist() == [7, 8, 9]
    assert ANTIMUON not in padded.kind


def test_a_sparing_mapping_has_defaults(tmp_path: Path):
    path = tmp_path / "ttH.parquet"
    pq.write_table(pa.table(foreign()), path)
    text = "{objects: {bjet: {pt: jet_pt, eta: jet_eta, phi: jet_phi}}, MET: met, phi_MET: met_phi}"
    events = read_parquet(path, mapped(text))
    assert events.processes == ("ttH",)
    assert events.weight.tolist() == [1, 1, 1]
    first = int(events.number[0])  # rows are counted below the checksum of the file
    assert first == (int(events.provenance["files"][0]["sha256"][:8], 16) >> 1) << 32
    assert (events.number - first).tolist() == (events.hard - first).tolist() == [0, 1, 2]
    assert read_parquet(path, mapped(text), process="x").processes == ("x",)
    assert read_parquet(path, mapped(text.replace("MET: met,", "MET: met, process_name: y,"))).processes == ("y",)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("MET: met\n", "MET: missing\n", "has no column 'missing'; it has jet_pt"),
        ("el{}_pt", "ele{}_pt", "no columns like 'ele1_pt' for objects.electron"),
        ("el{}_q", "el{}_charge", "has no column 'el1_charge'"),
        ("jet_m,", "sample,", "column 'sample' of objects.jet holds string, no lists"),
        ("weight: w", "weight: sample", "column 'sample' holds string, no numbers"),
        ("jet_eta,", "ph_eta,", "row 0: 0 values of ph_eta where jet_pt has 2"),
        ("mu{}_q", "mu{}_pt", "row 1: muon of charge 60000 in 'mu1_pt'"),
    ],
)
def test_wrong_mappings_name_the_column(tmp_path: Path, old, new, message):
    path = tmp_path / "foreign.parquet"
    pq.write_table(pa.table(foreign()), path)
    assert old in LISTS
    with pytest.raises(EventError, match=message):
        read_parquet(path, mapped(LISTS.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("unit: MeV", "unit: keV", "'GeV' or 'MeV'"),
        ("  photon:", "  foton:", "foton"),
        ("weight: w", "wieght: w", "wieght"),
        ('charge: "mu{}_q"', 'charge: "mu_q"', "number all columns"),
        (', charge: "mu{}_q"', "", "objects.muon needs charge"),
        ("E: ph_e", "E: ph_e, mass: ph_e", "E or mass, not both"),
        ("E: ph_e", "btag: ph_e", "objects.photon has no btag"),
        ("process: sample", "process: sample\nprocess_name: x", "not both"),
    ],
)
def test_wrong_mappings_are_refused_before_a_file_is_opened(old, new, message):
    assert old in LISTS
    with pytest.raises(ValidationError, match=message):
        mapped(LISTS.replace(old, new))
