"""The archive of scores: follows the spool, decides what is kept, and writes it as Parquet.

A process of its own beside the line. A chunk is taken out of the spool, read, and becomes at most one part a bank and a
`carry` with what is open behind it; only then is the chunk removed. Whatever is repeated after a crash makes the same
files again, so nothing is kept twice and nothing is lost. Clocks are arguments.
"""

from __future__ import annotations

import logging
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dosimeter.monitor.history import archive_part
from dosimeter.monitor.history.archive_folder import (
    ArchiveFolder,
    ChunkFile,
    day_of,
    write_whole,
)
from dosimeter.monitor.history.archive_part import About, Kept, add_counts, no_counts
from dosimeter.monitor.history.assembly import Assembly, Request
from dosimeter.monitor.history.chunk import Opened, Totals, encode, header
from dosimeter.monitor.history.chunk_reader import Chunk, SpoolError, read_chunk
from dosimeter.monitor.history.chunk_writer import end_leftovers
from dosimeter.monitor.history.lock import AlreadyWriting, WriterLock
from dosimeter.monitor.history.strata import Nearness, Sampler, Stratum

log = logging.getLogger(__name__)

RACES = 10
COUNTED = {
    "chunks": "read",
    "chunks_missing": "gave way before they were read",
    "chunks_refused": "that made no sense; set aside",
    "chunks_torn": "whose writer died",
    "bytes_torn": "at the end of those",
    "tokens_read": "in all chunks",
    "tokens_lost": "that found no room in the queue of the line, as it says itself",
    "tokens_unknown": "of no request that is known",
    "hits_unknown": "the same of decisions",
    "requests_unknown": "of no bank that is known",
    "requests_empty": "that are over without a scored token",
    "requests": "that are over",
    "tokens": "of those",
    "kept_requests": "of requests",
    "kept_tokens": "of those",
}
"""What is counted since the archive began. tokens_read = tokens + tokens_unknown + those of open requests, exactly."""


HandOn = Callable[[int, int, Sequence[Kept], int], None]
"""Of a chunk: its sequence, its wall clock, what is kept of it, and of how many of `rest` one is."""


class Archiver:
    """Call `step` until it says that there is nothing to do; then again, later."""

    def __init__(
        self, folder: ArchiveFolder, one_in: int, hand_on: HandOn = lambda *_: None
    ) -> None:
        """one_in: of what is neither flagged nor near, one request in so many is kept.

        hand_on: is given what was kept of each chunk, again after a crash.

        Raises AlreadyWriting, SpoolError, OSError.
        """
        folder.make()
        self._folder, self._hand_on = folder, hand_on
        self._lock = WriterLock(folder.work / "archive")
        try:
            self._sampler = Sampler(_key(folder.key), one_in)
            self._nearness = Nearness()
            self._done = -1
            self._assembly = Assembly()
            self.counts: Counter[str] = Counter(dict.fromkeys(COUNTED, 0))
            self._recover()
        except BaseException:
            self._lock.close()
            raise

    def close(self) -> None:
        self._lock.close()

    def end_spool(self) -> bool:
        """End the chunk of a line that is gone; False while one is alive and writes."""
        try:
            lock = WriterLock(self._folder.spool / "chunks")
        except AlreadyWriting:
            return False
        try:
            end_leftovers(self._folder)
        finally:
            lock.close()
        return True

    def step(self) -> bool:
        """Read one chunk; False where there is none. After any error begin anew with another Archiver."""
        taken = self._folder.taken() or self._take_next()
        if not taken:
            return False
        self._read(taken[0])
        return True

    @property
    def chunks_waiting(self) -> int:
        return len(self._folder.sealed()) + len(self._folder.taken())

    @property
    def requests_open(self) -> int:
        return len(self._assembly.open)

    # --- chunks

    def _recover(self) -> None:
        """Take up what is open, and forget files whose successors are there."""
        carries = self._folder.carries()
        for _, path in carries[:-1]:
            path.unlink()
        if carries:
            self._done, path = carries[-1]
            self._load(path)
        for chunk in self._folder.taken():
            if chunk.sequence <= self._done:
                chunk.path.unlink()
        for path in [*self._folder.work.glob("*.part"), *self._folder.path.glob("day=*/*.part")]:
            path.unlink()

    def _load(self, path: Path) -> None:
        carry = read_chunk(path)
        if carry.torn:
            raise SpoolError(str(path), f"{carry.torn} bytes at its end are not whole")
        for record in carry.records:
            if isinstance(record, Totals):
                self.counts.update(record.counts)
        self._assembly.take(carry.records)

    def _take_next(self) -> list[ChunkFile]:
        """Out of the spool, where it could give way to newer ones."""
        for chunk in self._folder.sealed():
            taken = self._folder.work / chunk.path.name
            try:
                chunk.path.replace(taken)
            except FileNotFoundError:  # gave way in this very moment
                continue
            return [ChunkFile(chunk.sequence, chunk.rows, taken)]
        return []

    def _read(self, file: ChunkFile) -> None:
        now_ns, over = self._requests_of(file)
        day = day_of(now_ns)  # by our own clock: that of a server must not decide what is old
        decided = self._decide(over)
        for kept, about in decided:
            part = self._folder.part(day, file.sequence, file.sequence, about.bank.digest)
            archive_part.write_part(part.path, kept, about)
        everything = [one for kept, _ in decided for one in kept]
        self._hand_on(file.sequence, now_ns, everything, self._sampler.one_in)
        self._carry(file.sequence, now_ns)
        for sequence, path in self._folder.carries():
            if sequence < file.sequence:
                path.unlink()
        file.path.unlink(missing_ok=True)
        self._done = file.sequence

    def _requests_of(self, file: ChunkFile) -> tuple[int, list[Request]]:
        """(wall clock of the chunk, requests that are over after it)."""
        assembly = self._assembly
        missing = max(0, file.sequence - self._done - 1)
        self.counts["chunks"] += 1
        self.counts["chunks_missing"] += missing
        if missing:
            assembly.break_off()
        try:
            chunk = read_chunk(file.path)
        except SpoolError as error:
            log.error("%s", error)
            file.path.replace(self._folder.refused / file.path.name)
            self.counts["chunks_refused"] += 1
            assembly.break_off()
            return 0, []
        over = assembly.take(chunk.records, chunk.time_ns)
        if not chunk.sealed:
            self._torn(chunk)
        over += assembly.stale(chunk.time_ns)
        self.counts["tokens_read"] += chunk.rows
        self.counts.update(assembly.counts)
        assembly.counts.clear()
        return chunk.time_ns, over

    def _torn(self, chunk: Chunk) -> None:
        """Its writer died: what it had not written is not known to anyone."""
        self.counts["chunks_torn"] += 1
        self.counts["bytes_torn"] += chunk.torn
        self._assembly.break_off()

    def _carry(self, sequence: int, now_ns: int) -> None:
        records = [Totals(dict(sorted(self.counts.items())))]
        body = b"".join(encode(record) for record in (*records, *self._assembly.records()))
        write_whole(self._folder.carry(sequence), header(sequence, now_ns) + body)
        self._assembly.forget()

    # --- what is kept

    def _decide(self, over: Sequence[Request]) -> list[tuple[list[Kept], About]]:
        """What is kept and what its file says, a bank."""
        banks: dict[str, list[Request]] = {}
        for request in over:
            if len(request.codes):
                banks.setdefault(request.opened.bank, []).append(request)
            else:
                self.counts["requests_empty"] += 1
        return [self._decide_bank(requests) for _, requests in sorted(banks.items())]

    def _decide_bank(self, requests: list[Request]) -> tuple[list[Kept], About]:
        near = self._near(requests)
        kept: list[Kept] = []
        counts = no_counts()
        for request, is_near in zip(requests, near, strict=True):
            stratum = (
                Stratum.FLAGGED if request.fired else Stratum.NEAR if is_near else Stratum.REST
            )
            uniform = self._sampler.takes(request.epoch, request.key)
            keeps = uniform or stratum is not Stratum.REST
            if keeps:
                one_in = self._sampler.one_in if stratum is Stratum.REST else 1
                kept.append(Kept(request, stratum, one_in, uniform))
            tokens = len(request.codes)
            here = {"requests": 1, "tokens": tokens}
            here |= {"kept_requests": int(keeps), "kept_tokens": tokens * keeps}
            add_counts(counts, {stratum.name.lower(): here})
            self.counts["requests"] += 1
            self.counts["tokens"] += tokens
            self.counts["kept_requests"] += int(keeps)
            self.counts["kept_tokens"] += tokens * keeps
        times = [time for one in kept for time in (one.request.first_ns, one.request.last_ns)]
        seen = [time for time in times if time]
        since, until = (min(seen), max(seen)) if seen else (0, 0)
        return kept, About(requests[0].bank, self._sampler.one_in, counts, since, until)

    def _near(self, requests: list[Request]) -> list[bool]:
        by_program: dict[str, list[int]] = {}
        for index, request in enumerate(requests):
            by_program.setdefault(request.opened.program, []).append(index)
        found = [False] * len(requests)
        for program, indices in by_program.items():
            text = self._assembly.programs.get(program)
            near = self._nearness.of([requests[index] for index in indices], text)
            for index, is_near in zip(indices, near, strict=True):
                found[index] = is_near
        return found


def status(archiver: Archiver) -> dict[str, Any]:
    """What the archive has done since it began, over restarts."""
    return {
        **archiver.counts,
        "chunks_waiting": archiver.chunks_waiting,
        "requests_open": archiver.requests_open,
    }


def account(folder: ArchiveFolder) -> dict[str, Any]:
    """The same, of an archive that another process may be writing. Raises SpoolError, OSError."""
    counts = dict.fromkeys(COUNTED, 0)
    requests_open = 0
    for _ in range(RACES):
        carries = folder.carries()
        if not carries:
            break
        try:
            records = read_chunk(carries[-1][1]).records
        except FileNotFoundError:  # its successor is there now
            continue
        requests_open = sum(isinstance(record, Opened) for record in records)
        for record in records:
            if isinstance(record, Totals):
                counts |= record.counts
        break
    waiting = len(folder.sealed()) + len(folder.taken())
    return {**counts, "chunks_waiting": waiting, "requests_open": requests_open}


def _key(path: Path) -> bytes:
    """The secret of the sample, made once: with another one it would take other requests from here on."""
    if not path.exists():
        write_whole(path, secrets.token_bytes(32))
        path.chmod(0o600)
    key = path.read_bytes()
    if len(key) != 32:
        raise SpoolError(str(path), f"{len(key)} bytes, the key of the sample has 32", "remove it")
    return key
