"""The wire: what is written is read back, and nothing that arrives can do more than raise."""

from __future__ import annotations

import contextlib
import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dosimeter.detectors.frames import ROWS, StepFrame
from dosimeter.monitor.records import Close, Hello, Open
from dosimeter.monitor.taps import wire
from dosimeter.monitor.taps.wire import Kind, WireError

COUNTS = list(range(1, 10))


def step_message(tokens: int = 3, features: int = 4) -> bytes:
    rows = np.array([(9, 5, tokens, 0, 1)], ROWS)
    codes = np.arange(tokens * features, dtype=np.int16).reshape(tokens, features)
    prefix = wire.step_prefix(1, 2, COUNTS, rows, codes)
    return prefix + rows.tobytes() + codes.tobytes()


def test_a_greeting_with_a_long_error_in_it_still_fits() -> None:
    """One that does not is refused by the sidecar, at every connect: an error text would make a tap unseen."""
    hello = {"state": "live", "reason": None, "last_error": "x" * 200_000, "columns": [1]}
    body = wire.shrink(hello)
    assert len(body) <= wire.MAX_MESSAGE - wire.PREFIX_BYTES
    assert json.loads(body) == hello | {"last_error": "x" * 1024}


def test_a_step_is_read_back_as_it_was_written() -> None:
    message = wire.unpack(step_message())
    assert (message.kind, message.epoch, message.seq) == (Kind.STEP, 1, 2)
    assert list(message.counters.values()) == COUNTS
    assert isinstance(message.body, StepFrame)
    assert message.body.rows.tolist() == [(9, 5, 3, 0, 1)]
    assert message.body.codes.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert (message.body.hook_ns, message.body.time_ns) == (8, 9)


def test_the_bytes_of_version_1_are_these() -> None:
    """Stored traffic and other implementations depend on every one of them."""
    message = wire.control_message(Kind.OPEN, 0x1122334455667788, 5, COUNTS, b'{"key":1}')
    counters = b"".join(n.to_bytes(8, "little") for n in COUNTS)
    head = b"DSMW" + bytes([1, 2, 0, 0]) + (9).to_bytes(4, "little")
    numbers = bytes.fromhex("8877665544332211") + (5).to_bytes(8, "little")
    assert message == head + numbers + counters + b'{"key":1}'


@pytest.mark.parametrize("index", range(len(COUNTS)))
def test_a_counter_that_could_not_be_stored_is_refused(index: int) -> None:
    counts = [*COUNTS]
    name = (wire.COUNTERS.names or ())[index]
    counts[index] = (1 << 62) - 1 if name in ("hook_ns", "time_ns") else (1 << 48) - 1
    assert wire.unpack(wire.control_message(Kind.BEAT, 1, 1, counts)).seq == 1
    counts[index] += 1
    with pytest.raises(WireError, match=f"`{name}` is {counts[index]}, out of range"):
        wire.unpack(wire.control_message(Kind.BEAT, 1, 1, counts))


def test_a_step_without_columns_cannot_stand_for_rows() -> None:
    """A hundred bytes would claim four thousand million of them."""
    rows = np.array([(1, 0, 2**32 - 1, 0, 0)], ROWS)
    head = wire.STEP_HEAD.pack(1, 2**32 - 1, 0, 0)
    message = wire.control_message(Kind.STEP, 1, 1, COUNTS, head + rows.tobytes())
    with pytest.raises(WireError, match="without a column"):
        wire.unpack(message)


def test_a_control_record_is_read_back() -> None:
    body = wire.control_body({"key": 1, "labels": {"tenant": "Zoë"}})
    message = wire.unpack(wire.control_message(Kind.OPEN, 1, 2, COUNTS, body))
    assert message.body == {"key": 1, "labels": {"tenant": "Zoë"}}


def test_the_fullest_frame_fits_one_message() -> None:
    for features in (1, 4, 64, 1024):
        tokens = wire.rows_per_frame(features)
        size = wire.STEP_PREFIX.size + tokens * (2 * features + ROWS.itemsize)
        assert size <= wire.MAX_MESSAGE


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda data: data[:20], "shorter than its"),
        (lambda data: b"HTTP" + data[4:], "magic"),
        (lambda data: data[:4] + b"\2" + data[5:], "wire version 2 is not 1"),
        (lambda data: data[:5] + b"\x63" + data[6:], "message kind 99 is unknown"),
        (lambda data: data + b"\0", "header says"),
    ],
)
def test_a_message_that_is_not_version_1_says_what_is_wrong(change, complaint) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(WireError, match=complaint):
        wire.unpack(change(step_message()))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_bytes_from_anywhere_raise_nothing_but_wire_error(data: bytes) -> None:
    with contextlib.suppress(WireError):
        wire.unpack(data)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_message_raises_nothing_but_wire_error(data: st.DataObject) -> None:
    message = bytearray(step_message())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(message) - 1))
        message[at] = data.draw(st.integers(0, 255))
    try:
        found = wire.unpack(bytes(message))
    except WireError:
        return
    if isinstance(found.body, StepFrame):
        assert int(found.body.rows["n"].sum()) == len(found.body.codes)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)
CONTROL = "key prompt_len labels trusted spans spans_exact role pid state columns server model reason outcome served"
COUNTED = "errors last_error cut emitted cached opened_ns closed_ns again prompt_tokens completion_tokens served_source"
fields = st.sampled_from([*CONTROL.split(), *COUNTED.split(), "packs_refused"])


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([Hello, Open, Close]),
    st.dictionaries(fields, json_values, max_size=8),
)
def test_a_record_of_any_json_is_taken_or_refused(kind: type, body: dict[str, object]) -> None:
    sound = {
        "key": 1,
        "prompt_len": 0,
        "state": "live",
        "outcome": "finished",
        "served": 1,
    }
    text = json.dumps(sound | body)
    with contextlib.suppress(WireError):
        kind.parse(json.loads(text))  # type: ignore[attr-defined]


def test_deep_json_is_refused() -> None:
    body = b'{"key":' + b"[" * 100_000
    with pytest.raises(WireError, match="not JSON"):
        wire.unpack(wire.control_message(Kind.OPEN, 1, 1, COUNTS, body))


def test_what_is_no_text_costs_no_record() -> None:
    """A path may hold any bytes: one in a greeting, as the folder of a capture, had the tap never greet again."""
    body = wire.shrink({"capture": {"out": os.fsdecode(b"/caf\xe9")}})
    assert json.loads(body.decode()) == {"capture": {"out": "/caf?"}}
