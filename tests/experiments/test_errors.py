"""Errors of files, settings and machines end in words with an exit code, and a stop in a clean end."""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from typer.testing import CliRunner

from femtobarn.cli.common import Terminated, complaints
from femtobarn.experiments import experiment
from femtobarn.experiments.document import ConfigError, Mistake
from femtobarn.experiments.errors import describe_error
from femtobarn.studies import workers
from femtobarn.studies.study import PlannedRun
from tests.experiments.test_experiment import PLAIN


def fail(error: BaseException) -> tuple[int, str]:
    """Exit code and words of a verb that raises this."""
    verb = typer.Typer()

    @verb.command()
    def raise_it() -> None:
        with complaints():
            raise error

    result = CliRunner().invoke(verb, [], env={"COLUMNS": "200"})
    assert "Traceback" not in result.stdout + result.stderr
    return result.exit_code, result.stderr


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConfigError("a.yaml", [Mistake("seed", "[/x] is wrong")]), "seed: [/x] is wrong"),
        (FloatingPointError("training loss is nan in epoch 2"), "training loss is nan in epoch 2"),
        (MemoryError(), "not enough memory; lower training.batch_size"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "lower training.batch_size"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
            "not enough memory",
        ),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "not enough memory"),
        (RecursionError("maximum recursion depth exceeded"), "nested too deeply"),
        (
            OSError(errno.ENOSPC, "No space left on device", "run/x"),
            "run/x: no space left on the disk; free some space",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "no space left on the disk; free some space"),
        (OSError(errno.EMFILE, "Too many open files", "x"), "x: too many open files; raise the limit"),
        (PermissionError(errno.EACCES, "Permission denied", "x.csv"), "x.csv: permission denied"),
        (FileNotFoundError("no file matches 'x'"), "no file matches 'x'"),
        (json.JSONDecodeError("Expecting value", "", 0), "a JSON file is damaged: Expecting value"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "a text is not in UTF-8"),
        (zlib.error("invalid block type"), "a file is damaged or has an unsupported format: invalid block type"),
        (struct.error("unpack requires 4 bytes"), "a file is damaged"),
        (EOFError("Compressed file ended"), "a file is truncated: Compressed file ended"),
        (ModuleNotFoundError("No module named 'h5py'"), "No module named 'h5py'"),
        (ValueError("x" * 100_000), "xxx"),
    ],
)
def test_known_errors_have_words_and_end_with_2(error, words):
    code, said = fail(error)
    assert code == 2
    assert said.startswith("error: ")
    assert words in said
    assert len(said) < 30_000


def test_unforeseen_errors_say_whose_fault_they_are_and_keep_the_traceback(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code, said = fail(KeyError("yields[/x]"))
    assert code == 1
    assert "error: internal error of femtobarn: KeyError: 'yields[/x]'; please report it" in said
    (file,) = tmp_path.glob("femtobarn-*.txt")
    assert str(file) in said
    assert "Traceback" in file.read_text(encoding="utf-8")
    assert describe_error(KeyError("x")) is None


@pytest.mark.parametrize(("stop", "code"), [(KeyboardInterrupt(), 130), (Terminated(), 143)])
def test_a_stop_says_how_to_go_on(stop, code):
    assert fail(stop) == (code, "stopped; run the same command to resume\n")


def test_a_reader_that_leaves_is_no_error():
    assert fail(BrokenPipeError(errno.EPIPE, "Broken pipe")) == (141, "")


def test_sigterm_ends_as_ctrl_c_does_and_a_closed_pipe_is_quiet():
    script = (
        "import os, signal, sys\n"
        "from femtobarn.cli import common\n"
        "@common.app.command()\n"
        "def wait() -> None:\n"
        "    with common.complaints():\n"
        "        try:\n"
        "            os.kill(os.getpid(), signal.SIGTERM)\n"
        "            signal.pause()\n"
        "        finally:\n"
        "            print('cleaned up')\n"
        "@common.app.command()\n"
        "def talk() -> None:\n"
        "    with common.complaints():\n"
        "        sys.stdin.read()\n"  # until the reader of the output is gone
        "        for _ in range(100_000):\n"
        "            common.out.print('a line')\n"
        "common.run()\n"
    )
    command = [sys.executable, "-c", script]
    ended = subprocess.run([*command, "wait"], capture_output=True, text=True, timeout=300)
    assert ended.returncode == 143
    assert ended.stdout == "cleaned up\n"
    assert ended.stderr == "stopped; run the same command to resume\n"
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen([*command, "talk"], **pipes, text=True) as talker:
        assert talker.stdin is not None
        assert talker.stdout is not None
        assert talker.stderr is not None
        talker.stdout.close()
        talker.stdin.close()
        assert talker.stderr.read() == ""
    assert talker.returncode == 141


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is full")
def test_a_full_disk_behind_the_output_is_told():
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "femtobarn", "--version"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=300,
        )
    assert ended.returncode == 2
    assert ended.stderr == "error: no space left on the disk; free some space, and run the same command again\n"


def planned(folder: Path, name: str) -> PlannedRun:
    return PlannedRun(name, 1, 1.0, folder, experiment.load({**PLAIN, "data": {"files": ["nowhere.parquet"]}}))


class Listener:
    """A watcher that keeps the reasons of failures."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def started(self, planned: PlannedRun) -> None:
        pass

    def stepped(self, planned: PlannedRun, step: Any) -> None:
        pass

    def finished(self, planned: PlannedRun) -> None:
        pass

    def failed(self, planned: PlannedRun, reason: str) -> None:
        self.reasons.append(reason)


def test_an_error_file_that_cannot_be_written_stops_no_study(tmp_path):
    """A folder in its place fails as a full disk does: with an OSError."""
    (tmp_path / "a" / "error.txt").mkdir(parents=True)
    runs = [planned(tmp_path / "a", "a"), planned(tmp_path / "b", "b")]
    outcome = workers.run_all(runs, watcher := Listener(), workers=1)
    assert list(outcome.failures) == ["a seed 1", "b seed 1"]
    assert "no file matches" in watcher.reasons[0]
    assert "(error.txt could not be written: " in watcher.reasons[0]
    assert "Traceback" in (tmp_path / "b" / "error.txt").read_text(encoding="utf-8")


def parent(theirs: Connection, target: Callable[[Connection], None]) -> None:
    """Starts a worker as a study does, and waits for ever."""
    get_context("spawn").Process(target=target, args=(theirs,), daemon=True).start()
    theirs.close()
    select.select([], [], [])


def test_workers_end_with_a_killed_parent_while_their_pipe_is_open(tmp_path):
    """This process keeps the other end of the worker's pipe, so that nothing but the parent's end tells it to go."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=parent, args=(theirs, workers._worker_main))
    process.start()
    theirs.close()
    run = planned(tmp_path / "run", "a")
    ours.send((experiment.dump(run.experiment), str(run.folder), False))
    while not isinstance(said := ours.recv(), workers.WorkerResult):  # the worker is there and at work
        pass
    assert "no file matches" in str(said.failure)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    assert ours.poll(120)
    with pytest.raises(EOFError):
        ours.recv()
