"""Requests put together from the records of many frames are what they were, however the stream was cut."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from score_traffic import EPOCH, NOON_NS, Traffic, bank_of, chunk_bytes, traffic

from dosimeter.detectors.frames import SEGMENTS
from dosimeter.monitor.history.assembly import PIECE_ROWS, STALE_NS, Assembly, Request
from dosimeter.monitor.history.chunk import Bank, Ended, Lost, Opened, ProgramText, Record, Rows
from dosimeter.monitor.history.chunk_reader import parse_chunk

MADE = traffic(25, seed=3)
TEXT = ProgramText(MADE.program.canonical)


def opened(key: int, bank: Bank | None = None, time_ns: int = NOON_NS) -> list[Record]:
    bank = bank or bank_of()
    return [bank, TEXT, Opened(EPOCH, key, bank.digest, TEXT.digest, time_ns)]


def rows(key: int, start: int, tokens: int, columns: int = 2, time_ns: int = NOON_NS) -> Rows:
    codes = np.arange(start, start + tokens, dtype=np.int16)[:, None] + np.zeros(columns, np.int16)
    return Rows(EPOCH, time_ns, np.array([(key, start, tokens, 3)], SEGMENTS), codes)


def ended(key: int) -> Ended:
    return Ended(EPOCH, key, True, NOON_NS, None)


def runs(request: Request) -> list[tuple[int, int, int]]:
    return [(int(s["start"]), int(s["n"]), int(s["scope"])) for s in request.segments]


def check(found: list[Request], made: Traffic, *, whole: bool = True) -> None:
    assert sorted(request.key for request in found) == sorted(made.truth)
    for request in found:
        truth = made.truth[request.key]
        assert request.whole is whole
        assert (request.codes == truth.codes).all()
        assert runs(request) == truth.runs
        assert [fired.position for fired in request.fired] == truth.fired
        assert request.ended is not None
        assert request.ended.served == len(truth.codes)


def test_requests_that_ran_together_come_apart_to_the_bit() -> None:
    assembly = Assembly()
    check(assembly.take(MADE.records), MADE)
    assert not assembly.open
    assert not +assembly.counts


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, len(MADE.records)), max_size=4))
def test_what_is_open_between_two_chunks_survives_being_written_down(cuts: list[int]) -> None:
    """As the archive does it: each chunk in another process, which knows the carry alone."""
    bounds = [0, *sorted(cuts), len(MADE.records)]
    found: list[Request] = []
    carry: list[Record] = []
    for low, high in pairwise(bounds):
        assembly = Assembly()
        assembly.take(parse_chunk(chunk_bytes(carry), "carry").records)
        found += assembly.take([bank_of(), TEXT, *MADE.records[low:high]])
        carry = list(assembly.records())
        assert not +assembly.counts
    check(found, MADE)


def test_first_and_last_time_and_pieces_of_a_long_request_survive_too() -> None:
    first = Assembly()
    first.take([*opened(1), rows(1, 3, PIECE_ROWS, time_ns=NOON_NS + 1)])
    first.take([rows(1, PIECE_ROWS + 9, 5, time_ns=NOON_NS + 2)])
    second = Assembly()
    second.take(first.records())
    (request,) = second.take([ended(1)])
    assert (request.first_ns, request.last_ns) == (NOON_NS + 1, NOON_NS + 2)
    assert runs(request) == [(3, PIECE_ROWS, 3), (PIECE_ROWS + 9, 5, 3)]
    assert len(request.codes) == PIECE_ROWS + 5


def test_tokens_of_nobody_are_counted_and_so_are_those_of_another_width() -> None:
    assembly = Assembly()
    assembly.take([rows(7, 0, 4), *opened(1), rows(1, 0, 3, columns=5), rows(1, 0, 2)])
    assert assembly.counts["tokens_unknown"] == 7
    (request,) = assembly.take([ended(1)])
    assert len(request.codes) == 2


def test_a_request_of_a_bank_that_nobody_described_is_counted() -> None:
    assembly = Assembly()
    assembly.take([opened(1)[2]])
    assert assembly.counts["requests_unknown"] == 1
    assert not assembly.open


def test_tokens_that_come_again_are_not_taken_twice() -> None:
    assembly = Assembly()
    stream = [*opened(1), rows(1, 0, 4), rows(1, 2, 4), rows(1, 6, 2), ended(1)]
    (request,) = assembly.take(stream)
    assert runs(request) == [(0, 4, 3), (6, 2, 3)]
    assert request.codes[:, 0].tolist() == [0, 1, 2, 3, 6, 7]
    assert assembly.counts["tokens_unknown"] == 4
    assert not request.whole


def test_a_key_that_was_over_does_not_begin_again_within_a_chunk() -> None:
    assembly = Assembly()
    over = assembly.take([*opened(1), rows(1, 0, 4), ended(1), ended(1), *opened(1)])
    assert [len(request.codes) for request in over] == [4]
    assert assembly.counts["requests_unknown"] == 1


def test_lost_tokens_mark_their_requests_and_without_names_all_of_the_server() -> None:
    assembly = Assembly()
    other = replace(opened(9)[2], epoch=EPOCH + 1)  # type: ignore[type-var]
    assembly.take([*opened(1), *opened(2), other, Lost(EPOCH, (1, 77), 5)])
    assert [r.whole for r in assembly.open.values()] == [False, True, True]
    assembly.take([Lost(EPOCH, (), 6)])
    assert [r.whole for r in assembly.open.values()] == [False, False, True]
    assert assembly.counts["tokens_lost"] == 11
    assembly.break_off()
    assert not any(r.whole for r in assembly.open.values())


def test_a_request_whose_bank_changes_becomes_two_each_marked() -> None:
    assembly = Assembly()
    wide = bank_of(3)
    stream = [*opened(1), rows(1, 0, 4), *opened(1, wide), rows(1, 4, 2, columns=3), ended(1)]
    narrow, after = assembly.take(stream)
    assert (narrow.codes.shape, after.codes.shape) == ((4, 2), (2, 3))
    assert not narrow.whole
    assert not after.whole
    assert runs(after) == [(4, 2, 3)]


@pytest.mark.parametrize("columns", [2, 3])
def test_a_request_whose_bank_changed_goes_on_over_later_chunks(columns: int) -> None:
    assembly = Assembly()
    other = bank_of(columns, model="other")
    (before,) = assembly.take(
        [*opened(1), rows(1, 0, 4), *opened(1, other), rows(1, 4, 2, columns)]
    )
    (after,) = assembly.take([rows(1, 6, 3, columns), ended(1)])
    assert (len(before.codes), len(after.codes)) == (4, 5)
    assert (before.bank, after.bank) == (bank_of(), other)
    assert not +assembly.counts


def test_a_request_announced_again_goes_on_with_a_mark() -> None:
    """Another sidecar process: what came meanwhile is known to nobody."""
    assembly = Assembly()
    (request,) = assembly.take([*opened(1), rows(1, 0, 4), *opened(1), rows(1, 9, 1), ended(1)])
    assert runs(request) == [(0, 4, 3), (9, 1, 3)]
    assert not request.whole


@pytest.mark.parametrize("scored", [True, False])
def test_a_request_of_which_nothing_was_heard_for_long_is_over(scored: bool) -> None:
    assembly = Assembly()
    assembly.take([*opened(1), *([rows(1, 0, 4)] if scored else [])])
    assert not assembly.stale(NOON_NS + STALE_NS)
    (request,) = assembly.stale(NOON_NS + STALE_NS + 1)
    assert not request.whole
    assert not assembly.open


@pytest.mark.parametrize("apart", [-5 * STALE_NS, 5 * STALE_NS])
def test_what_is_heard_is_measured_by_the_clock_of_the_chunks_whatever_the_server_says(
    apart: int,
) -> None:
    """The clock of a server that is far ahead would keep it open for ever, one behind would end it at once."""
    first = Assembly()
    first.take([*opened(1, time_ns=NOON_NS + apart)], NOON_NS)
    first.take([rows(1, 0, 4, time_ns=NOON_NS + apart)], NOON_NS + 9)
    second = Assembly()
    second.take(first.records())
    for assembly in (first, second):
        assert not assembly.stale(NOON_NS + 9 + STALE_NS)
        assert len(assembly.stale(NOON_NS + 10 + STALE_NS)) == 1


def test_a_clock_that_jumps_ends_no_request_that_is_heard_behind_it() -> None:
    assembly = Assembly()
    assembly.take([*opened(1), *opened(2), rows(1, 0, 4), rows(2, 0, 4)], NOON_NS)
    later = NOON_NS + 9 * STALE_NS
    assembly.take([rows(1, 4, 4)], later)  # times of the server: as they were
    assert [request.key for request in assembly.stale(later)] == [2]
