"""How much of what is refused is said: each reason once, then its number once a minute."""

from __future__ import annotations

import pytest

from dosimeter.monitor.refusals import OTHERS, REASONS, Refusals

S = 10**9


class Clock:
    now_ns = 5_000 * S

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_each_reason_is_said_at_once_and_then_once_a_minute(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    refusals = Refusals(clock, "not counted")
    for second in range(180):
        refusals.add(f"t-0 offset {second}", "not JSON")
        if second == 10:
            refusals.add("t-1 offset 0", "no value")
        clock.now_ns += S
    refusals.tell()
    assert caplog.messages == [
        "t-0 offset 0 is not counted: not JSON",
        "t-1 offset 0 is not counted: no value",
        "59 more are not counted, the latest t-0 offset 59: not JSON",
        "60 more are not counted, the latest t-0 offset 119: not JSON",
        "60 more are not counted, the latest t-0 offset 179: not JSON",
    ]


def test_after_a_quiet_minute_the_next_is_said_at_once(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    refusals = Refusals(clock, "not counted")
    for offset in range(2):
        refusals.add(f"t-0 offset {offset}", "not JSON")
    for _ in range(2):
        clock.now_ns += 60 * S
        refusals.tell()
    refusals.add("t-0 offset 2", "not JSON")
    assert caplog.messages == [
        "t-0 offset 0 is not counted: not JSON",
        "1 more are not counted, the latest t-0 offset 1: not JSON",
        "t-0 offset 2 is not counted: not JSON",
    ]


def test_reasons_that_quote_what_came_do_not_make_a_line_each(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    refusals = Refusals(clock, "not counted")
    for number in range(1000):
        refusals.add(f"t-0 offset {number}", f"`{number}` " + "x" * 10_000)
    clock.now_ns += 60 * S
    refusals.tell()
    assert len(caplog.messages) == REASONS + 2
    assert max(map(len, caplog.messages)) < 500
    last = f"{1000 - REASONS - 1} more are not counted, the latest t-0 offset 999: {OTHERS}"
    assert caplog.messages[-1] == last


def test_a_clock_that_was_set_back_holds_nothing_up(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    refusals = Refusals(clock, "not counted")
    for offset in range(3):
        refusals.add(f"t-0 offset {offset}", "not JSON")
    clock.now_ns -= 3600 * S
    refusals.tell()
    assert caplog.messages[-1] == "2 more are not counted, the latest t-0 offset 2: not JSON"


def test_a_defect_of_ours_is_said_once_with_where_it_arose(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    refusals = Refusals(clock, "cut off")
    for pid in range(5):
        refusals.add(f"pid {pid}", "KeyError: a", KeyError("a"))
    clock.now_ns += 60 * S
    refusals.tell()
    first, more = caplog.records
    assert (first.levelname, first.getMessage()) == ("ERROR", "pid 0 is cut off: KeyError: a")
    assert "KeyError: 'a'" in str(first.exc_text or caplog.text)
    assert more.getMessage() == "4 more are cut off, the latest pid 4: KeyError: a"
    assert more.exc_info is None


def test_what_is_quoted_does_nothing_to_a_terminal(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    Refusals(clock, "refused").add("record \n1", "\x1b[2J" * 1000)
    (said,) = caplog.messages
    assert said.isprintable()
    assert said.startswith(r"record \n1 is refused: \x1b[2J")
