"""One process at a time; a look takes no lock, and a lock whose file was removed is none."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from unlearnctl.utils.lock import is_locked, lock_file, made_once


def test_a_lock_is_held_until_its_file_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    path.write_text("kept")
    with lock_file(path) as held, path.open() as looking:
        assert held.seek(0) == 0
        assert held.read() == "kept"
        assert is_locked(looking.fileno())
        with pytest.raises(BlockingIOError):
            lock_file(path)
    with path.open() as looking:
        assert not is_locked(looking.fileno())
        lock_file(path).close()  # the look has left no lock behind


def test_who_waits_gets_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    held = lock_file(path)
    threading.Timer(0.05, held.close).start()
    lock_file(path, wait=True).close()
    assert held.closed


def test_a_removed_file_is_made_and_locked_again(tmp_path: Path) -> None:
    """The holder removes its file and lets go while another process waits: the other must not lock a ghost."""
    path = tmp_path / "x.lock"
    held = lock_file(path)

    def remove() -> None:
        path.unlink()
        held.close()

    threading.Timer(0.05, remove).start()
    with lock_file(path, wait=True), path.open() as looking:
        assert is_locked(looking.fileno())


def test_a_folder_is_made_once_and_whole(tmp_path: Path) -> None:
    made: list[Path] = []
    folder = tmp_path / "cache/folder"

    def fails(draft: Path) -> None:
        (draft / "half").write_text("")
        raise OSError("disk full")

    def make(draft: Path) -> None:
        assert not list(draft.iterdir())  # nothing is left of the failed draft
        made.append(draft)

    with pytest.raises(OSError, match="disk full"):
        made_once(folder, fails, "making")
    assert not folder.exists()
    for _ in range(2):
        made_once(folder, make, "making")
    assert len(made) == 1
    assert folder.is_dir()
