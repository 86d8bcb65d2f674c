"""What the history process does when something fails: it says so, and goes on."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest

from dosimeter.monitor.audit.keys import KeysError
from dosimeter.monitor.audit.service import Feed, History, _turn
from dosimeter.monitor.feed.items import Batch


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
