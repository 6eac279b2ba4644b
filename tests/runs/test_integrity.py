"""Damage to what a run holds is an error or changes nothing; a folder that is replaced gets nothing of another run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from femtobarn.events import write_parquet
from femtobarn.experiments import experiment
from femtobarn.experiments.document import ConfigError
from femtobarn.experiments.experiment import Experiment
from femtobarn.runs import run
from femtobarn.runs.predictor import Predictor
from femtobarn.runs.pretrained import read_pretrained
from femtobarn.runs.trained_model import TreeModel
from femtobarn.tasks.classification.comparison import compare, load_run
from femtobarn.tasks.classification.scores import Scores
from femtobarn.training import checkpoint
from tests.support.fuzzing import N_MUTANTS, fuzz
from tests.support.sample import make_events

NETWORK: dict[str, Any] = {"name": "particlenet", "k": 4, "blocks": [[8, 8]], "fc": [8]}
TREES: dict[str, Any] = {"name": "bdt", "n_estimators": 3, "num_leaves": 4, "min_leaf_fraction": 0.05}
LEARNED = {"network": "weights.safetensors", "trees": "trees.txt"}
FILES = ("config.yaml", "meta.json", "metrics.json", "history.json", "predictions.parquet")


def configured(folder: Path, *overrides: str, model: dict[str, Any] = NETWORK) -> Experiment:
    plain = {
        "data": {"files": [str(folder / "events.parquet")]},
        "model": model,
        "task": {"signal": ["tttt"]},
        "training": {"epochs": 2, "batch_size": 64, "threads": 1},
        "evaluation": {"bootstrap": 10},
    }
    return experiment.load(plain, overrides)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A folder with events and a finished run of each kind."""
    folder: Path = tmp_path_factory.mktemp("runs")
    write_parquet(make_events(200, seed=3), folder / "events.parquet")
    for name, model in (("network", NETWORK), ("trees", TREES)):
        run.train(configured(folder, model=model), folder / name)
        run.evaluate(folder / name)
    return folder


def copy(data: Path, tmp_path: Path, name: str = "network") -> Path:
    return Path(shutil.copytree(data / name, tmp_path / "run"))


def loaded(folder: Path) -> list[Any]:
    """Everything that later steps take from a run, to be compared."""
    found = load_run(folder)
    trained = Predictor.load(folder)
    if isinstance(trained.model, TreeModel):
        assert trained.model.trees.booster is not None
        learned: Any = trained.model.trees.booster.model_to_string()
    else:
        learned = {name: value.tolist() for name, value in trained.network.state_dict().items()}
    evaluation = found.config["evaluation"]
    return [found.scores.checksum(), found.metrics, found.meta, found.history, learned, trained.metadata, evaluation]


def equal_to(before: Any) -> Callable[[Any, Any], None]:
    """Check for `fuzz`: what was read from a damaged file is what the sound one holds."""

    def check(result: Any, _: Any) -> None:
        assert result == before, "holds other numbers"

    return check


@pytest.mark.parametrize(
    "n_mutants", [pytest.param(25, id="few"), pytest.param(2000, id="many", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    ("kind", "file"),
    [("network", "weights.safetensors"), ("trees", "trees.txt"), *(("trees", name) for name in FILES[1:])],
)
def test_damaged_run_file_is_an_error_or_changes_nothing(data, tmp_path, kind, file, n_mutants):
    folder = copy(data, tmp_path, kind)
    before, content = loaded(folder), (folder / file).read_bytes()
    result = fuzz(
        lambda path: loaded(path.parent),
        content,
        folder / file,
        n_mutants,
        errors=(ValueError,),
        check=equal_to(before),
    )
    assert result.n_refused > 0.8 * n_mutants


@pytest.mark.parametrize("n_mutants", N_MUTANTS)
def test_damaged_scores_alone_are_an_error_or_change_nothing(data, tmp_path, n_mutants):
    path = data / "network" / "predictions.parquet"
    fuzz(
        lambda path: Scores.read(path).checksum(),
        path.read_bytes(),
        tmp_path / "predictions.parquet",
        n_mutants,
        errors=(ValueError,),
        check=equal_to(Scores.read(path).checksum()),
    )


def test_scores_have_page_checksums_that_are_verified(data, tmp_path):
    """Without its own checksum the file still has those of its pages: some flips are silent where these are off."""
    scores = Scores.read(data / "network" / "predictions.parquet")
    table = pq.read_table(data / "network" / "predictions.parquet")
    about = json.loads(table.schema.metadata[b"femtobarn"])
    del about["sha256"]
    path = tmp_path / "predictions.parquet"
    written = table.replace_schema_metadata({b"femtobarn": json.dumps(about).encode()})
    pq.write_table(written, path, compression="zstd", write_page_checksum=True)
    assert Scores.read(path).checksum() == scores.checksum()  # as an earlier version wrote it
    content = path.read_bytes()
    column = pq.ParquetFile(path).metadata.row_group(0).column(table.column_names.index("score"))
    end = (column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size
    n_silent = 0
    for back in range(1, 40):
        changed = bytearray(content)
        changed[end - back] ^= 1
        path.write_bytes(changed)
        with pytest.raises(ValueError, match=r"predictions\.parquet"):
            Scores.read(path)
        try:
            pq.read_table(path)
            n_silent += 1
        except OSError:
            continue
    assert n_silent > 10
    scores.write(path)
    own = pq.ParquetFile(path).metadata.row_group(0).column(table.column_names.index("score"))
    changed = bytearray(path.read_bytes())
    changed[(own.dictionary_page_offset or own.data_page_offset) + own.total_compressed_size - 1] ^= 1
    path.write_bytes(changed)
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(path, page_checksum_verification=True)


def _absent(path: Path) -> None:
    path.unlink()


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _noise(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 4)


def _list(path: Path) -> None:
    path.write_bytes(b"[[1, 2]]")


@pytest.mark.parametrize("damage", [_absent, _empty, _folder, _noise, _list])
@pytest.mark.parametrize("checked", [True, False], ids=["checked", "old"])
def test_damaged_run_files_are_named_with_and_without_checksums(data, tmp_path, damage, checked):
    for kind, learned in LEARNED.items():
        for file in (*FILES, learned):
            folder = copy(data, tmp_path, kind)
            if not checked:
                older(folder)
            damage(folder / file)
            with pytest.raises(ValueError, match=rf"{file}|is no run folder|not finished") as caught:
                loaded(folder)
            assert type(caught.value) in (ValueError, ConfigError)
            shutil.rmtree(folder)


def older(folder: Path) -> None:
    """Makes a run what earlier versions wrote: without any checksum."""
    for name in ("meta.json", "metrics.json"):
        content = json.loads((folder / name).read_text())
        content.pop("checksums")
        content.pop("config_sha256", None)
        (folder / name).write_text(json.dumps(content))
    if (folder / "weights.safetensors").exists():
        save_file(load_file(folder / "weights.safetensors"), folder / "weights.safetensors")
    table = pq.read_table(folder / "predictions.parquet")
    about = json.loads(table.schema.metadata[b"femtobarn"])
    del about["sha256"]
    pq.write_table(
        table.replace_schema_metadata({b"femtobarn": json.dumps(about).encode()}), folder / "predictions.parquet"
    )


@pytest.mark.parametrize("kind", LEARNED)
def test_runs_of_earlier_versions_load_as_before(data, tmp_path, kind):
    before = loaded(data / kind)
    folder = copy(data, tmp_path, kind)
    older(folder)
    (folder / "predictions.parquet").rename(folder / "scores.parquet")
    (folder / "replicas.parquet").unlink()
    after = loaded(folder)
    for content in (before[2], before[5]):
        content.pop("config_sha256")
    assert after == before
    assert run.evaluate(folder) == load_run(data / kind).metrics


@pytest.mark.parametrize("damage", [_absent, _noise])
def test_damaged_replicas_are_named(data, tmp_path, damage):
    folder = copy(data, tmp_path)
    damage(folder / "replicas.parquet")
    with pytest.raises(ValueError, match=r"replicas\.parquet"):
        load_run(folder)


def test_stored_replicas_are_the_computed_ones(data):
    stored = load_run(data / "network")
    assert stored.replicas is not None
    computed = replace(stored, replicas=None)
    first, second = (compare([each]).rows[0] for each in (stored, computed))
    assert first.measurements == second.measurements
    for metric, values in first.replicas.items():
        np.testing.assert_array_equal(values, second.replicas[metric])


def test_config_that_was_changed_after_the_training_is_refused(data, tmp_path):
    folder = copy(data, tmp_path)
    text = (folder / "config.yaml").read_text()
    for old, new, message in (
        ("slots: 18", "slots: 12", r"config\.yaml was changed or damaged after the training"),
        ("classes: process", "classes: binary", r"config\.yaml was changed or damaged after the training"),
        ("bootstrap: 10", "bootstrap: 20", r"config\.yaml has another evaluation\.bootstrap than metrics\.json"),
    ):
        assert old in text
        (folder / "config.yaml").write_text(text.replace(old, new))
        for call in (load_run, run.evaluate):
            with pytest.raises(ValueError, match=message):
                call(folder)
    # where the events lie and how many threads there are is free
    moved = Path(shutil.copy(data / "events.parquet", tmp_path / "moved.parquet"))
    free = text.replace(str(data / "events.parquet"), str(moved)).replace("threads: 1", "threads: 2")
    (folder / "config.yaml").write_text(free)
    assert run.evaluate(folder) == load_run(folder).metrics


def test_files_of_another_run_are_refused(data, tmp_path):
    folder = copy(data, tmp_path)
    text = (folder / "meta.json").read_text()
    (folder / "meta.json").write_text(text.replace('"checksums"', '"checksumt"'))
    with pytest.raises(ValueError, match=r"meta\.json was changed or damaged"):
        load_run(folder)
    (folder / "meta.json").write_text(text)
    run.train(configured(data, "seed=2"), tmp_path / "other")
    run.evaluate(tmp_path / "other")
    for file in ("weights.safetensors", "predictions.parquet", "history.json", "meta.json", "metrics.json"):
        content = (folder / file).read_bytes()
        shutil.copy(tmp_path / "other" / file, folder / file)
        with pytest.raises(ValueError, match="was changed or damaged"):
            load_run(folder)
        (folder / file).write_bytes(content)
    load_run(folder)


def test_weights_of_another_shape_are_named(data, tmp_path):
    folder = copy(data, tmp_path)
    older(folder)
    path = folder / "weights.safetensors"
    whole = load_file(path)
    first = next(iter(whole))
    for weights, message in (
        ({name: value for name, value in whole.items() if name != first}, f"lacks {first}"),
        (whole | {first: whole[first][..., None]}, f"holds {first} as"),
        (whole | {first: whole[first].double()}, f"holds {first} as"),
        (whole | {"more": torch.ones(1)}, "holds more, which the network of the run lacks"),
    ):
        save_file(weights, path)
        with pytest.raises(ValueError, match=rf"weights\.safetensors {message}"):
            Predictor.load(folder)


def test_training_begins_with_no_damaged_weights(data, tmp_path):
    folder = copy(data, tmp_path)
    changed = bytearray((folder / "weights.safetensors").read_bytes())
    changed[-3] ^= 4
    (folder / "weights.safetensors").write_bytes(changed)
    (folder / "mine.safetensors").write_bytes(changed)  # whatever it is called
    for path in (folder, folder / "weights.safetensors", folder / "mine.safetensors"):
        with pytest.raises(ValueError, match=r"model\.init_from: .*was changed or damaged"):
            read_pretrained(path)


@pytest.mark.parametrize("n_mutants", N_MUTANTS)
def test_damaged_checkpoint_is_refused_and_named(tmp_path, n_mutants):
    path = tmp_path / "checkpoint.safetensors"
    facts = {"identity": {"seed": 1}, "history": [], "optimizer": {}}
    checkpoint.save(path, facts, network={"w": torch.arange(40.0), "n": torch.tensor(3)}, best={})

    def state(path: Path) -> list[Any]:
        found, groups = checkpoint.load(path)
        return [found, {name: value.tolist() for name, value in groups["network"].items()}]

    fuzz(state, path.read_bytes(), path, n_mutants, errors=(ValueError,), check=equal_to(state(path)))
    path.write_bytes(b"none")
    with pytest.raises(ValueError, match=r"checkpoint\.safetensors is no checkpoint .*; delete it to start anew"):
        checkpoint.load(path)
    save_file({"network/w": torch.ones(2)}, path, metadata={"femtobarn": json.dumps(facts)})
    assert checkpoint.load(path)[0] == facts  # of an earlier version


@pytest.mark.parametrize("model", [NETWORK, TREES], ids=["network", "trees"])
@pytest.mark.parametrize("moment", ["reading", "training"])
@pytest.mark.parametrize("again", [True, False], ids=["begun again", "deleted"])
def test_run_folder_that_is_replaced_gets_nothing_of_the_first_run(data, tmp_path, model, moment, again):
    folder = tmp_path / "run"
    second = configured(data, "seed=2", model=model)

    replaced: list[str] = []

    def replace(step: run.Step) -> None:
        if step.stage == moment and not replaced:
            replaced.append(step.stage)
            shutil.rmtree(folder)
            if again:
                run.train(second, folder)
                run.evaluate(folder)

    with pytest.raises(RuntimeError, match="was deleted, moved or replaced while this process worked in it"):
        run.train(configured(data, model=model), folder, progress=replace)
    if not again:
        assert not folder.exists() or not list(folder.iterdir())
        return
    assert load_run(folder).seed == 2
    fresh = run.train(second, tmp_path / "fresh")
    learned = LEARNED["network" if model is NETWORK else "trees"]
    assert (folder / learned).read_bytes() == (fresh / learned).read_bytes()
    assert not [path.name for path in folder.iterdir() if "partial" in path.name or "checkpoint" in path.name]


def test_judgement_is_not_written_into_a_folder_that_was_replaced(data, tmp_path):
    folder = copy(data, tmp_path)
    (folder / "metrics.json").unlink()

    def replace(step: run.Step) -> None:
        shutil.rmtree(folder)
        shutil.copytree(data / "trees", folder)

    with pytest.raises(RuntimeError, match="was deleted, moved or replaced while this process worked in it"):
        run.evaluate(folder, progress=replace)
    assert load_run(folder).meta["model"] == "bdt"


def test_finished_training_with_more_epochs_names_the_way_to_go_on(data, tmp_path):
    folder = copy(data, tmp_path)
    with pytest.raises(ValueError, match=rf"(?s)training\.epochs: 2 before, 5 now.*model\.init_from={folder} "):
        run.train(configured(data, "training.epochs=5"), folder)
    more = configured(data, f"model.init_from={folder}", "training.epochs=1")
    assert run.is_trained(run.train(more, tmp_path / "more"))
    with pytest.raises(ValueError, match="holds another experiment") as caught:
        run.train(configured(data, "training.epochs=1"), folder)
    assert "model.init_from" not in str(caught.value)
