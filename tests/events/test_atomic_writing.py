"""Files are whole or not there, written through no link; a full disk is reported with the file."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

import femtobarn
from femtobarn.events.storage.atomic import atomic_write, atomic_write_bytes, partial_path, remove_leftovers
from femtobarn.runs import provenance


def test_partial_files_are_new_and_follow_no_links(tmp_path, monkeypatch):
    target, victim = tmp_path / "meta.json", tmp_path / "victim"
    victim.write_text("mine")
    for name in ("meta.json.partial", f".meta.json.{os.getpid()}.tmp"):
        (tmp_path / name).symlink_to(victim)
    provenance.atomic_write_text(target, "whole")
    assert target.read_text() == "whole"
    monkeypatch.setattr("secrets.token_hex", lambda count: "0" * 2 * count)
    planted = partial_path(target)
    planted.symlink_to(victim)
    with pytest.raises(FileExistsError, match=r"meta\.json"):
        provenance.atomic_write_text(target, "other")
    assert victim.read_text() == "mine"
    assert target.read_text() == "whole"


def test_file_is_whole_or_not_there_whatever_ends_its_writing(tmp_path):
    target = tmp_path / "file"

    def write_half(failure: type[BaseException]) -> None:
        with atomic_write(target) as file:
            file.write(b"half")
            raise failure

    for failure in (KeyboardInterrupt, ValueError):
        with pytest.raises(failure):
            write_half(failure)
        assert not list(tmp_path.iterdir())
    atomic_write_bytes(target, b"old")

    def refuse() -> None:
        if len(list(tmp_path.iterdir())) == 2:  # the content stands beside it, complete
            raise RuntimeError

    with pytest.raises(RuntimeError):
        atomic_write_bytes(target, b"new", check=refuse)
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_full_disk_is_reported_with_the_file(tmp_path):
    with pytest.raises(OSError, match="No space left") as caught, atomic_write(tmp_path / "meta.json"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as `write` does, without a name
    assert caught.value.filename == str(tmp_path / "meta.json")
    with pytest.raises(FileNotFoundError) as missing, atomic_write(tmp_path / "none" / "meta.json"):
        pass
    assert missing.value.filename == str(tmp_path / "none" / "meta.json")


def test_leftovers_of_killed_processes_are_removed_and_others_kept(tmp_path):
    with subprocess.Popen(["true"]) as process:
        process.wait()
    alive = partial_path(Path("meta.json")).name
    dead = alive.replace(f"-{os.getpid()}-", f"-{process.pid}-")
    others = [alive, "data.partial", ".meta.json.partial", ".meta.json.elsewhere-1-000000000000.partial"]
    for name in (dead, *others):
        (tmp_path / name).write_text("")
    with provenance.folder_lock(tmp_path):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)
    (tmp_path / dead).mkdir()
    remove_leftovers(tmp_path)
    assert not (tmp_path / dead).exists()


def test_every_writer_uses_atomic_write():
    """No module of the package replaces or opens a partial file by itself."""
    root = Path(femtobarn.__file__).parent
    texts = {str(path.relative_to(root)): path.read_text(encoding="utf-8") for path in root.rglob("*.py")}
    assert {path for path, text in texts.items() if "os.replace(" in text or '.partial"' in text} == {
        "events/storage/atomic.py"
    }
