"""Who does not answer is left in peace, and tried again with one question."""

from __future__ import annotations

from dosimeter.monitor.confirm.breaker import Breaker


def broken() -> Breaker:
    """Unanswered five times in a row, at second 100."""
    breaker = Breaker()
    for _ in range(5):
        assert breaker.asks(100.0)
        breaker.note(False, 100.0)
    return breaker


def test_four_unanswered_in_a_row_change_nothing_and_an_answer_begins_anew() -> None:
    breaker = Breaker()
    for answered in (False, False, False, False, True, False, False, False, False):
        breaker.note(answered, 1.0)
        assert breaker.asks(1.0)


def test_after_five_nobody_is_asked_for_thirty_seconds_and_then_one_is() -> None:
    breaker = broken()
    assert not breaker.asks(129.9)
    assert breaker.asks(130.0)
    assert not breaker.asks(130.1)  # that one is being asked


def test_its_answer_decides() -> None:
    answered, silent = broken(), broken()
    assert answered.asks(130.0)
    assert silent.asks(130.0)
    answered.note(True, 132.0)
    silent.note(False, 132.0)
    assert answered.asks(132.0)
    assert answered.asks(132.0)
    assert not silent.asks(161.9)
    assert silent.asks(162.0)
