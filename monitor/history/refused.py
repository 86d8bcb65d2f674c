"""What the ledger will not take, kept beside it: one JSON line an item, on disk before it counts.

Evidence is never dropped, so a record that cannot be committed for what it is (a defect of ours)
waits here for someone to look. It knows nothing of commits; bytes that are not text are base64.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Container, Mapping
from pathlib import Path

from dosimeter.monitor.history.private import keep_from_others

NAME = "refused.jsonl"
EVENT_ID = re.compile(rb"[0-9a-f]{32}")


class Refused:
    """Append-only. count: items in the file, of earlier processes too; 0 when someone has moved it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def beside(cls, ledger: Path) -> Refused:
        return cls(ledger.with_name(NAME))

    @property
    def count(self) -> int:
        try:
            with self.path.open("rb") as file:
                return sum(1 for _ in file)
        except FileNotFoundError:
            return 0

    def keep(self, item: Mapping[str, object]) -> None:
        """Return when it is on disk. Raises OSError: nothing was kept, try again later."""
        line = json.dumps(item, sort_keys=True, default=_plain).encode() + b"\n"
        is_new = not self.path.exists()
        keep_from_others(self.path)
        with self.path.open("ab+", buffering=0) as file:
            start = file.tell()
            if start and os.pread(file.fileno(), 1, start - 1) != b"\n":  # died within a line
                line = b"\n" + line
            try:
                if file.write(line) != len(line):
                    raise OSError(f"{self.path}: written in part")
                os.fsync(file.fileno())
            except OSError:
                os.ftruncate(file.fileno(), start)
                raise
        if is_new:
            _sync_folder(self.path.parent)

    def erase(self, event_ids: Container[str]) -> int:
        """Leave of items of these alerts only that there was one; returns how many. Raises OSError.

        Not while another thread or process may call `keep`.
        """
        try:
            lines = self.path.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return 0
        erased = [_erased(line, event_ids) for line in lines]
        found = sum(1 for line in erased if line is not None)
        if found:
            temporary = self.path.with_suffix(".tmp")
            keep_from_others(temporary)
            with temporary.open("wb") as file:
                for line, short in zip(lines, erased, strict=True):
                    file.write(line if short is None else short)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.path)
            _sync_folder(self.path.parent)
        return found


def _erased(line: bytes, event_ids: Container[str]) -> bytes | None:
    """What is left of a line; None: it is of another alert, or erased already."""
    try:
        item = json.loads(line)
    except ValueError:  # half a line: whom it is of stands before what is personal
        item = {"evidence": [one.decode() for one in EVENT_ID.findall(line)]}
    try:
        of = {item.get("record", {}).get("event_id"), *item.get("evidence", {})}
        event_id = next((one for one in of if one in event_ids), None)
        if event_id is None:
            return None
        left = {"refused_ns": item.get("refused_ns"), "erased": event_id}
    except (AttributeError, TypeError):  # not a line of ours
        return None
    return json.dumps(left, sort_keys=True).encode() + b"\n"


def _plain(value: object) -> object:
    """What JSON has no word for; never an error, since this is the last place that can keep it."""
    if not isinstance(value, bytes):
        return repr(value)
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode("ascii")}


def _sync_folder(folder: Path) -> None:
    """A file survives power loss only when its name does."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
