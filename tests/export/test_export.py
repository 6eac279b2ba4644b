"""An exported run end to end: the file, its proof, its card, and scores without torch."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import femtobarn
from femtobarn.cli import app
from femtobarn.events import EventError, read, stream, write, write_darkmachines, write_parquet
from femtobarn.experiments import experiment
from femtobarn.export import Columns, Scorer
from femtobarn.runs import run
from femtobarn.tasks.classification.scores import Scores
from tests.support.fuzzing import N_MUTANTS, fuzz
from tests.support.sample import make_events

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

import onnx

from femtobarn.export.checksum import PROPERTY, digest
from femtobarn.export.scorer import MAX_BATCH_SLOTS, batch_end
from femtobarn.export.synthetic import keep_particles, resize_slots, shuffle_particles, synthetic_events
from femtobarn.runs.export import ExportResult
from femtobarn.runs.export import export as export_run

SLOTS = 9

REFUSED = r"model\.onnx (is damaged|has no checksum|is no ONNX file|was not written)"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    file = tmp_path_factory.mktemp("data") / "events.parquet"
    write(make_events(400, seed=3), file)
    return file


def trained(data: Path, folder: Path, model: dict[str, object]) -> Path:
    tree = {
        "label": str(model["name"]).upper(),
        "data": {"files": [str(data)]},
        "inputs": {"slots": SLOTS},
        "model": model,
        "task": {"signal": ["tttt"]},
        "training": {"epochs": 1, "batch_size": 64, "threads": 1},
        "evaluation": {"bootstrap": 20},
    }
    done: Path = run.train(experiment.load(tree), folder)
    return done


@pytest.fixture(scope="module")
def folder(data, tmp_path_factory) -> Path:
    """A judged run of the smallest network."""
    made_here = trained(data, tmp_path_factory.mktemp("run"), {"name": "fcn", "widths": [16], "dropout": 0.0})
    run.evaluate(made_here)
    return made_here


@pytest.fixture(scope="module")
def exported(folder) -> ExportResult:
    return export_run(folder)


@pytest.fixture(scope="module")
def scorer(exported) -> Scorer:
    return Scorer.load(exported.model)


def call(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})
    assert result.exit_code == code, result.output
    return result.output


def test_the_file_says_what_the_run_says(folder, scorer):
    events = make_events(300, seed=8)
    expected = Scores.from_predictions(run.predict(folder, events))
    said = scorer.score(events)
    np.testing.assert_allclose(said["score"], expected.score, atol=2e-5, rtol=0)
    for name, column in expected.probabilities.items():
        np.testing.assert_allclose(said[f"probability_{name}"], column, atol=2e-5, rtol=0)
    assert said["score"].std() > 1e-3


def test_the_file_is_calibrated(folder, scorer):
    temperature = float(cast(Any, run.Predictor.load(folder).task).temperature)
    assert temperature != 1.0
    assert scorer.facts.temperature == temperature


def test_the_proof_covers_what_goes_wrong(exported):
    about = " ".join(result.description for result in exported.validation)
    for hostile in ("held-out", "without objects", "one object", f"more than {SLOTS}", "any order", "NaN", "alone"):
        assert hostile in about
    assert max(result.largest for result in exported.validation) < 1e-5


def test_nothing_is_left_where_the_proof_fails(folder, exported, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "femtobarn.runs.export.write", lambda graph, facts, path, **_: shutil.copy(exported.model, path)
    )
    with pytest.raises(ValueError, match="the file and PyTorch differ by"):
        export_run(folder, tmp_path / "model.onnx", tolerance=0.0)
    assert not list(tmp_path.iterdir())


def test_batches_of_like_multiplicity_score_as_all_at_once(scorer):
    columns = synthetic_events(500, 2 * SLOTS, np.random.default_rng(6), min_particles=0)
    columns.type[7] = 0  # no object at all
    mixed = shuffle_particles(columns, np.random.default_rng(7))
    for batched, whole in zip(scorer.predict(mixed), scorer.run(columns), strict=True):
        np.testing.assert_allclose(batched, whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("objects", [0, 1, 3, 200])
def test_batches_cover_events_once_and_fit_the_cache(objects):
    filled = np.sort(np.random.default_rng(1).integers(0, objects + 1, 1000))
    start, sizes = 0, []
    while start < len(filled):
        stop = batch_end(filled, start, slots=128)
        assert stop > start
        sizes.append((stop - start) * min(max(int(filled[stop - 1]), 1), 128))
        start = stop
    assert start == len(filled)
    assert max(sizes) <= MAX_BATCH_SLOTS


def test_softer_objects_than_the_slots_change_nothing(scorer):
    full = synthetic_events(50, SLOTS, np.random.default_rng(4), min_particles=SLOTS)
    more = resize_slots(full, SLOTS + 3)
    for name, value in (("pt", 5.0), ("eta", 0.3), ("phi", 1.0), ("E", 9.0), ("type", 2)):
        getattr(more, name)[:, SLOTS:] = value
    np.testing.assert_array_equal(scorer.run(more)[0], scorer.run(full)[0])
    more.pt[:, SLOTS], more.E[:, SLOTS] = 900.0, 950.0  # a hard one does
    assert (scorer.run(more)[0] != scorer.run(full)[0]).mean() > 0.9


def test_impossible_events_have_no_score_and_spoil_no_other(scorer):
    columns = synthetic_events(6, 5, np.random.default_rng(4), min_particles=5)
    right = scorer.run(columns)[0]
    columns.pt[0, 1] = np.nan
    columns.E[1, 0] = np.inf
    columns.type[2, 4] = 8
    columns.type[3, 4] = -1
    columns.MET[4] = np.nan
    score, probabilities = scorer.run(columns)
    assert np.isnan(score[:5]).all()
    assert np.isnan(probabilities[:5]).all()
    assert score[5] == right[5]


@pytest.mark.parametrize(("events", "objects"), [(0, 0), (0, 4), (1, 0), (1, 1), (3, 0), (2, 40)])
def test_any_number_of_events_and_objects(scorer, events, objects):
    columns = resize_slots(synthetic_events(events, 40, np.random.default_rng(4)), objects)
    score, probabilities = scorer.run(columns)
    assert score.shape == (events,)
    assert probabilities.shape == (events, 5)
    assert np.isfinite(score).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    if events and not objects:
        np.testing.assert_array_equal(score, scorer.run(keep_particles(resize_slots(columns, 3), 0))[0])


def test_the_file_does_not_tell_where_it_was_made(exported):
    content = exported.model.read_bytes()
    assert str(Path(femtobarn.__file__).parent).encode() not in content
    assert b"graph.py" not in content


def test_the_card_is_written_from_the_run(folder, exported, scorer):
    card = exported.card.read_text(encoding="utf-8")
    metrics = run.evaluate(folder)
    assert f"{metrics['auc']['total']['value']:.1f}" in card
    assert scorer.facts.weights in card
    assert scorer.facts.data in card
    assert f"{scorer.facts.temperature:.3f}" in card
    assert all(f"`{name}`" in card for name in (*Columns._fields, "score", "probabilities"))
    assert str(folder.parent) not in card


def test_the_lines_on_the_card_run(exported, monkeypatch, capsys):
    codes = re.findall(r"```python\n(.*?)```", exported.card.read_text(encoding="utf-8"), re.DOTALL)
    assert len(codes) == 2
    monkeypatch.chdir(exported.model.parent)
    names: dict[str, Any] = {}
    for code in codes:
        exec(code, names)
    assert 0 < float(names["score"][0]) < 1
    assert names["checksum"] == digest(exported.model.read_bytes())


def test_a_card_of_another_model_is_kept(exported, folder):
    with pytest.raises(ValueError, match=r"describes another file than other\.onnx"):
        export_run(folder, exported.model.parent / "other.onnx")


def test_trees_are_told_what_is_possible(data, tmp_path):
    trees = trained(data, tmp_path / "bdt", {"name": "bdt", "n_estimators": 3})
    said = call("export", trees, code=2)
    assert "only networks are exported" in said
    assert not (trees / "model.onnx").exists()
    output = tmp_path / "scores.parquet"
    call("score", data, trees, "-o", output)  # by LightGBM
    np.testing.assert_array_equal(
        Scores.read(output).score, Scores.from_predictions(run.predict(trees, read(data))).score
    )


def test_flat_tables_are_scored_by_a_mapping(exported, scorer, tmp_path):
    columns = synthetic_events(30, 6, np.random.default_rng(3), min_particles=6)
    table = {f"jet_{name}": list(getattr(columns, name).astype(float)) for name in ("pt", "eta", "phi")}
    table["jet_pt"] = [1000 * pt for pt in table["jet_pt"]]  # in MeV
    pq.write_table(
        pa.table(table | {"met": 1000.0 * columns.MET, "met_phi": columns.phi_MET}), tmp_path / "flat.parquet"
    )
    (tmp_path / "columns.yaml").write_text(
        "unit: MeV\nobjects:\n  jet: {pt: jet_pt, eta: jet_eta, phi: jet_phi}\n"
        "MET: met\nphi_MET: met_phi\nprocess_name: ttH\n"
    )
    output = tmp_path / "scores.parquet"
    call("score", tmp_path / "flat.parquet", exported.model, "--mapping", tmp_path / "columns.yaml", "-o", output)
    energy = columns.pt * np.cosh(columns.eta)
    expected, _ = scorer.predict(columns._replace(E=energy, type=np.full(energy.shape, 1)))
    scores = pq.read_table(output)
    np.testing.assert_allclose(scores["score"].to_numpy(), expected, rtol=0, atol=1e-6)
    assert set(scores["process"].to_pylist()) == {"ttH"}
    assert "mapping" in call("score", tmp_path / "flat.parquet", exported.model, "-o", output, code=2)


def test_run_folder_scores_files_as_its_exported_file(exported, data, folder, tmp_path):
    scores = []
    for model in (folder, exported.model):
        call("score", data, model, "-o", tmp_path / "scores.parquet")
        scores.append(Scores.read(tmp_path / "scores.parquet"))
    np.testing.assert_allclose(scores[0].score, scores[1].score, atol=2e-5, rtol=0)
    assert scores[0].signal == scores[1].signal
    assert "is no run folder" in call("score", data, tmp_path, "-o", tmp_path / "other.parquet", code=2)


def test_scores_are_made_without_torch(exported, data, folder, tmp_path):
    code = (
        "import sys; from femtobarn.cli import app; "
        "app(sys.argv[1:], standalone_mode=False); sys.exit('torch' in sys.modules)"
    )
    output = tmp_path / "scores.parquet"
    arguments = [sys.executable, "-c", code, "score", str(data), str(exported.model), "-o", str(output)]
    said = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    assert "tttt (signal)" in said.stdout
    events = read(data)
    found = Scores.read(output)  # the judge reads it
    expected = Scores.from_predictions(run.predict(folder, events))
    np.testing.assert_array_equal(found.number, events.number)
    np.testing.assert_array_equal(found.process, events.process)
    np.testing.assert_allclose(found.weight, events.weight)
    np.testing.assert_allclose(found.score, expected.score, atol=2e-5, rtol=0)
    assert found.probabilities.keys() == expected.probabilities.keys()


def test_text_and_parquet_score_alike(exported, tmp_path):
    events = make_events(50, seed=9)
    write_darkmachines(events, tmp_path / "a.csv.gz")
    write_parquet(events, tmp_path / "b.parquet")
    files = tmp_path / "a.csv.gz", tmp_path / "b.parquet"
    for file in files:
        call("score", file, exported.model, "-o", file.with_suffix(".scores"), "--luminosity", 200)
    first, second = (pq.read_table(file.with_suffix(".scores")) for file in files)
    assert first["score"].to_pylist() == second["score"].to_pylist()
    # a text does not say its luminosity, a Parquet file does
    np.testing.assert_allclose(second["weight"].to_numpy(), 2 * first["weight"].to_numpy())


def test_overfull_events_are_counted(exported, tmp_path):
    events = make_events(50, seed=9)
    write(events, tmp_path / "events.parquet")
    overfull = int((np.array([len(one) for one in events.particles]) > SLOTS).sum())
    assert 0 < overfull < 50
    said = call("score", tmp_path / "events.parquet", exported.model, "-o", tmp_path / "scores.parquet")
    assert f"{overfull} events have more than the {SLOTS} objects" in said


def test_one_flipped_bit_anywhere_is_noticed(exported, tmp_path):
    content, file = exported.model.read_bytes(), tmp_path / "model.onnx"
    stated = PROPERTY.search(content)
    assert stated
    bits = [np.random.default_rng(1).integers(0, 8 * len(content), 300)]
    for mark in (b"femtobarn", b"sha256", b"layout", stated[2]):  # where a file could be taken for one of another kind
        start = 8 * content.index(mark)
        bits.append(np.arange(start, start + 8 * len(mark)))
    for bit in np.concatenate(bits).tolist():
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=REFUSED):
            Scorer.load(file)


@pytest.mark.parametrize("n_mutants", N_MUTANTS)
def test_damaged_files_are_refused(exported, tmp_path, n_mutants):
    original = exported.model.read_bytes()

    def load(path: Path) -> bytes:
        Scorer.load(path)
        return path.read_bytes()

    def check(content: bytes, mutant: bytes) -> None:
        assert content == original

    fuzz(load, original, tmp_path / "model.onnx", n_mutants, errors=(ValueError,), check=check)


def test_checksum_is_that_of_the_bytes_with_its_own_digits_blanked(exported, scorer):
    content = exported.model.read_bytes()
    stated = onnx.load(exported.model).metadata_props
    (checksum,) = (entry.value for entry in stated if entry.key == "sha256")
    before, after = content.split(checksum.encode())
    assert hashlib.sha256(before + b"0" * 64 + after).hexdigest() == checksum == digest(content)
    assert checksum in exported.card.read_text(encoding="utf-8")


def test_wrong_files_are_named(exported, data, tmp_path):
    (tmp_path / "text.onnx").write_text("no model")
    assert "is no ONNX file" in call("score", data, tmp_path / "text.onnx", code=2)
    assert "no model file" in call("score", data, tmp_path / "none.onnx", code=2)
    shape = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    other = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "g", [shape], [other])
    opset = [onnx.helper.make_opsetid("", 18)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=10), tmp_path / "foreign.onnx")
    assert "was not written by `femtobarn export`" in call("score", data, tmp_path / "foreign.onnx", code=2)
    events = tmp_path / "gev.csv"
    write_darkmachines(make_events(20), events, unit="GeV")
    output = tmp_path / "scores.parquet"
    assert "wrong unit" in call("score", events, exported.model, "-o", output, code=2)
    assert not output.exists()
    content = exported.model.read_bytes()
    (tmp_path / "cut.onnx").write_bytes(content[:-100])
    assert "cut.onnx is no ONNX file that can be run" in call("score", data, tmp_path / "cut.onnx", code=2)
    (tmp_path / "changed.onnx").write_bytes(content[:1000] + b"\0" + content[1001:])
    assert "is damaged or was changed: its SHA-256" in call("score", data, tmp_path / "changed.onnx", code=2)
    (tmp_path / "old.onnx").write_bytes(content.replace(b"sha256", b"sha255"))
    assert "has no checksum" in call("score", data, tmp_path / "old.onnx", code=2)
    call("score", events, exported.model, "-o", output, "--unit", "GeV")
    assert output.exists()


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".csv.gz"])
def test_files_in_pieces_are_the_same_events(suffix, tmp_path):
    events = make_events(95, seed=1)
    file = tmp_path / f"events{suffix}"
    write(events, file)
    pieces = [piece for _, piece in stream(file, size=20)]
    assert [len(piece) for piece in pieces] == [20, 20, 20, 20, 15]
    whole = read(file)
    assert np.concatenate([piece.number for piece in pieces]).tolist() == whole.number.tolist()
    for name in ("pt", "kind"):
        told = [value for piece in pieces for value in piece.particles[name].tolist()]
        assert told == whole.particles[name].tolist()


def test_mistakes_in_later_pieces_are_where_they_are_in_the_file(tmp_path):
    events = make_events(60, seed=1)
    weight = events.weight.copy()
    weight[45] = np.nan
    write_parquet(replace(events, weight=weight), tmp_path / "events.parquet")
    with pytest.raises(EventError, match=r"events.parquet, row 45: weight is NaN"):
        list(stream(tmp_path / "events.parquet", size=20))


def test_a_study_exports_its_networks(data, folder, exported, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "femtobarn.runs.export.write", lambda graph, facts, path, **_: shutil.copy(exported.model, path)
    )
    shutil.copytree(folder, tmp_path / "fcn", ignore=shutil.ignore_patterns("model.onnx", "MODEL.md"))
    trained(data, tmp_path / "bdt", {"name": "bdt", "n_estimators": 3})
    said = call("export", tmp_path)
    assert "boosted trees are not exported" in said
    assert (tmp_path / "fcn" / "model.onnx").is_file()
    assert (tmp_path / "fcn" / "MODEL.md").is_file()
    assert not (tmp_path / "bdt" / "model.onnx").exists()
    assert "--output is for one run" in call("export", tmp_path, "-o", tmp_path / "one.onnx", code=2)
