"""Asking for alerts to be erased, and doing it: requests are files, so that whoever may write the ledger does it.

It owns the folder `erasures` under data-dir and its files. Whose alerts they are is for history to say: a request names
event ids alone, and no person.

    {"v": 1, "id": "…", "event_ids": ["…"], "asked_ns": …}
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dosimeter.monitor.history.cursors import CursorStore
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.lock import AlreadyWriting
from dosimeter.monitor.history.reader import LedgerMissing, LedgerReader
from dosimeter.monitor.history.refused import Refused
from dosimeter.monitor.history.upkeep import PART, Upkeep

log = logging.getLogger(__name__)

FOLDER = "erasures"
VERSION = 1
MOST = 10_000
"""Event ids in one file."""
MAX_BYTES = 1 << 20
EVENT_ID = re.compile(r"[0-9a-f]{32}")
AGAIN_S = 0.05
TRIES = 200

Elsewhere = Callable[[Sequence[str], Sequence[int]], bool]
"""Erases the copies that someone else keeps of these alerts. False: not done yet, ask again.

It gets their event ids, and the positions of those that the ledger still has.
"""


@dataclass(frozen=True, slots=True)
class Request:
    """One file."""

    path: Path
    id: str
    event_ids: tuple[str, ...]


def ask_erasure(data_dir: Path, event_ids: Sequence[str], now_ns: int) -> str:
    """Leave a request, on disk when this returns its id. Raises ValueError: not event ids; OSError."""
    for event_id in event_ids:
        if EVENT_ID.fullmatch(event_id) is None:
            raise ValueError(
                f"`{event_id[:64]!r}` is no event id\n  hint: 32 digits of 0-9 and a-f, as in `event_id`"
            )
    folder, request = data_dir / FOLDER, secrets.token_hex(16)
    folder.mkdir(parents=True, exist_ok=True)
    for number, start in enumerate(range(0, len(event_ids), MOST)):
        name = f"{request}.{number}" if number else request
        part = list(event_ids[start : start + MOST])
        text = json.dumps({"v": VERSION, "id": name, "event_ids": part, "asked_ns": now_ns})
        _write(folder / f"{name}.json", text.encode())
    return request


def erasure_state(data_dir: Path, request: str) -> Literal["waiting", "done"]:
    """done: nothing of it waits any more. What was put aside was not done."""
    left = (data_dir / FOLDER).glob(f"{request}*")
    return "waiting" if any(path.suffix in (".json", ".wrong") for path in left) else "done"


def erase_in_ledger(data_dir: Path, event_ids: Sequence[str], now_ns: int) -> str:
    """Erase where no line runs; else leave the request to the line, which does it within seconds.

    Returns the id of the request, for `erasure_state`: it waits also where a reader was in the way, and is done with
    the next one or by the next line. Raises LedgerMissing, LedgerError, ValueError, OSError.
    """
    path = data_dir / "ledger.db"
    if not path.exists():
        raise LedgerMissing(path)
    request = ask_erasure(data_dir, event_ids, now_ns)
    try:
        ledger = Ledger(path)
    except AlreadyWriting:
        return request
    with ledger:
        elsewhere = copies_beside(path, data_dir / "deliver.db")
        for one in waiting_requests(data_dir):
            for _ in zip(range(TRIES), erasing(ledger.upkeep, one, elsewhere), strict=False):
                time.sleep(AGAIN_S)
    return request


def copies_beside(ledger: Path, store: Path) -> tuple[Elsewhere, ...]:
    """Who keeps copies of alerts: the file of refused items, and the dispatcher's."""

    def refused(event_ids: Sequence[str], seqs: Sequence[int]) -> bool:
        Refused.beside(ledger).erase(frozenset(event_ids))
        return True

    def delivered(event_ids: Sequence[str], seqs: Sequence[int]) -> bool:
        if not store.exists():
            return True
        with LedgerReader(ledger) as reader:
            ledger_id = reader.ledger_id
        with CursorStore(store, ledger_id=ledger_id, busy_s=0.5) as cursors:
            return cursors.erase(event_ids, seqs)

    return refused, delivered


def waiting_requests(data_dir: Path) -> Iterator[Request]:
    """By name, each read when it is its turn. What is no request is renamed, with a word in the log.

    Raises OSError, after all others: one cannot be read. It may be a request, and waits.
    """
    try:
        paths = sorted((data_dir / FOLDER).iterdir())
    except FileNotFoundError:
        return
    trouble: OSError | None = None
    for path in paths:
        if path.suffix != ".json":
            continue
        try:
            request = _read(path)
        except OSError as error:
            trouble = trouble or error
            continue
        if request is not None:
            yield request
    if trouble is not None:
        raise trouble


def erasing(upkeep: Upkeep, request: Request, elsewhere: Sequence[Elsewhere]) -> Iterator[bool]:
    """Do what a request asks for, in parts that each hold up a commit for a moment; it is done when this ends.

    True: a part is done; False: somebody is in the way, and there is no hurry to ask again. After a crash it is done
    again from the beginning, which changes nothing that was done.
    """
    seqs: list[int] = []
    for start in range(0, len(request.event_ids), PART):
        seqs += upkeep.erase(request.event_ids[start : start + PART], time.time_ns())
        yield True
    for erase in elsewhere:
        while not erase(request.event_ids, seqs):
            yield False
    anew = upkeep.near_the_edge(request.event_ids, seqs)
    while not upkeep.scrub(anew=anew):
        anew = False
        yield False
    upkeep.note_erasure(request.id, len(request.event_ids), time.time_ns())
    request.path.unlink(missing_ok=True)
    log.info("erasure %s: %d alerts", request.id, len(seqs))


def _read(path: Path) -> Request | None:
    try:
        body = _bytes(path)
        if len(body) > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES} bytes")
        found = json.loads(body)
        if found["v"] != VERSION or f"{found['id']}.json" != path.name:
            raise ValueError("another version, or another request's name")
        event_ids = tuple(found["event_ids"])
        if len(event_ids) > MOST or not all(EVENT_ID.fullmatch(one) for one in event_ids):
            raise ValueError(f"not at most {MOST} event ids")
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        log.error("%s: no request for an erasure, and put aside: %r", path, error)
        path.replace(path.with_suffix(".wrong"))
        return None
    return Request(path, str(found["id"]), event_ids)


def _bytes(path: Path) -> bytes:
    """Of a plain file: whatever else has the name of one must not keep us, or lead us elsewhere."""
    if not stat.S_ISREG(path.lstat().st_mode):
        raise ValueError("not a plain file")
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        return file.read(MAX_BYTES + 1)


def _write(path: Path, body: bytes) -> None:
    """There as a whole or not at all, and on disk."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
