"""What the history process does when something fails: it says so, and goes on."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, cast

import pytest

from dosimeter.monitor.audit.service import Feed, FromLedger, History, _turn, run_history
from dosimeter.monitor.audit.store.keys import KeysError
from dosimeter.monitor.cli.main import main
from dosimeter.monitor.config import Config
from dosimeter.monitor.feed.items import Batch, FeedAway


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

    def rewind(self) -> None:
        self.asked.append("rewind")


@pytest.mark.parametrize(
    "error",
    [KeysError("keys.db: its write-ahead log is being read"), OSError(28, "No space left on device")],
)  # fmt: skip
def test_what_cannot_be_done_now_is_tried_again_and_ends_nothing(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    stop, given = threading.Event(), cast(Any, Given(error))
    stop.set()  # it does not wait
    assert _turn(cast(History, given), cast(Feed, given), stop)
    assert given.asked == ["rewind"]
    assert str(error) in caplog.text


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
    monkeypatch.setattr("dosimeter.monitor.service.stop_on_signals", lambda: threading.Event())
    assert main(["history", "--once", "--data-dir", str(tmp_path)]) == 3
    assert "no broker answers" in capsys.readouterr().err
