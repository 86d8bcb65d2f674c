"""What the history process does when something fails: it says so, and goes on."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import closing
from pathlib import Path
from typing import Any, cast
from unittest.mock import Mock

import pytest

from dosimeter.monitor.audit import service
from dosimeter.monitor.audit.feeds import Feed, FromLedger
from dosimeter.monitor.audit.people.access import Actor
from dosimeter.monitor.audit.service import History, _turn, run_history
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import HotStore
from dosimeter.monitor.audit.store.keeper import Keeper
from dosimeter.monitor.audit.store.keys import KeysError, KeyStore
from dosimeter.monitor.audit.store.sealing import Sealer
from dosimeter.monitor.cli.main import main
from dosimeter.monitor.config import Config
from dosimeter.monitor.config_history import HistoryConfig
from dosimeter.monitor.feed.items import Batch, FeedAway
from tests.monitor.audit.audit_scene import alert, evidence


class Given:
    """A feed and a history in one: what was asked of it."""

    def __init__(self, error: Exception) -> None:
        self.error, self.asked = error, list[str]()
        self.keeper = self.tidying = self

    def read(self) -> Batch:
        return Batch()

    def take(self, _: Batch) -> int:
        return 0

    def turn(self) -> bool:
        raise self.error

    def stall(self, error: Exception) -> float:
        self.asked.append(f"stall: {error}")
        return 31.0

    def rewind(self) -> None:
        self.asked.append("rewind")


@pytest.mark.parametrize(
    "error",
    [KeysError("keys.db: its write-ahead log is being read"), OSError(28, "No space left on device")],
)  # fmt: skip
def test_what_cannot_be_done_now_is_tried_again_and_ends_nothing(
    error: Exception,
) -> None:
    stop, given = threading.Event(), cast(Any, Given(error))
    stop.set()  # it does not wait
    assert _turn(cast(History, given), cast(Feed, given), stop)
    assert given.asked == [f"stall: {error}", "rewind"]
    with pytest.raises(type(error)):  # with `once` nobody waits for ever
        _turn(cast(History, given), cast(Feed, given), stop, wait=False)


def test_once_waits_for_its_anchors_as_long_as_for_its_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An authority that takes six seconds never got a checkpoint from a history that runs by the clock."""
    waited: list[float] = []
    monkeypatch.setattr(Keeper, "wait", lambda _, patience_s=5.0: waited.append(patience_s))
    run_history(Config(data_dir=tmp_path), threading.Event(), once=True)
    assert waited[0] == service.ONCE_S


def test_it_starts_beside_a_sealed_file_that_is_cut_though_an_erasure_is_to_be_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, settings = Config(data_dir=tmp_path), HistoryConfig()
    with closing(History(config, settings)) as history:
        history.take(Batch((alert(0, body=evidence(0)),), {"at": 1}))
        history.keeper.turn(now=True)
        size = history.hot.size
        segment = Sealer(history.hot, history.folder, grace_ns=0).seal(size, size)
        assert segment is not None
        stop = KeysError("keys.db: its write-ahead log is being read")
        monkeypatch.setattr(KeyStore, "destroy_all", Mock(side_effect=stop))
        operator = Actor("o", "operator")
        with pytest.raises(KeysError):
            history.eraser.erase("user", "acme", "user-0", actor=operator, reason="ticket 1")
    monkeypatch.undo()
    path = history.folder.core / segment.core
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    with closing(History(config, settings)) as history:
        assert len(history.eraser.unfinished()) == 1
    path.write_bytes(whole)
    with closing(History(config, settings)) as history:
        assert history.eraser.unfinished() == []


def test_once_through_a_feed_that_cannot_be_read_is_an_error_and_not_all_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """2026-11-30: without a broker it ended with "1 entries, all signed" and 0."""

    def away(_: FromLedger) -> Batch:
        raise FeedAway("topic `t` at `nowhere:1`: no broker answers")

    monkeypatch.setattr(FromLedger, "read", away)
    with pytest.raises(FeedAway):
        run_history(Config(data_dir=tmp_path), threading.Event(), once=True)
    monkeypatch.setattr("os.nice", lambda _: 0)
    monkeypatch.setattr("dosimeter.monitor.stopping.stop_on_signals", lambda: threading.Event())
    assert main(["history", "--once", "--data-dir", str(tmp_path)]) == 3
    assert "no broker answers" in capsys.readouterr().err


def test_a_disk_that_fails_is_said_once_and_shown_until_it_writes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One failed fsync ended all signing until the next start."""

    def refuse(opened: int) -> None:
        raise OSError(5, "Input/output error")

    now, stop = [1_800_000_000 * 10**9], threading.Event()
    stop.set()  # it does not wait
    config = Config(data_dir=tmp_path)
    history = History(config, HistoryConfig(), now_ns=lambda: now[0])
    feed = cast(Feed, Given(ValueError()))
    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", refuse)
        for _ in range(3):
            now[0] += 61 * 10**9
            _turn(history, feed, stop)
    said = history.status()
    assert (history.is_stalled, said["stalled_ns"]) == (True, now[0] - 2 * 61 * 10**9)
    assert "Input/output error" in said["stalled"]
    assert caplog.text.count("Input/output error") == 1
    _turn(history, feed, stop)
    assert (history.is_stalled, history.status()["stalled"]) == (False, None)
    assert history.status()["log"]["signed"] == 1
    history.close()


@pytest.mark.parametrize("name", ["hot.db", "keys.db"])
def test_a_store_that_cannot_be_opened_is_said_with_its_place(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "history" / name).mkdir(parents=True)
    monkeypatch.setattr("os.nice", lambda _: 0)
    monkeypatch.setattr("dosimeter.monitor.stopping.stop_on_signals", lambda: threading.Event())
    assert main(["history", "--once", "--data-dir", str(tmp_path)]) in (3, 4)
    error = capsys.readouterr().err
    assert f"{tmp_path}/history/{name}" in error
    assert "unable to open database file" in error


def test_a_certificate_that_is_not_there_is_said_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "sidecar.yaml"
    config.write_text(
        "version: 1\nhistory: {anchors: {timestamp: {url: 'http://127.0.0.1:1', certificate: tsa.pem}}}\n"
    )
    monkeypatch.setattr("os.nice", lambda _: 0)
    monkeypatch.setattr("dosimeter.monitor.stopping.stop_on_signals", lambda: threading.Event())
    assert main(["history", "--once", "--config", str(config), "--data-dir", str(tmp_path)]) == 3
    assert "tsa.pem" in capsys.readouterr().err


def kinds_in(root: Path) -> list[str]:
    with HotStore(HistoryFolder(root).hot, read_only=True) as hot:
        return [json.loads(leaf)["kind"] for _, leaf in hot.leaves(0, hot.size)]


def test_starts_that_nothing_comes_of_are_told_once_and_a_later_one_again(tmp_path: Path) -> None:
    """A process that cannot stay up wrote an entry at every start, every few seconds."""
    now = [1_800_000_000 * 10**9]
    config = Config(data_dir=tmp_path)
    for after_s in (0, 3, 5, 700):
        now[0] += after_s * 10**9
        History(config, HistoryConfig(), now_ns=lambda: now[0]).close()
    assert kinds_in(config.history_path) == ["restart", "restart"]


def test_history_is_kept_while_the_address_of_its_pages_is_taken_and_then_they_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port that somebody else had stopped the taking in, for pages came first."""
    monkeypatch.setattr(service, "PAGES_AGAIN_S", 0.0)
    stop, links, said = threading.Event(), list[str](), list[str]()

    def looked(history: History, *given: Any, **named: Any) -> bool:
        if taken.fileno() >= 0:
            said.append(history.status()["pages"])
            taken.close()
        elif links:
            stop.set()
        return _turn(history, *given, **named)

    monkeypatch.setattr(service, "_turn", looked)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = HistoryConfig(port=taken.getsockname()[1])
        config = Config(data_dir=tmp_path, history=settings)
        done = run_history(config, stop, ready=links.append)
    assert "address already in use" in said[0]
    assert len(links) == 1
    assert done["pages"] == "open"
