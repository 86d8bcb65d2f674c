"""The wire, version 1: what a tap or a front says to the sidecar over a unix socket.

SOCK_SEQPACKET keeps message boundaries, so a frame arrives whole or not at all. The sidecar listens, taps
and fronts connect; nothing comes back. `Sender` never blocks its caller: what does not fit is dropped and
counted, and every message carries the cumulative counters, so that the receiver can account for the gap.
A message is HEADER, COUNTERS, then a body: JSON for control records, ROWS and codes for a step.
"""

from __future__ import annotations

import errno
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.frames import ROW_FIRST, ROWS, Codes, StepFrame

MAGIC = b"DSMW"
VERSION = 1
MAX_MESSAGE = 128 * 1024
"""Larger sends fail with EMSGSIZE under default socket buffers; a bigger step is cut into several frames."""


TEXTS = ("text", "tokens")
"""Fields of a CLOSE that hold what was said: large, and the first to go."""
NOTES = ("reason", "last_error", "packs_refused")
MAX_NOTE = 1024
"""Fields of a HELLO that hold an error in somebody else's words, and how many characters of one a receiver reads."""


class Kind(IntEnum):
    HELLO = 1  # first on every connection: who, which model, which pack, live or blind
    OPEN = 2  # a request: labels, role spans, prompt length; re-announced on every connect
    CLOSE = 3  # its end: outcome, the server's own token count, what the tap says it sent
    STEP = 4  # rows and codes of one engine step
    BEAT = 5  # nothing but counters, once a second
    USAGE = 6  # a front of its own process: what the reply to one call counted


HEADER = struct.Struct("<4sBBHIQQ")  # magic, version, kind, 0, body length, epoch, seq
COUNTERS = np.dtype(
    [
        ("rows_emitted", "<u8"),  # rows of known requests the tap produced codes for
        ("rows_dropped", "<u8"),  # of those: never sent (no sidecar, socket full, too large)
        ("frames_dropped", "<u8"),
        ("control_dropped", "<u8"),
        ("rows_error", "<u8"),  # rows the server ran but the tap failed to score
        (
            "served_closed",
            "<u8",
        ),  # sum of `served` over all closed requests, the server's own count
        ("requests_closed", "<u8"),
        ("hook_ns", "<u8"),
        ("time_ns", "<u8"),
    ]
)
CLOCK_LIMIT = 1 << 62
COUNTER_LIMIT = 1 << 48
"""No counter reaches it, and what a receiver adds up of several speakers still fits 64 bits."""
STEP_HEAD = struct.Struct("<IIHH")  # R, T, F, 0
PREFIX = struct.Struct(f"{HEADER.format}{len(COUNTERS.names or ())}Q")
STEP_PREFIX = struct.Struct(PREFIX.format + STEP_HEAD.format[1:])
PREFIX_BYTES = PREFIX.size
STEP_HEAD_BYTES, ROW_BYTES = STEP_HEAD.size, ROWS.itemsize
TRY_LATER = frozenset({errno.EAGAIN, errno.ENOBUFS, errno.EMSGSIZE, errno.ENOMEM, errno.EINTR})
"""Errors of a send that say nothing against the connection; any other ends it."""


class WireError(ValueError):
    """A message that is not wire version 1; the receiver drops the connection and counts it."""


@dataclass(frozen=True, slots=True)
class Message:
    kind: Kind
    epoch: int  # random per server process
    seq: int  # +1 for every message attempted, also for dropped ones: a jump is a gap
    counters: Mapping[str, int]
    body: dict[str, Any] | StepFrame


def control_message(
    kind: Kind, epoch: int, seq: int, counters: Sequence[int], body: bytes = b""
) -> bytes:
    """A message with a JSON body, or none. counters: in the order of COUNTERS."""
    prefix = PREFIX.pack(MAGIC, VERSION, kind, 0, len(body), epoch, seq, *counters)
    return prefix + body


def step_prefix(
    epoch: int,
    seq: int,
    counters: Sequence[int],
    rows: npt.NDArray[np.void],
    codes: Codes,
) -> bytes:
    """What stands before the bytes of ROWS [R] and int16 [T, F] in a step message."""
    entries, (tokens, features) = len(rows), codes.shape
    length = STEP_HEAD_BYTES + ROW_BYTES * entries + 2 * tokens * features
    return STEP_PREFIX.pack(
        MAGIC, VERSION, 4, 0, length, epoch, seq, *counters, entries, tokens, features, 0
    )


def control_body(record: Mapping[str, Any]) -> bytes:
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    return text.encode(errors="replace")  # a path need not be text: `?` for what is none


def served(close: Mapping[str, Any]) -> int:
    """Tokens a CLOSE record stands for: the server's own count, else prompt + completion - 1.

    Sender and receiver both add these up, and must agree to the token.
    """
    stated = close.get("served")
    if isinstance(stated, int):
        return max(0, stated)
    counted = [close.get(name) for name in ("prompt_tokens", "completion_tokens")]
    return max(0, sum(n for n in counted if isinstance(n, int)) - 1)


def rows_per_frame(features: int) -> int:
    """How many rows of codes fit one message, leaving room for a row table as long."""
    return max(1, (MAX_MESSAGE - PREFIX_BYTES - STEP_HEAD.size) // (2 * features + ROWS.itemsize))


def cut(rows: npt.NDArray[np.void], codes: Codes) -> Iterator[tuple[npt.NDArray[np.void], Codes]]:
    """The same rows in frames of at most `rows_per_frame`."""
    limit = rows_per_frame(int(codes.shape[1]))
    ends = np.cumsum(rows["n"], dtype=np.int64)
    begins = ends - rows["n"]
    for low in range(0, int(codes.shape[0]), limit):
        high = min(low + limit, int(codes.shape[0]))
        inside = (ends > low) & (begins < high)
        part = rows[inside].copy()
        skipped = np.maximum(low - begins[inside], 0)
        part["n"] = np.minimum(ends[inside], high) - np.maximum(begins[inside], low)
        part["start"] += skipped.astype(np.uint32)
        part["cached"][skipped > 0] = 0
        part["flags"][skipped > 0] &= ~np.uint32(ROW_FIRST)
        yield part, codes[low:high]


def shrink(record: Mapping[str, Any], *, texts: bool = True) -> bytes:
    """A control body that fits one message; text goes first, then ids, then spans, then labels.

    texts: False leaves out text even where it fits. What was left out is named under `cut`.
    """
    body = control_body(record)
    kept = dict(record)
    cut: list[str] = []
    if len(body) > MAX_MESSAGE - PREFIX_BYTES:
        kept |= {n: kept[n][:MAX_NOTE] for n in NOTES if isinstance(kept.get(n), str)}
        body = control_body(kept)
    for name in (*TEXTS, "ids", "spans", "labels"):
        too_large = len(body) > MAX_MESSAGE - PREFIX_BYTES
        if name in kept and (too_large or (name in TEXTS and not texts)):
            del kept[name]
            cut.append(name)
            body = control_body({**kept, "cut": cut})
    return body


def unpack(data: bytes) -> Message:
    """Parse and check one message; raises WireError naming the first thing that is wrong."""
    if len(data) < PREFIX_BYTES:
        raise WireError(
            f"message of {len(data)} bytes is shorter than its {PREFIX_BYTES} byte prefix"
        )
    magic, version, kind, _, length, epoch, seq = HEADER.unpack_from(data)
    if magic != MAGIC:
        raise WireError(f"magic {magic!r} is not {MAGIC!r}")
    if version != VERSION:
        raise WireError(
            f"wire version {version} is not {VERSION}: tap and sidecar differ in release"
        )
    if length != len(data) - PREFIX_BYTES:
        raise WireError(f"body of {len(data) - PREFIX_BYTES} bytes, header says {length}")
    try:
        known = Kind(kind)
    except ValueError:
        raise WireError(f"message kind {kind} is unknown") from None
    block = np.frombuffer(data, COUNTERS, 1, HEADER.size)[0]
    counters = {name: int(block[name]) for name in COUNTERS.names or ()}
    for name, value in counters.items():
        if value >= (CLOCK_LIMIT if name.endswith("_ns") else COUNTER_LIMIT):
            raise WireError(f"counter `{name}` is {value}, out of range")
    body = data[PREFIX_BYTES:]
    parsed = _step(body, counters) if known is Kind.STEP else _control(body)
    return Message(known, epoch, seq, counters, parsed)


def _control(body: bytes) -> dict[str, Any]:
    try:
        record = json.loads(body) if body else {}
    except (ValueError, RecursionError) as error:
        raise WireError(f"control body is not JSON: {error}") from None
    if not isinstance(record, dict):
        raise WireError(f"control body is a {type(record).__name__}, not an object")
    return record


def _step(body: bytes, counters: Mapping[str, int]) -> StepFrame:
    if len(body) < STEP_HEAD.size:
        raise WireError("step body is shorter than its head")
    n_rows, n_tokens, n_features, _ = STEP_HEAD.unpack_from(body)
    if n_tokens and not n_features:  # no bytes would stand for any number of rows
        raise WireError(f"step of {n_tokens} rows without a column")
    expected = STEP_HEAD.size + n_rows * ROWS.itemsize + n_tokens * n_features * 2
    if len(body) != expected:
        raise WireError(f"step body of {len(body)} bytes, its head says {expected}")
    rows = np.frombuffer(body, ROWS, n_rows, STEP_HEAD.size)
    if int(rows["n"].sum(dtype=np.uint64)) != n_tokens:
        raise WireError(f"row table covers {int(rows['n'].sum())} rows, frame holds {n_tokens}")
    codes = np.frombuffer(body, "<i2", n_tokens * n_features, STEP_HEAD.size + rows.nbytes)
    return StepFrame(
        rows, codes.reshape(n_tokens, n_features), counters["hook_ns"], counters["time_ns"]
    )
