"""Several processes under torchrun train to the weights of one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file
from torch import Tensor

from tests.models.test_contract import CASES
from tests.support.distributed_training import NOISY, STREAMED, fresh, in_memory, noisy, prepare, streamed

ROOT = Path(__file__).parents[2]


def torchrun(*command: str | Path, processes: int = 2) -> subprocess.CompletedProcess[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    return subprocess.run(
        [*start, "--master-addr", "127.0.0.1", "--master-port", str(port), *map(str, command)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def assert_same(folder: Path, name: str, alone: dict[str, Tensor]) -> None:
    """Compare the tensors that each process has written with those of a single one."""
    for rank in (0, 1):
        tensors = load_file(folder / f"{name}-{rank}.safetensors")
        if "read" in alone:
            assert tensors.pop("read") < alone["read"]  # its share, and row groups that belong to both
        assert set(tensors) == set(alone) - {"read"}
        for key, tensor in tensors.items():
            np.testing.assert_allclose(tensor, alone[key], rtol=1e-7, atol=1e-9, err_msg=f"{name} {key}")


def test_every_network_gets_the_weights_of_one_process(tmp_path):
    """With events without objects, uneven weights, a share of no event, clipping and an average of the weights.

    So does a task that draws noise, and asks for outputs and latent vectors of different batches.
    """
    done = torchrun("-m", "tests.support.distributed_training", tmp_path)
    assert done.returncode == 0, done.stderr
    for case in CASES:
        assert_same(tmp_path, "-".join(case), in_memory(fresh(case)))
    for case in NOISY:
        assert_same(tmp_path, "noisy-" + "-".join(case), noisy(fresh(case)))


def test_prepared_events_are_read_by_shares_and_trained_on_to_the_weights_of_one_process(tmp_path):
    """With shards and weights that are far from equal, and processes that are thinned, repeated and left out."""
    prepare(tmp_path / "prepared")
    done = torchrun("-m", "tests.support.distributed_training", tmp_path)
    assert done.returncode == 0, done.stderr
    for case in STREAMED:
        assert_same(tmp_path, "-".join(case), streamed(fresh(case), tmp_path / "prepared"))


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    path: Path = tmp_path_factory.mktemp("config") / "fcn.yaml"
    path.write_text(
        "data: {sample: four-top, fraction: 0.02}\ntask: {signal: [tttt]}\n"
        "model: {name: fcn, widths: [16], dropout: 0.0}\n"
        "training: {epochs: 2, optimizer: sgd, threads: 1, device: cpu}\n"
    )
    return path


def losses(folder: Path) -> list[float]:
    history = json.loads((folder / "history.json").read_text())
    return [epoch[name] for epoch in history for name in ("train_loss", "valid_loss")]


def test_the_command_says_everything_once_and_writes_one_run(config, tmp_path):
    done = torchrun("-m", "femtobarn", "train", config, "-o", tmp_path / "two")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("trained in") == 1
    alone = subprocess.run(
        [sys.executable, "-m", "femtobarn", "train", str(config), "-o", str(tmp_path / "one")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert alone.returncode == 0, alone.stderr
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)
    names = [sorted(path.name for path in (tmp_path / run).iterdir()) for run in ("one", "two")]
    assert names[0] == names[1]
    again = torchrun("-m", "femtobarn", "train", config, "-o", tmp_path / "two")
    assert again.returncode == 0, again.stderr


def test_a_folder_of_another_run_stops_all(config, tmp_path):
    (tmp_path / "history.json").write_text("[]")
    (tmp_path / "meta.json").write_text("{}")
    done = torchrun("-m", "femtobarn", "train", config, "-o", tmp_path)
    assert done.returncode != 0
    assert "holds files of a run, but no config.yaml" in done.stderr
