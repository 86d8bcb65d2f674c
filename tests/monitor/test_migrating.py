"""While an old ledger is brought up to date, whoever restarts the line is told that it works."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dosimeter.monitor.history.ledger import Ledger, LedgerTooNew
from dosimeter.monitor.history.records import LedgerRecord
from dosimeter.monitor.migrating import migrating
from tests.monitor.history.test_upkeep import version_1


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        found: int = free.getsockname()[1]
        return found


def asked(port: int, page: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{page}", timeout=2) as answer:
        body: bytes = answer.read()
        return body


def test_it_is_alive_and_says_what_it_does_until_the_ledger_is_open(
    tmp_path: Path, record_of: Callable[..., LedgerRecord], port: int
) -> None:
    """A pod was killed in the middle of it, again and again: each try began from the start."""
    path = tmp_path / "ledger.db"
    version_1(path, [replace(record_of(1), evidence=b"codes")])
    with migrating(path, "127.0.0.1", port):
        assert asked(port, "/livez") == b"ok\n"
        with pytest.raises(urllib.error.HTTPError) as caught:
            asked(port, "/readyz")
        with caught.value as not_ready:
            assert (not_ready.code, b"from version 1 to 2" in not_ready.read()) == (503, True)
        said = json.loads(asked(port, "/status"))["migrating"]
        assert said.startswith(f"{path} is brought from version 1 to 2: ")
        Ledger(path).close()
    with pytest.raises(urllib.error.URLError):
        asked(port, "/livez")


@pytest.mark.parametrize("there", [False, True])
def test_nothing_listens_where_nothing_is_to_be_done(
    tmp_path: Path, port: int, there: bool
) -> None:
    path = tmp_path / "ledger.db"
    if there:
        Ledger(path).close()
    with migrating(path, "127.0.0.1", port), pytest.raises(urllib.error.URLError):
        asked(port, "/livez")


def test_a_ledger_of_a_later_release_is_refused_as_ever(tmp_path: Path, port: int) -> None:
    path = tmp_path / "ledger.db"
    with Ledger(path) as ledger:
        ledger._db.execute("UPDATE meta SET value = '9' WHERE name = 'schema_version'")
    with pytest.raises(LedgerTooNew), migrating(path, "127.0.0.1", port):
        pass
