"""From the line to the archive: a bounded queue, and the thread that writes it to chunk files.

The line never waits here. What finds no room, because the disk is full or slower than the scores, is counted, and the
requests that it belongs to are marked: what is kept of them has a hole. It takes records, and knows nothing of what
becomes of a chunk.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from dosimeter.monitor.history.archive_folder import ArchiveFolder
from dosimeter.monitor.history.chunk import (
    Bank,
    Ended,
    Fired,
    Lost,
    Opened,
    ProgramText,
    Record,
    Rows,
)
from dosimeter.monitor.history.chunk_writer import (
    ChunkLimits,
    ChunkWriter,
    end_leftovers,
    file_size,
)
from dosimeter.monitor.history.lock import WriterLock

log = logging.getLogger(__name__)

QUEUE_BYTES = 64 << 20
RESERVE_BYTES = 8 << 20
"""Beyond QUEUE_BYTES, for the small records that tell which rows belong together."""
SMALL_BYTES = 512
GROUP_BYTES = 1 << 18
MAX_MISSED = 1 << 16
"""Requests with a hole that are named one by one; with more of them every open one counts as having a hole."""
WAKE_S, RETRY_S = 0.05, 0.5


class Spool:
    """The line calls `open`, `rows`, `fired` and `end`: each takes microseconds and never raises for want of room."""

    def __init__(
        self,
        folder: ArchiveFolder,
        *,
        limits: ChunkLimits | None = None,
        queue_bytes: int = QUEUE_BYTES,
        time_ns: Callable[[], int] = time.time_ns,
        room: Callable[[], None] = lambda: None,
    ) -> None:
        """room: raises OSError while there is none for scores.

        Raises AlreadyWriting, OSError."""
        folder.make()
        self._folder, self._queue_bytes, self._time_ns = folder, queue_bytes, time_ns
        self._room = room
        self._lock = WriterLock(folder.spool / "chunks")
        try:
            end_leftovers(folder)
            self._writer = ChunkWriter(folder, limits or ChunkLimits())
        except BaseException:
            self._lock.close()
            raise
        self._queue: deque[tuple[tuple[Record, ...], int]] = deque()
        # Each total has one writer, the line or the thread: neither waits for the other.
        self._put_bytes = self._taken_bytes = 0
        self._missed: dict[int, set[int]] = {}  # epoch -> keys of rows that found no room
        self._missed_rows: Counter[int] = Counter()
        self._unopened: dict[tuple[int, int], tuple[Record, ...]] = {}
        self._group: list[tuple[tuple[Record, ...], int]] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.stalled: str | None = None
        self.requests = self.requests_dropped = 0
        self.rows_taken = self.rows_dropped = self.hits_dropped = 0

    # --- the line

    def open(self, bank: Bank, program: ProgramText, opened: Opened) -> None:
        # Together: the chunk that holds a request's beginning says what its codes mean.
        at = opened.epoch, opened.key
        if self._put((bank, program, opened), SMALL_BYTES, reserve=True):
            self.requests += 1
            self._unopened.pop(at, None)
        else:
            self.requests_dropped += 1
            # No row of it comes before this is said: it would be taken for one of the bank that it had.
            self._unopened[at] = (bank, program, replace(opened, whole=False))
            self._miss(opened.epoch, [opened.key])

    def rows(self, rows: Rows) -> None:
        count, epoch = len(rows.codes), rows.epoch
        if self._missed:
            self._name_missed()
        size = rows.segments.nbytes + rows.codes.nbytes + SMALL_BYTES
        # A copy: what came may be a small part of a large message, which would stay in memory uncounted.
        own = replace(rows, segments=rows.segments.copy(), codes=rows.codes.copy())
        if not self._missed and self._put((own,), size):
            self.rows_taken += count
            return
        self.rows_dropped += count
        self._missed_rows[epoch] += count
        self._miss(epoch, rows.segments["key"].tolist())

    def fired(self, fired: Fired) -> None:
        if not self._put((fired,), SMALL_BYTES, reserve=True):
            self.hits_dropped += 1
            self._miss(fired.epoch, [fired.key])

    def end(self, ended: Ended) -> None:
        """Without room for this the request counts as open, until the archive finds that nothing comes any more."""
        self._unopened.pop((ended.epoch, ended.key), None)
        missed = self._missed.get(ended.epoch, set())
        everyone = len(missed) >= MAX_MISSED
        if everyone or ended.key in missed:
            # Together: an end without it would say that nothing is missing. The last one named says how many rows.
            last = not everyone and len(missed) == 1
            rows = self._missed_rows[ended.epoch] if last else 0
            named = Lost(ended.epoch, (ended.key,), rows)
            if self._put((named, ended), SMALL_BYTES, reserve=True):
                if last:
                    del self._missed[ended.epoch], self._missed_rows[ended.epoch]
                elif not everyone:
                    missed.discard(ended.key)
            return
        self._put((ended,), SMALL_BYTES, reserve=True)

    def _put(self, records: tuple[Record, ...], size: int, *, reserve: bool = False) -> bool:
        limit = self._queue_bytes + (RESERVE_BYTES if reserve else 0)
        if self._put_bytes + size - self._taken_bytes > limit:
            return False
        self._queue.append((records, size))
        self._put_bytes += size
        return True

    def _miss(self, epoch: int, keys: list[int]) -> None:
        missed = self._missed.setdefault(epoch, set())
        missed.update(keys)
        while len(missed) > MAX_MISSED:
            missed.pop()  # more than can be live: all of them are marked when there is room

    def _name_missed(self) -> None:
        """Say what was lost, before anything that comes behind it, and what could not be said of requests."""
        for at, together in list(self._unopened.items()):
            if not self._put(together, SMALL_BYTES):
                return
            del self._unopened[at]
        for epoch, keys in list(self._missed.items()):
            everyone = len(keys) >= MAX_MISSED
            named = () if everyone else tuple(sorted(keys))
            lost = Lost(epoch, named, self._missed_rows[epoch])
            if not self._put((lost,), SMALL_BYTES + 24 * len(named)):
                return
            del self._missed[epoch], self._missed_rows[epoch]

    # --- the thread

    def start(self) -> Spool:
        self._thread = threading.Thread(target=self._run, name="score-spool", daemon=True)
        self._thread.start()
        return self

    def stop(self, timeout_s: float) -> bool:
        """Write what waits and end; False if that did not succeed in time."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                return False
        self._lock.close()
        return not self._queue and not self._group

    def status(self) -> dict[str, Any]:
        waiting = self._folder.sealed()
        return {
            "requests": self.requests,
            "requests_dropped": self.requests_dropped,
            "rows": self.rows_taken,
            "rows_dropped": self.rows_dropped,
            "rows_expired": self._writer.rows_expired,
            "hits_dropped": self.hits_dropped,
            "queue_bytes": self._put_bytes - self._taken_bytes,
            "chunks_waiting": len(waiting),
            "chunk_bytes": sum(file_size(chunk.path) for chunk in waiting),
            "stalled": self.stalled,
        }

    def _run(self) -> None:
        while True:
            last = self._stop.wait(WAKE_S if self.stalled is None else RETRY_S)
            try:
                self.write(last=last)
                self.stalled = None
            except Exception as error:  # whatever it is, the line goes on and drops, counted
                if self.stalled is None:
                    log.error("scores are not archived: %s", error)
                self.stalled = str(error) or repr(error)
            if last:
                return

    def write(self, *, last: bool = False) -> None:
        """Write all that waits. Raises OSError: what is not on disk yet goes on waiting."""
        while self._queue or self._group:
            self._room()
            size = sum(size for _, size in self._group)
            while self._queue and size < GROUP_BYTES:
                self._group.append(self._queue.popleft())
                size += self._group[-1][1]
            records = [record for together, _ in self._group for record in together]
            self._writer.append(records, self._time_ns())
            self._taken_bytes += size
            self._group = []
        if last:
            if self._missed:
                self._name_missed()
                if self._queue:
                    self.write()
            self._writer.end()
        else:
            self._writer.tick(self._time_ns())
