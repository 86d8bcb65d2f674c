"""What asks the line to look away for a while: one small file in data-dir, so that whoever may write there may pause.

It owns the file and its form. Neither the socket of the taps nor the pages of the loopback take orders: a model server
that was broken into must not be able to blind its monitor, and they have no password. Nothing here has a clock.

    {"v": 1, "id": "…", "reason": "…", "asked_ns": …, "until_ns": …}

A pause is over when its time is; whoever ends it sooner writes one that is over already.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from dosimeter.rules import summary

VERSION = 1
NAME = "pause.json"
MAX_BYTES = 16 << 10
MOST_NS = 24 * 3600 * 10**9
"""Of one pause: longer, and it is forgotten."""
MAX_REASON = 200


class PauseError(ValueError):
    """It is no pause."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Times are wall clock. by_uid: who owns the file, as the kernel says."""

    id: str
    reason: str
    asked_ns: int
    until_ns: int
    by_uid: int


def ask(data_dir: Path, reason: str, now_ns: int, until_ns: int) -> str:
    """On disk when this returns its id. until_ns: not after now_ns ends the pause there is. Raises OSError."""
    pause = secrets.token_hex(8)
    said = {"v": VERSION, "id": pause, "reason": summary.printable(reason, MAX_REASON)}
    text = json.dumps(said | {"asked_ns": now_ns, "until_ns": until_ns})
    new = data_dir / f"{NAME}.{pause}"
    try:
        with new.open("x") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(data_dir / NAME)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    return pause


def read(data_dir: Path) -> Pause | None:
    """What is asked for now; None: nothing. Raises PauseError, OSError."""
    try:
        handle = os.open(data_dir / NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    with os.fdopen(handle, "rb") as file:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise PauseError("it is no plain file")
        text = file.read(MAX_BYTES + 1)
    try:
        found = json.loads(text) if len(text) <= MAX_BYTES else None
    except (ValueError, RecursionError) as error:
        raise PauseError(f"it is no JSON: {error}") from error
    if not isinstance(found, dict) or found.get("v") != VERSION:
        raise PauseError(f"it is no pause of version {VERSION}")
    id_, reason, *times = (found.get(name) for name in ("id", "reason", "asked_ns", "until_ns"))
    if not isinstance(id_, str) or not isinstance(reason, str) or not reason.strip():
        raise PauseError("it has no id, or no reason")
    asked_ns, until_ns = times
    if type(asked_ns) is not int or type(until_ns) is not int or not 0 <= asked_ns < 1 << 62:
        raise PauseError("its times are none")
    if until_ns - asked_ns > MOST_NS:
        raise PauseError(f"it is longer than {MOST_NS // 3600 // 10**9} hours")
    said = summary.printable(reason, MAX_REASON)
    return Pause(summary.printable(id_, 32), said, asked_ns, until_ns, about.st_uid)


def drop(data_dir: Path, pause: Pause) -> None:
    """Remove it, unless another has taken its place. Raises OSError."""
    try:
        same = read(data_dir) == pause
    except PauseError:
        return
    if same:
        (data_dir / NAME).unlink(missing_ok=True)


def set_aside(data_dir: Path) -> None:
    """What is no pause, so that it is said once. Raises OSError."""
    (data_dir / NAME).replace(data_dir / f"{NAME}.wrong")
