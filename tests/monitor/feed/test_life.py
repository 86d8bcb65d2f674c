"""Whether a ledger is being written, as its lock tells."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dosimeter.monitor.feed import life
from dosimeter.monitor.history.lock import WriterLock


def test_a_ledger_is_written_while_its_lock_is_held(path: Path) -> None:
    assert not life.written(path)
    lock = WriterLock(path)
    assert life.written(path)
    lock.close()
    assert not life.written(path)


def test_asking_leaves_the_lock_to_the_next_writer(path: Path) -> None:
    WriterLock(path).close()
    assert not life.written(path)
    WriterLock(path).close()


def test_of_a_lock_that_may_not_be_asked_nothing_is_known(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refused)
    assert life.written(path) is None


def test_each_life_has_a_beginning_of_its_own(path: Path) -> None:
    assert life.started_ns(path) == 0
    WriterLock(path).close()
    os.utime(f"{path}.lock", ns=(5, 5))
    assert life.started_ns(path) == 5
    WriterLock(path).close()
    assert life.started_ns(path) > 5
