"""The writer's lock: one holder, whatever the disk has against the note of who it is."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from dosimeter.monitor.history.lock import AlreadyWriting, WriterLock


def test_a_second_writer_is_told_who_the_first_is(tmp_path: Path) -> None:
    lock = WriterLock(tmp_path / "file")
    with pytest.raises(AlreadyWriting, match=f"written by process `{os.getpid()}`"):
        WriterLock(tmp_path / "file")
    lock.close()
    WriterLock(tmp_path / "file").close()


def test_a_full_disk_leaves_no_lock_that_nobody_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who was refused, and tries again when there is room, had found the lock taken by himself."""

    def full(fd: int, data: bytes, at: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        lock = WriterLock(tmp_path / "file")
        with pytest.raises(AlreadyWriting, match="written by process `unknown`"):
            WriterLock(tmp_path / "file")
    lock.close()
    WriterLock(tmp_path / "file").close()
