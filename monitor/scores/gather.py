"""Records of the topic of scores become an archive again, on which `rules backtest` runs: the other end of `packed`.

Delivery is at least once and in the order of a request, so pieces may come twice, and some may never come: a request is
written when it is whole, once. Strangers may write to the topic: what is held of requests, whole or not, is bounded,
and which they were stands on disk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from kafka import TopicPartition

from dosimeter.detectors.findings import visible
from dosimeter.monitor.history.archive_folder import ArchiveFolder, day_of
from dosimeter.monitor.history.archive_part import (
    ROW_GROUP_TOKENS,
    About,
    Kept,
    no_counts,
    write_part,
)
from dosimeter.monitor.history.assembly import Request
from dosimeter.monitor.history.chunk_reader import SpoolError
from dosimeter.monitor.history.strata import Stratum
from dosimeter.monitor.scores.packed import Unpacked, unpack
from dosimeter.monitor.scores.seen import WRITTEN, Seen
from dosimeter.monitor.sinks.config import KafkaConfig
from dosimeter.monitor.sinks.kafka_consumer import connected_consumer

OPEN_BYTES = 256 << 20
"""Of records of requests that are not whole yet; beyond it the oldest request is given up."""
WHOLE_BYTES = 64 << 20
"""Of records of whole requests; then they are written, also where few tokens have many columns, or there are none."""
COLUMN_BYTES = 200
"""What the two names of a column take in memory, besides their letters."""
Identity = tuple[int, int, str, str, int]
"""Epoch, key, the digests of bank and program, and when it began: a request goes on as another where bank or program
changes, and as one more where they change back."""
COUNTED = {
    "records": "read",
    "refused": "that no sidecar of this release wrote",
    "again": "that had come before",
    "requests": "written",
    "tokens": "of those",
    "incomplete": "requests of which a record is missing; not written",
    "incomplete_tokens": "of those, as far as they came",
}


@dataclass(slots=True)
class _Open:
    """A request of which not everything has come. lost: tokens, where it was given up before."""

    parts: int
    lost: int | None
    bytes: int = 0
    pieces: dict[int, Unpacked] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        return sum(len(one.rows.codes) for one in self.pieces.values())


class Gatherer:
    """Call `take` for every record and `finish` at the end. counts: of COUNTED."""

    def __init__(self, folder: ArchiveFolder, open_bytes: int = OPEN_BYTES) -> None:
        """Raises OSError."""
        self.counts: Counter[str] = Counter(dict.fromkeys(COUNTED, 0))
        self.refusals: list[str] = []  # the first few, in words
        self._folder, self._open_bytes = folder, open_bytes
        self._open: dict[Identity, _Open] = {}
        self._bytes = 0  # of open requests
        self._whole_bytes = 0  # of whole ones that are not written yet
        self._waiting = 0  # tokens of those
        self._seen = Seen(folder.path)
        self._whole: dict[tuple[str, str, int], list[Kept]] = {}  # day, bank, sample
        self._files = 0

    def take(self, value: bytes, place: str) -> None:
        """place: for the message, where it is refused. Raises OSError."""
        self.counts["records"] += 1
        try:
            one = unpack(value, place)
            identity = _identity(one)
            known = self._open.get(identity)
            if known is not None and not _goes_with(one, known):
                raise SpoolError(place, "it does not fit the other pieces of its request")
        except SpoolError as error:
            self.counts["refused"] += 1
            if len(self.refusals) < 3:
                self.refusals.append(visible(f"{error.place}: {error.message}"))  # it quotes
            return
        if known is None:
            known = _Open(one.piece.parts, self._seen.get(identity))
        if known.lost == WRITTEN or one.piece.part in known.pieces:
            self.counts["again"] += 1
            return
        self._open[identity] = known
        known.pieces[one.piece.part] = one
        size = held_bytes(one, value)
        known.bytes += size
        self._bytes += size
        if len(known.pieces) == known.parts:
            self._close(identity)
        while self._bytes > self._open_bytes:
            self._give_up(next(iter(self._open)))

    def finish(self) -> None:
        """What is whole is written, what is not is counted. Raises OSError."""
        self._write()
        while self._open:
            self._give_up(next(iter(self._open)))
        self._seen.close()

    def _give_up(self, identity: Identity) -> None:
        """For the first time, or again, after more of it has come: then it is counted as one all the same."""
        one = self._open.pop(identity)
        self._bytes -= one.bytes
        tokens = max(one.tokens, one.lost or 0)
        self.counts["incomplete"] += one.lost is None
        self.counts["incomplete_tokens"] += tokens - (one.lost or 0)
        self._seen.put(identity, tokens)

    def _close(self, identity: Identity) -> None:
        one = self._open.pop(identity)
        self._bytes -= one.bytes
        self._whole_bytes += one.bytes
        if one.lost is not None:  # it was given up, and sent again
            self.counts["incomplete"] -= 1
            self.counts["incomplete_tokens"] -= one.lost
        self._seen.put(identity, WRITTEN)
        pieces = [one.pieces[part] for part in range(one.parts)]
        kept = _kept(pieces)
        self.counts["requests"] += 1
        self.counts["tokens"] += len(kept.request.codes)
        self._waiting += len(kept.request.codes)
        at = day_of(pieces[0].time_ns), identity[2], pieces[0].piece.sample
        self._whole.setdefault(at, []).append(kept)
        if self._waiting >= ROW_GROUP_TOKENS or self._whole_bytes >= WHOLE_BYTES:
            self._write()

    def _write(self) -> None:
        for (day, bank, sample), kept in self._whole.items():
            part = self._folder.part(day, self._files, self._files, bank)
            write_part(part.path, kept, _about(kept, sample))
            self._files += 1  # a number of its own: files of one number would hide each other
        self._whole.clear()
        self._whole_bytes = self._waiting = 0


def held_bytes(one: Unpacked, value: bytes) -> int:
    return len(value) + COLUMN_BYTES * len(one.bank.columns if one.bank else ())


def _identity(one: Unpacked) -> Identity:
    opened = one.opened
    return opened.epoch, opened.key, opened.bank, opened.program, one.piece.first_ns


def _goes_with(one: Unpacked, known: _Open) -> bool:
    other = next(iter(known.pieces.values()))
    same = one.piece.parts == known.parts and one.piece.sample == other.piece.sample
    return same and one.rows.codes.shape[1] == other.rows.codes.shape[1]


def _kept(pieces: Sequence[Unpacked]) -> Kept:
    first, last = pieces[0], pieces[-1]
    if first.bank is None:  # `unpack` takes no first piece without
        raise ValueError("a first piece without its bank")
    request = Request(
        first.opened,
        first.bank,
        heard_ns=first.time_ns,
        fired=[fired for one in pieces for fired in one.fired],
        whole=first.opened.whole,
        ended=last.ended,
    )
    segments = np.concatenate([one.rows.segments for one in pieces])
    codes = np.concatenate([one.rows.codes for one in pieces])
    request.add(segments, codes, (first.piece.first_ns, first.piece.last_ns))
    stratum = Stratum[first.piece.stratum.upper()]
    one_in = first.piece.sample if stratum is Stratum.REST else 1
    return Kept(request, stratum, one_in, first.piece.uniform)


def _about(kept: Sequence[Kept], sample: int) -> About:
    """counts: by their weights; how many requests there really were only the archive knows that kept these."""
    counts = no_counts()
    for one in kept:
        here, tokens = counts[one.stratum.name.lower()], len(one.request.codes)
        here["kept_requests"] += 1
        here["kept_tokens"] += tokens
        here["requests"] += one.one_in
        here["tokens"] += tokens * one.one_in
    times = [time for one in kept for time in (one.request.first_ns, one.request.last_ns) if time]
    since, until = (min(times), max(times)) if times else (0, 0)
    return About(kept[0].request.bank, sample, counts, since, until)


def read_topic(config: KafkaConfig, *, quiet_s: float) -> Iterator[tuple[str, bytes]]:
    """(place, value) of everything that `config.topic` holds now. Raises KafkaError, TimeoutError."""
    consumer = connected_consumer(config, None, client_id="dosimeter-scores-read")
    try:
        topic = config.topic
        there = [TopicPartition(topic, n) for n in consumer.partitions_for_topic(topic) or ()]
        if not there:
            raise LookupError(f"topic `{topic}` does not exist, or may not be read")
        consumer.assign(there)
        consumer.seek_to_beginning(*there)
        waited_s, ends = 0.0, dict[Any, int]()
        while [one for one in there if _is_behind(consumer, one, ends)]:
            polled = consumer.poll(timeout_ms=200)
            waited_s = 0.0 if polled else waited_s + 0.2
            if waited_s > quiet_s:
                raise TimeoutError(f"topic `{topic}`: nothing came for {quiet_s:g} s")
            for records in polled.values():
                for one in records:
                    yield f"{one.topic}-{one.partition} offset {one.offset}", one.value or b""
    finally:
        consumer.close()


def _is_behind(consumer: Any, partition: Any, ends: dict[Any, int]) -> bool:
    """By the high watermark that came with the first fetch: some brokers list a lower end, and a topic in use grows."""
    end = consumer.highwater(partition)  # None until then
    return end is None or consumer.position(partition) < ends.setdefault(partition, end)
