"""What a tap and `dosimeter capture` say to each other, over a socket of their own: the only way out for activations.

The asker listens at the path that the server was started with, the tap connects. A message is HEAD, then a body: JSON,
or ROWS_HEAD and float32 values. The asker gives one ORDER and may say STOP; all else is the tap's. Nothing of it
touches the wire of scores, where a greeting says that activations leave (`docs/wire.md`).
"""

from __future__ import annotations

import errno
import json
import math
import os
import socket
import stat
import struct
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

MAGIC = b"DSMC"
VERSION = 1
HEAD = struct.Struct("<4sBBHI")  # magic, version, kind, 0, body length
ROWS_HEAD = struct.Struct("<QII")  # key, position of the first row, rows
MAX_BODY = 16 << 20
PART_BYTES = 1 << 20
"""Rows are sent in parts of about this size, so that a reader that stands still is noticed between two."""
MAX_ORDER = 64 << 10
MAX_LAYERS = 64
MAX_REASON, MAX_PATH = 200, 400
MOST_S = 24 * 3600
PEER = struct.Struct("iII")  # pid, uid, gid of SO_PEERCRED
MILLION = 1_000_000

Floats = npt.NDArray[np.float32]


class CaptureError(ValueError):
    """No message of this version, or an order that cannot be followed."""


class Kind(IntEnum):
    ORDER = 1  # asker: what is wanted
    HELLO = 2  # tap: which model, how wide; the rows follow
    REFUSED = 3  # tap: why not; the end
    ROWS = 4  # tap: activations of consecutive positions of one request
    REQUEST = 5  # tap: one request is over, and what is known of it
    DONE = 6  # tap: why it ended, and the counts; the end
    STOP = 7  # asker: enough, and why


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for. sample_ppm: requests in a million; max_bytes: of activations; out: folder, for the record."""

    id: str
    reason: str
    layers: tuple[int, ...]
    for_s: int
    sample_ppm: int
    max_bytes: int
    max_requests: int
    out: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"layers": list(self.layers)}

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> Order:
        """Raises CaptureError."""
        layers = body.get("layers")
        if not isinstance(layers, list) or not 0 < len(layers) <= MAX_LAYERS:
            raise CaptureError(f"`layers` is no list of 1 to {MAX_LAYERS}")
        if any(type(n) is not int or n < 0 for n in layers) or layers != sorted(set(layers)):
            raise CaptureError("`layers` are not ascending numbers of blocks")
        id_, reason, out = (body.get(name) for name in ("id", "reason", "out"))
        if not isinstance(id_, str) or len(id_) != 32 or not set(id_) <= set("0123456789abcdef"):
            raise CaptureError("`id` is not 32 hex characters")
        if not isinstance(reason, str) or not 0 < len(reason.strip()) <= MAX_REASON:
            raise CaptureError(f"`reason` has not 1 to {MAX_REASON} characters")
        if not isinstance(out, str) or len(out) > MAX_PATH:
            raise CaptureError(f"`out` has not up to {MAX_PATH} characters")
        whole = {
            "for_s": MOST_S,
            "sample_ppm": MILLION,
            "max_bytes": 1 << 50,
            "max_requests": 1 << 40,
        }
        for name, most in whole.items():
            value = body.get(name)
            if type(value) is not int or not 0 < value <= most:
                raise CaptureError(f"`{name}` is not 1 to {most}")
        return cls(id_, reason, tuple(layers), out=out, **{name: body[name] for name in whole})


def message(kind: Kind, body: Mapping[str, Any] | None = None) -> bytes:
    data = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
    return HEAD.pack(MAGIC, VERSION, kind, 0, len(data)) + data


def rows_messages(key: int, start: int, values: Floats) -> Iterator[bytes]:
    """values: [n, L * D], of positions [start, start + n) of one request, in messages of about PART_BYTES."""
    step = max(1, PART_BYTES // (4 * values.shape[1]))
    for low in range(0, len(values), step):
        part = values[low : low + step].astype("<f4", copy=False)
        head = ROWS_HEAD.pack(key, start + low, len(part))
        length = len(head) + part.nbytes
        yield HEAD.pack(MAGIC, VERSION, Kind.ROWS, 0, length) + head + part.tobytes()


def rows_of(body: bytes, width: int) -> tuple[int, int, Floats]:
    """(key, start, [n, width]). Raises CaptureError."""
    if len(body) < ROWS_HEAD.size:
        raise CaptureError("rows are shorter than their head")
    key, start, n = ROWS_HEAD.unpack_from(body)
    if len(body) != ROWS_HEAD.size + 4 * n * width:
        raise CaptureError(f"{len(body)} bytes of {n} rows of {width} values")
    return key, start, np.frombuffer(body, "<f4", n * width, ROWS_HEAD.size).reshape(n, width)


def send(connection: socket.socket, data: bytes) -> None:
    """All of it. Raises OSError where nobody reads any more, also in a server that gave SIGPIPE back its meaning."""
    connection.sendall(data, socket.MSG_NOSIGNAL)


def read(connection: socket.socket, most: int = MAX_BODY) -> tuple[Kind, bytes] | None:
    """The next message, within the connection's time-out as a whole; None at the end.

    Raises CaptureError, OSError (TimeoutError among them).
    """
    late_s = time.monotonic() + (connection.gettimeout() or math.inf)
    head = _exactly(connection, HEAD.size, late_s)
    if head is None:
        return None
    magic, version, kind, _, length = HEAD.unpack(head)
    if (magic, version) != (MAGIC, VERSION):
        raise CaptureError(f"no message of version {VERSION}: tap and asker differ in release")
    if length > most:
        raise CaptureError(f"a message of {length} bytes, at most {most} are read")
    body = _exactly(connection, length, late_s) if length else b""
    if body is None:
        return None
    try:
        return Kind(kind), body
    except ValueError:
        raise CaptureError(f"message kind {kind} is unknown") from None


def parsed(body: bytes) -> dict[str, Any]:
    """A body of JSON. Raises CaptureError."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise CaptureError(f"a body is no JSON: {error!s:.80}") from None
    if not isinstance(found, dict):
        raise CaptureError("a body is no JSON object")
    return found


def peer_uid(connection: socket.socket) -> int:
    """Whose process is at the other end, as the kernel says."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size)
    return int(PEER.unpack(raw)[1])


def untrusted(path: Path) -> str | None:
    """Why nothing may leave by this path; None: only its owner, who is this user or root, may put a socket there."""
    try:
        about = path.parent.stat()
    except OSError as error:
        return f"its folder cannot be read: {error.strerror}"
    if about.st_uid not in (0, os.geteuid()):
        return f"its folder is of user {about.st_uid}"
    if stat.S_IMODE(about.st_mode) & 0o022:
        return "others may write its folder\n  hint: chmod 700"
    return None


def _exactly(connection: socket.socket, n: int, late_s: float) -> bytes | None:
    parts, left = [], n
    while left:
        if time.monotonic() > late_s:  # a byte now and then would keep whoever reads for ever
            raise TimeoutError(errno.ETIMEDOUT, "a message takes too long")
        part = connection.recv(min(left, 1 << 20))
        if not part:
            return None
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
