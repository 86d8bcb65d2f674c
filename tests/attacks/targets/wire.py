"""Attacks the border of the wire: one message of any bytes is typed, or refused in words a log can hold.

The property: `WireError` and nothing else, and what was accepted is inside the limits that everything
behind the border relies on.
"""

from __future__ import annotations

from dosimeter.detectors.frames import StepFrame
from dosimeter.monitor.records import MAX_LABEL, MAX_LABELS, MAX_TOKENS, Close, Hello, Open, Usage
from dosimeter.monitor.taps import wire
from dosimeter.monitor.taps.wire import COUNTERS, Kind, WireError
from targets.source import Source

PARSERS = {
    Kind.HELLO: Hello.parse,
    Kind.OPEN: Open.parse,
    Kind.CLOSE: Close.parse,
    Kind.USAGE: Usage.parse,
}


def attack(data: bytes) -> None:
    """data: a message as it stands, or (first byte 0 to 5) the body of one that is well framed."""
    if data[:1] and data[0] <= max(Kind):
        data = framed(data[0], Source(data[1:]), data[1:])
    try:
        message = wire.unpack(data)
    except WireError:
        return
    for name, value in message.counters.items():
        assert 0 <= value < (1 << 62 if name in ("hook_ns", "time_ns") else 1 << 48)
    if isinstance(message.body, StepFrame):
        check_step(message.body)
    elif message.kind in PARSERS:
        try:
            record = PARSERS[message.kind](message.body)
        except WireError:
            return
        check_record(record)


def framed(kind: int, source: Source, body: bytes) -> bytes:
    """A right header before a body of the source's choice: as it stands, or a step whose counts may lie."""
    counters = [0] * len(COUNTERS.names or ())
    if kind == 0:
        rows, tokens, features = source.integer(), source.integer(), source.integer()
        head = wire.STEP_HEAD.pack(
            rows & 0xFFFFFFFF, tokens & 0xFFFFFFFF, features & 0xFFFF, source.byte()
        )
        kind, body = Kind.STEP, head + source.take(4096)
    return wire.control_message(Kind(kind), 1, 1, counters, body)


def check_step(frame: StepFrame) -> None:
    tokens, _ = frame.codes.shape
    assert sum(frame.rows["n"].tolist()) == tokens
    assert tokens * frame.codes.shape[1] * 2 < wire.MAX_MESSAGE


def check_record(record: Hello | Open | Close | Usage) -> None:
    if isinstance(record, Hello):
        texts = [*record.server.items(), *record.model.items()]
        texts += [(c.feature, c.pack_name) for c in record.columns]
    elif isinstance(record, Open):
        texts = list(record.labels.items())
        assert len(texts) <= MAX_LABELS
        assert 0 <= record.key < 1 << 64
        ends = [0, *(end for _, _, end in record.spans)]
        assert ends == [*(start for _, start, _ in record.spans), record.prompt_len]
    elif isinstance(record, Usage):
        texts = [(record.call, record.call)]
        assert all(0 <= n < MAX_TOKENS for n in (record.prompt_tokens, record.completion_tokens))
    else:
        texts = [(name, name) for name in record.errors]
        assert 0 <= record.served <= MAX_TOKENS
        assert all(0 <= n < MAX_TOKENS for n in (record.emitted, record.cached))
    for pair in texts:
        assert all(len(text) <= MAX_LABEL and text.encode() is not None for text in pair)
