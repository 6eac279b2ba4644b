"""What all readers of tables share: integers, padding, units, tolerance."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from femtobarn.events import EventError, Mapping, inspect, read, show, write_parquet
from femtobarn.events.formats.parquet import stream_parquet
from femtobarn.physics.objects import ELECTRON, JET, POSITRON
from tests.events.test_readers_jets import jetclass, quark_gluon, top_tagging
from tests.support.sample import make_events

COLUMNS = {"jet": {"pt": "pt", "eta": "eta", "phi": "phi"}}
NUMBERED = {"jet": {"pt": "pt{}", "eta": "eta{}", "phi": "phi{}"}}


def mapping(objects: dict[str, Any] = COLUMNS, **more: Any) -> Mapping:
    return Mapping.model_validate({"objects": objects, "MET": "met", "phi_MET": "phi_met", **more})


def table(path: Path, jets: Any, **more: Any) -> Path:
    """A foreign table with lists of jets, one of each row given as (pt, eta, phi)."""
    columns = {name: [[jet[at] for jet in row] for row in jets] for at, name in enumerate(("pt", "eta", "phi"))}
    nothing = {"met": [10.0] * len(jets), "phi_met": [0.0] * len(jets)}
    pq.write_table(pa.table(columns | nothing | more), path)
    return path


def numbered(path: Path, jets: Any) -> Path:
    """The same jets in numbered columns, null where there is none."""
    columns = {
        f"{name}{slot}": pa.array([row[slot][at] if slot < len(row) else None for row in jets], pa.float64())
        for slot in range(max(map(len, jets)))
        for at, name in enumerate(("pt", "eta", "phi"))
    }
    pq.write_table(pa.table(columns | {"met": [10.0] * len(jets), "phi_met": [0.0] * len(jets)}), path)
    return path


def changed(path: Path, column: str, values: pa.Array, count: int = 4) -> Path:
    """A file in the package's layout with another column."""
    write_parquet(make_events(count), path)
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.column_names.index(column), column, values), path)
    return path


def lists(values: list[list[Any]], kind: pa.DataType) -> pa.Array:
    return pa.array(values, pa.list_(kind))


JET_ROW = [(50.0, 0.0, 0.0)]


@pytest.mark.parametrize(
    "numbers",
    [
        pa.array([2**53, 2**53 + 1, -(2**63), 2**63 - 1]),
        pa.array([2**53, 2**53 + 1, 7, 2**63 - 1], pa.uint64()),
        pa.array([1.0, 2.0, -3.0, 2.0**53]),
        pa.array([Decimal(2**53), Decimal(2**53 + 1), Decimal(-7), Decimal(2**63 - 1)], pa.decimal128(20, 0)),
    ],
)
def test_event_numbers_are_read_to_the_last_digit(tmp_path, numbers):
    own = read(changed(tmp_path / "own.parquet", "number", numbers))
    foreign = read(
        table(tmp_path / "foreign.parquet", [JET_ROW] * 4, id=numbers),
        mapping=mapping(number="id", hard="id", context=["id"]),
    )
    for column in (own.number, foreign.number, foreign.hard, foreign.context.id):
        assert column.tolist() == [int(number.as_py()) for number in numbers]


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (pa.array([0, 1, 2**63, 3], pa.uint64()), "row 2: {} is 9223372036854775808"),
        (pa.array([0, 1, 2.0**53 + 2, 3]), "row 2: {} is 9007199254740994.0"),
        (pa.array([0, 6.5, 2, 3]), "row 1: {} is 6.5; whole numbers"),
        (pa.array([0, 1, 2, np.nan]), "row 3: {} is nan"),
        (pa.array([Decimal("0.5"), Decimal(1), Decimal(2), Decimal(3)]), "row 0: {} is 0.5"),
        (pa.array([0, None, 2, 3]), "row 1: {} is missing"),
        (pa.array(["0", "1", "2", "3"]), "row 0: column '{}' holds string, no integers: '0'"),
        (pa.array([True, False, True, True]), "row 0: column '{}' holds bool, no integers: 'True'"),
        (pa.array([1, 2, 2, 2]), "the event numbers of a process must differ"),
    ],
)
def test_event_numbers_that_are_no_integers_are_refused(tmp_path, numbers, message):
    path = table(tmp_path / "foreign.parquet", [JET_ROW] * 4, id=numbers)
    with pytest.raises(EventError, match=message.format("id")):
        read(path, mapping=mapping(number="id"))
    if "differ" not in message:  # these are of different processes there
        with pytest.raises(EventError, match=message.format("number")):
            read(changed(tmp_path / "own.parquet", "number", numbers))


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("kind", lists([[1, 6.5], [1]], pa.float64()), "row 0: kind is 6.5"),
        ("kind", lists([[1, None], [1]], pa.int8()), "row 0: kind of an object is missing"),
        ("kind", lists([[1, 1], [257]], pa.int64()), "row 1: unknown object: object with kind 257"),
        ("pt", lists([[50, None], [1]], pa.float64()), "row 0: pt of an object is missing"),
        ("pt", pa.array([50.0, 1.0]), "row 0: column 'pt' holds double, no lists with a value per object: '50.0'"),
        ("pt", lists([[50.0], [1.0]], pa.float64()), "row 0: 2 values of eta for 1 objects"),
        ("E", lists([[70.0, 1e308], [70.0]], pa.float64()), r"row 0: energy above 1e\+09 GeV"),
        ("E", lists([["a", "b"], ["c"]], pa.string()), "row 0: column 'E' holds string, no numbers: 'a'"),
        ("weight", pa.array(["0.1", "0.2"]), "row 0: column 'weight' holds string, no numbers: '0.1'"),
        ("weight", pa.array([0.1, np.inf]), "row 1: weight is NaN or infinite: weight inf"),
        ("MET", pa.array([10.0, np.nan]), "row 1: MET or phi_MET is NaN or infinite"),
        ("process", pa.array([b"ttH", b"\xff"]), "row 1: process is b'.xff', no name in UTF-8"),
        ("process", pa.array(["ttH", ""]), "row 1: process '' is no name"),
        ("number", pa.array([0, 0]), "row 1: event 0 of ttH stands in row 0 already"),
    ],
)
def test_streams_and_whole_files_of_the_own_layout_refuse_alike(tmp_path, column, values, message):
    events = make_events(2, processes=("ttH",))
    columns = {
        "number": pa.array([0, 1]),
        "hard": pa.array([0, 1]),
        "process": pa.array(["ttH", "ttH"]),
        "weight": pa.array([1.0, 1.0]),
        "MET": pa.array([10.0, 10.0]),
        "phi_MET": pa.array([0.0, 0.0]),
        **{name: lists([[50.0, 40.0], [30.0]], pa.float64()) for name in ("pt", "E")},
        **{name: lists([[0.0, 0.0], [0.0]], pa.float64()) for name in ("eta", "phi")},
        "kind": lists([[1, 2], [1]], pa.int8()),
    }
    write_parquet(events, tmp_path / "events.parquet")
    metadata = pq.read_schema(tmp_path / "events.parquet").metadata
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), tmp_path / "events.parquet")
    assert read(tmp_path / "events.parquet").number.tolist() == [0, 1]
    pq.write_table(pa.table(columns | {column: values}).replace_schema_metadata(metadata), tmp_path / "events.parquet")
    with pytest.raises(EventError, match=message):
        read(tmp_path / "events.parquet")
    with pytest.raises(EventError, match=message):
        list(stream_parquet(tmp_path / "events.parquet", 10))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"version": 1, ', "", "have no 'version'"),
        ('"version": 1', '"version": 1.5', "have the version 1.5; it must be a whole number"),
        ('"version": 1', '"version": 2', "later version of this package"),
        ('"luminosity": 100.0', '"luminosity": 0', "have the luminosity 0; it must be a finite number above 0"),
        ('"luminosity": 100.0', '"luminosity": -3', "have the luminosity -3"),
        ('"luminosity": 100.0', '"luminosity": NaN', "have the luminosity NaN"),
        ('"luminosity": 100.0', '"luminosity": "100"', "have the luminosity"),
        ('"objects": ["pt", ', '"objects": [', "must be a list of names with pt, eta, phi, kind and E"),
        ('"context": ["MET", ', '"context": [', "must be a list of names with MET and phi_MET"),
        ('"provenance": {', '"provenance": [{', "is no JSON object"),
    ],
)
def test_damaged_descriptions_of_the_own_layout_are_refused(tmp_path, old, new, message):
    path = tmp_path / "events.parquet"
    write_parquet(make_events(3), path)
    table = pq.read_table(path)
    text = table.schema.metadata[b"femtobarn"].decode()
    assert old in text
    pq.write_table(table.replace_schema_metadata({b"femtobarn": text.replace(old, new).encode()}), path)
    with pytest.raises(EventError, match=rf"events\.parquet: .*{message}"):
        read(path)


FILLERS = {"zero": 0.0, "nan": np.nan, "null": None, "-999": -999.0, "-99": -99.0, "-1": -1.0}


@pytest.mark.parametrize("layout", ["lists", "fixed", "numbered"])
@pytest.mark.parametrize("filler", FILLERS.values(), ids=FILLERS)
def test_padding_behind_objects_is_counted_and_is_no_object(tmp_path, layout, filler):
    empty = (filler,) * 3
    jets: Any = [
        [(50.0, 0.1, 1.0), (30.0, -0.2, 2.0), empty],
        [(40.0, 0.3, 3.0), empty, empty],
        [empty, empty, empty],  # an event with MET alone
    ]
    path = tmp_path / "events.parquet"
    if layout == "numbered":
        events = read(numbered(path, jets), mapping=mapping(NUMBERED))
    else:
        table(path, jets)
        if layout == "fixed":
            stored = pq.read_table(path)
            columns = {name: stored[name].combine_chunks() for name in stored.column_names}
            fixed = {name: columns[name].cast(pa.list_(pa.float64(), 3)) for name in ("pt", "eta", "phi")}
            pq.write_table(pa.table(columns | fixed), path)
        events = read(path, mapping=mapping())
    assert events.particles.pt.tolist() == [[50.0, 30.0], [40.0], []]
    assert events.particles.eta.tolist() == [[0.1, -0.2], [0.3], []]
    assert events.provenance["files"][0]["padded"] == 6
    jets[0] = [empty, (30.0, 0.0, 2.0)]
    (numbered if layout == "numbered" else table)(path, jets)
    with pytest.raises(EventError, match=r"row 0: pt.* stands for no object, in front of entry 1"):
        read(path, mapping=mapping(NUMBERED if layout == "numbered" else COLUMNS))


def test_damaged_numbers_are_not_taken_for_padding(tmp_path):
    """A NaN in place of a pT whose object has a direction, and an energy whose pT is 0."""
    for pt, message in ((np.nan, "NaN or infinity"), (-5.0, "negative pT"), (-1.0, "negative pT")):
        path = table(tmp_path / "events.parquet", [[(50.0, 0.1, 1.0), (pt, 0.7, 2.0)]])
        with pytest.raises(EventError, match=f"row 0: {message}"):
            read(path, mapping=mapping())
    with_energy = {"jet": COLUMNS["jet"] | {"E": "e"}}
    path = table(tmp_path / "events.parquet", [[(50.0, 0.0, 1.0), (-999.0, 0.0, 0.0)]], e=[[50.0, 20.0]])
    with pytest.raises(EventError, match="row 0: negative pT"):
        read(path, mapping=mapping(with_energy))


def test_padding_of_the_own_layout_is_counted_and_shown(tmp_path, capsys):
    path = tmp_path / "events.parquet"
    write_parquet(make_events(2), path)
    table = pq.read_table(path)
    for name in ("pt", "eta", "phi", "E", "kind"):
        padded = pa.array([[*row, 0] for row in table[name].to_pylist()], table[name].type)
        table = table.set_column(table.column_names.index(name), name, padded)
    pq.write_table(table, path)
    events = read(path)
    assert events.particles.pt.tolist() == make_events(2).particles.pt.tolist()
    assert events.provenance["files"][0]["padded"] == 2
    show(inspect(events))
    assert "2 padded entries" in "".join(capsys.readouterr().out.split("\n")).replace("  ", " ")


def test_tables_in_mev_are_noticed(tmp_path):
    path = table(tmp_path / "events.parquet", [[(20e3, 0.0, 0.0)], [(60e3, 0.0, 0.0)]])
    with pytest.raises(
        EventError, match=r"row 1: wrong unit: an object with pT 60000.*`unit: MeV` under `data.mapping`"
    ):
        read(path, mapping=mapping(), tolerant=True)  # no row is to blame
    for events in (read(path, mapping=mapping(unit="MeV")), read(path, mapping=mapping(), unit="MeV")):
        assert events.particles.pt.tolist() == [[20.0], [60.0]]
    with pytest.raises(EventError, match=r"unit: GeV, but data.unit"):
        read(path, mapping=mapping(unit="GeV"), unit="MeV")
    own = make_events(3)
    write_parquet(own[:0], tmp_path / "own.parquet")
    with pytest.raises(EventError, match="in GeV by its layout"):
        read(tmp_path / "own.parquet", unit="MeV")


@pytest.mark.parametrize("name", ["jets.h5", "jets.npz", "jets.root"])
def test_jets_in_mev_are_noticed_and_read_when_named(tmp_path, name):
    writer = {"jets.h5": top_tagging, "jets.npz": quark_gluon, "jets.root": jetclass}[name]
    writer(tmp_path / name)
    expected = read(tmp_path / name)
    scaled: dict[str, Any]
    if name == "jets.npz":
        scaled = {"X": quark_gluon(tmp_path / name)["X"] * [1000, 1, 1, 1]}
    elif name == "jets.root":
        particles = jetclass(tmp_path / name).particles
        columns = {"px": particles.px, "py": particles.py, "pz": particles.pz, "energy": particles.E}
        scaled = {f"part_{column}": values * 1000 for column, values in columns.items()} | {
            "jet_pt": np.full(9, 600e3, np.float32)
        }
    else:
        momenta = top_tagging(tmp_path / name)["momenta"] * 1000
        scaled = {
            f"{column}_{slot}": momenta[:, slot, at].astype(np.float32)
            for slot in range(20)
            for at, column in enumerate(("PX", "PY", "PZ", "E"))
        }
    writer(tmp_path / name, **scaled)
    with pytest.raises(EventError, match=r"wrong unit: .*; if the file is in MeV, read it with --unit MeV"):
        read(tmp_path / name)
    jets = read(tmp_path / name, unit="MeV")
    for column in ("pt", "E"):
        values, wanted = (np.concatenate(events.particles[column].tolist()) for events in (jets, expected))
        np.testing.assert_allclose(values, wanted, rtol=1e-4)
    np.testing.assert_allclose(jets.context.jet_pt, expected.context.jet_pt, rtol=1e-4)


def test_tolerance_leaves_out_bad_rows_and_counts_them(tmp_path):
    jets: Any = [[(50.0 + row, 0.0, 0.0)] for row in range(6)]
    jets[1] = [(50.0, 0.0, 170.0)]
    jets[2] = [(0.0, 0.0, 0.0), (50.0, 0.0, 0.0)]
    weights = pa.array([1.0, 1.0, 1.0, np.nan, 1.0, 1.0])
    path = table(tmp_path / "events.parquet", jets, w=weights, id=[0, 1, 2, 3, 4, 4])
    described = mapping(weight="w", number="id")
    events = read(path, mapping=described, tolerant=True)
    assert events.number.tolist() == [0, 4]
    assert events.particles.pt.tolist() == [[50.0], [54.0]]
    assert events.provenance["files"][0]["skipped"] == 4
    assert inspect(events).problems == [f"4 bad rows left out of {path}"]
    with pytest.raises(EventError, match="column 'id' holds string"):
        read(table(path, jets, w=weights, id=list("abcdef")), mapping=described, tolerant=True)
    bad = table(path, [[(50.0, 0.0, 170.0)]])
    with pytest.raises(EventError, match="has no events: all 1 rows are bad"):
        read(bad, mapping=mapping(), tolerant=True)


def test_tolerance_leaves_out_bad_rows_of_the_own_layout(tmp_path):
    events = make_events(4)
    kinds: Any = events.particles.kind.tolist()
    kinds[1] = kinds[1][:-1]  # a list that is too short
    kinds[2][0] = None
    changed(tmp_path / "own.parquet", "kind", lists(kinds, pa.int8()))
    kept = read(tmp_path / "own.parquet", tolerant=True)
    assert kept.number.tolist() == [0, 3]
    assert kept.particles.pt.tolist() == [events.particles.pt.tolist()[row] for row in (0, 3)]
    record = kept.provenance["files"][0]
    assert [record[name] for name in ("events", "skipped", "padded")] == [2, 2, 0]


def test_tolerance_leaves_out_bad_jets(tmp_path):
    labels = {"is_signal_new": np.where(np.arange(12) == 2, 2, np.arange(12) % 2)}
    energy = np.where(np.arange(12) == 5, np.nan, 1e4)
    top_tagging(tmp_path / "jets.h5", labels=labels, E_0=energy)
    x = quark_gluon(tmp_path / "jets.npz")["X"]
    x[3, 0, 3], x[4, 0, 3], x[5, 0, 0] = 17, -1.9, np.nan
    quark_gluon(tmp_path / "jets.npz", X=x)
    jetclass(tmp_path / "jets.root", label_QCD=np.ones(9, np.int32))
    wanted: dict[str, tuple[list[int], int]] = {
        "jets.h5": ([0, 1, 3, 4, *range(6, 12)], 2),
        "jets.npz": ([0, 1, 2, *range(6, 10)], 3),
        "jets.root": ([1, 4, 7], 6),  # the others have two labels
    }
    for name, (rows, skipped) in wanted.items():
        events = read(tmp_path / name, tolerant=True)
        assert (events.number & 0xFFFFFFFF).tolist() == rows, name
        assert events.provenance["files"][0]["skipped"] == skipped


def test_tables_of_nested_records_and_names_in_bytes_are_read(tmp_path):
    rows: Any = {
        "Jet": [[{"pt": 50.0, "eta": 0.1, "phi": 1.0}], []],
        "Electron": [[], [{"pt": 30.0, "eta": 0.2, "phi": 2.0, "charge": -1}]],
        "MET": [{"pt": 20.0, "phi": 1.0}, {"pt": 30.0, "phi": 2.0}],
        "sample": [b"ttH", "tt̄".encode()],
    }
    pq.write_table(pa.table(rows), tmp_path / "nested.parquet")

    def described(dot: str) -> Mapping:
        jet, electron = ({name: f"{kind}{dot}{name}" for name in ("pt", "eta", "phi")} for kind in ("Jet", "Electron"))
        objects = {"jet": jet, "electron": electron | {"charge": f"Electron{dot}charge"}}
        content = {"objects": objects, "MET": f"MET{dot}pt", "phi_MET": f"MET{dot}phi", "process": "sample"}
        return Mapping.model_validate(content)

    for dot in "._":
        events = read(tmp_path / "nested.parquet", mapping=described(dot))
        assert events.particles.kind.tolist() == [[JET], [ELECTRON]]
        assert events.context.MET.tolist() == [20.0, 30.0]
        assert events.process.tolist() == ["ttH", "tt̄"]
    with pytest.raises(EventError, match=r"has no column 'Jet-pt'; it has Jet.pt, Jet.eta"):
        read(tmp_path / "nested.parquet", mapping=described("-"))


@pytest.mark.parametrize("charge", [0.5, 0, -999, np.nan])
def test_leptons_with_other_charges_than_one_are_refused(tmp_path, charge):
    columns = {"pt": [[30.0, 20.0]], "eta": [[0.0, 0.0]], "phi": [[0.0, 1.0]], "met": [1.0], "phi_met": [0.0]}
    described = mapping({"electron": COLUMNS["jet"] | {"charge": "q"}})
    pq.write_table(pa.table(columns | {"q": [[1, -1]]}), tmp_path / "events.parquet")
    assert read(tmp_path / "events.parquet", mapping=described).particles.kind.tolist() == [[POSITRON, ELECTRON]]
    pq.write_table(pa.table(columns | {"q": [[1.0, charge]]}), tmp_path / "events.parquet")
    with pytest.raises(EventError, match=f"row 0: electron of charge {charge:g} in 'q'"):
        read(tmp_path / "events.parquet", mapping=described)


def test_columns_of_a_million_values_in_a_small_file_are_refused(tmp_path):
    """Run-length encoding: 300 MB of columns in a few kilobytes are no events."""
    n_rows = 8_000_000
    constant = pa.DictionaryArray.from_arrays(pa.array(np.zeros(n_rows, np.int32)), pa.array([1.0]))
    columns = dict.fromkeys(("met", "phi_met"), constant)
    pq.write_table(pa.table(columns | {"pt1": constant, "eta1": constant, "phi1": constant}), tmp_path / "x.parquet")
    with pytest.raises(EventError, match="its columns would take 320 MB"):
        read(tmp_path / "x.parquet", mapping=mapping(NUMBERED))
