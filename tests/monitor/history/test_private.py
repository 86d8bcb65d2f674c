"""Labels and excerpts lie in these files: whoever else has an account on the machine cannot read them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from dosimeter.monitor.history.cursors import CursorStore
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.private import keep_from_others
from dosimeter.monitor.history.refused import Refused


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_what_a_sidecar_writes_is_closed_to_others(tmp_path: Path) -> None:
    """Until 2026-11-30 they were readable by every user, where nothing but the umask stood in the way."""
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.append(blobs={"0" * 64: b"x"})
        Refused.beside(tmp_path / "ledger.db").keep({"a": 1})
        with CursorStore(tmp_path / "deliver.db", ledger_id="0" * 32) as store:
            store.register(["kafka"])
            found = {path.name: mode(path) for path in tmp_path.iterdir()}
    assert {"ledger.db", "ledger.db-wal", "deliver.db", "refused.jsonl"} <= found.keys()
    assert {name for name, bits in found.items() if bits & 0o007} == set()
    Refused.beside(tmp_path / "ledger.db").erase({"b"})
    assert mode(tmp_path / "refused.jsonl") & 0o007 == 0


def test_a_file_of_an_earlier_release_is_closed_and_keeps_what_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with Ledger(path) as ledger:
        ledger.append(blobs={"0" * 64: b"x"})
    path.chmod(0o644)
    Ledger(path).close()
    assert mode(path) == 0o640
    path.chmod(0o600)
    keep_from_others(path)
    assert mode(path) == 0o600
