"""A synthetic history of any size, sealed, with the columns and the entropy of a real one, written in seconds.

Owns the distributions: 20 rules, 200 tenants of which few have most alerts, a million subjects, event times that rise
with some disorder, one label or access in a hundred. It writes files, their manifest and no log; it measures nothing.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import SQL, HotStore, Segment
from dosimeter.monitor.audit.store.sealed_file import CORE, GROUP, hash_of, written
from dosimeter.monitor.audit.store.sealing import MAX_ROWS
from dosimeter.monitor.bench import audit_feed
from dosimeter.rules.canonical import canonical

RULES, TENANTS, SUBJECTS, SOURCES = 20, 200, 1_000_000, 8
SEGMENT = MAX_ROWS
BEGIN_NS = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000_000
DAY_NS, HOUR_NS = 86_400_000_000_000, 3_600_000_000_000
DAYS = 180
BATCH = 16  # entries of one commit
FEATURES = ("deception", "scam", "sycophancy", "defection", "power-seeking", "self-harm")
SEVERITIES = ("critical", "high", "medium", "low", "info")
KINDS = ("alert", "label", "view", "coverage")
_SHARE = (0.98, 0.005, 0.005, 0.01)

_FEW = f"INSERT INTO sealed_few VALUES ({', '.join('?' * len(CORE))})"

Ints = npt.NDArray[np.int64]


def write_history(
    folder: HistoryFolder, hot: HotStore, rows: int, *, days: int = DAYS, seed: int = 0
) -> None:
    """Seals `rows` made-up entries into `folder` and names them in `hot`, which must be empty."""
    world = _World(seed, days * DAY_NS / max(rows, 1))
    with hot.writing() as db:
        db.executemany(SQL["put_blob"], [(hashlib.sha256(b).digest(), b) for b in world.blobs])
    for first in range(0, rows, SEGMENT):
        past = min(first + SEGMENT, rows)
        name = f"{first:012d}-{past:012d}.parquet"
        batch = world.batch(first, past - first)
        with written(folder.core / name, CORE, {"version": 1}) as writer:
            writer.write_batch(batch, GROUP)
        times = batch["time_ns"].to_numpy()
        low, high = int(times.min()), int(times.max())
        segment = Segment(first, past, low, high, name, hash_of(folder.core / name), None)
        few = batch.filter(pa.compute.not_equal(batch["kind"], "alert"))
        with hot.writing() as db:
            db.executemany(_FEW, zip(*(few[name].to_pylist() for name in CORE.names), strict=True))
            db.execute("INSERT INTO segment VALUES (?, ?, ?, ?, ?, ?, ?, 0, 1)", _row(segment))
            db.execute("UPDATE meta SET value = ? WHERE name = 'size'", (str(past),))


def _row(s: Segment) -> tuple[int | str | None, ...]:
    return s.first, s.past, s.from_ns, s.to_ns, s.core, s.sha256, s.evidence


class _World:
    """What is the same in all rows."""

    def __init__(self, seed: int, step_ns: float) -> None:
        self.rng, self.step_ns = np.random.default_rng(seed), step_ns
        self.tenants, self.subjects = self._ids(TENANTS), self._ids(SUBJECTS)
        self.blobs = [
            canonical({**audit_feed.rule(n), "clause": 0, "also": []}) for n in range(RULES)
        ]
        hashes = b"".join(hashlib.sha256(blob).digest() for blob in self.blobs)
        self.terms = np.frombuffer(hashes, np.uint8).reshape(RULES, 32)
        self.recent = self._ids(1)
        self.sources = [self.rng.bytes(16).hex() for _ in range(SOURCES)]
        self.epochs = [self.rng.bytes(8).hex() for _ in range(SOURCES)]

    def batch(self, first: int, n: int) -> pa.RecordBatch:
        rng = self.rng
        idx = np.arange(first, first + n, dtype=np.int64)
        ingested = (
            BEGIN_NS
            + (idx // BATCH * BATCH + rng.random(n // BATCH + 2)[idx // BATCH - first // BATCH])
            * self.step_ns
        ).astype(np.int64)
        time = ingested - rng.exponential(2e9, n).astype(np.int64)
        kind = rng.choice(len(KINDS), n, p=_SHARE)
        of_alert = kind == 0
        rule = np.minimum(rng.geometric(0.2, n) - 1, RULES - 1)
        source = rng.integers(0, SOURCES, n)
        tenant = np.minimum((rng.pareto(1.2, n) * 4).astype(np.int64), TENANTS - 1)
        ids = self._ids_at(time)
        count = rng.integers(1, 32, n)
        start = rng.geometric(0.01, n)
        threshold = 150 + 23 * rule
        about = self.recent[rng.integers(0, len(self.recent), n)]
        self.recent = ids
        columns = {
            "idx": pa.array(idx),
            "id": _fixed(ids),
            "kind": _texts(KINDS, kind),
            "time_ns": pa.array(time),
            "ingested_ns": pa.array(ingested),
            "source": _texts(self.sources, source),
            "seq": pa.array(idx // SOURCES),
            "tenant": _fixed(self.tenants[tenant], of_alert),
            "subject": _fixed(self.subjects[rng.integers(0, SUBJECTS, n)], of_alert),
            "conversation": _fixed(self._random(n, 16), of_alert),
            "route": _texts(("chat", "completion"), rule % 2, of_alert),
            "epoch": _texts(self.epochs, source, of_alert),
            "key": _masked([f"{i:016x}" for i in (idx // 2).tolist()], of_alert),
            "decision": _texts(("notified", "shadow", "deduped"), rng.choice(3, n, p=(0.3, 0.6, 0.1)), of_alert),
            "reason": _texts(("",), rule * 0, of_alert),
            "would_act": _numbers(rng.integers(0, 2, n), of_alert),
            "clause": _numbers(rng.integers(0, 2, n), of_alert),
            "span_start": _numbers(start, of_alert),
            "span_end": _numbers(start + count, of_alert),
            "position": _numbers(start + count - 1, of_alert),
            "value_sum": _numbers(((threshold + rng.exponential(60, n)) * count).astype(np.int64), of_alert),
            "value_n": _numbers(count, of_alert),
            "tokens_scored": _numbers(start + count + rng.geometric(0.05, n), of_alert),
            "tokens_unscored": _numbers(rng.choice((0, 0, 0, 5), n), of_alert),
            "terms": _fixed(self.terms[rule], of_alert),
            "evidence": _fixed(self._random(n, 32), of_alert),
            "rule": _texts([f"team-{r % 4}.rule-{r:02d}" for r in range(RULES)], rule, of_alert),
            "feature": _texts(FEATURES, rule % len(FEATURES), of_alert),
            "status": _texts(("live", "shadow"), (rule % 5) // 4, of_alert),
            "severity": _texts(SEVERITIES, rule % len(SEVERITIES), of_alert),
            "scope": _texts(("answer", "message"), rule % 2, of_alert),
            "shape": _texts(("average", "for", "once"), rule % 3, of_alert),
            "level": _texts(("1 in 1000 answers", "20 a day"), rule % 2, of_alert),
            "model": _texts(("dosimeter-lab",), rule * 0, of_alert),
            "threshold_code": _numbers(threshold, of_alert),
            "about": _fixed(about, (kind == 1) | (kind == 2)),
            "actor": _texts(("reviewer:" + "ab" * 16, "auditor:" + "cd" * 16), kind % 2, (kind == 1) | (kind == 2)),
            "verdict": _texts(("true", "false", "unsure"), rng.integers(0, 3, n), kind == 1),
            "more": _masked([_covered(at) for at in (time // HOUR_NS).tolist()], kind == 3),
        }  # fmt: skip
        return pa.RecordBatch.from_arrays([columns[name] for name in CORE.names], schema=CORE)

    def _random(self, n: int, size: int) -> npt.NDArray[np.uint8]:
        return np.frombuffer(self.rng.bytes(n * size), np.uint8).reshape(n, size)

    def _ids(self, n: int) -> npt.NDArray[np.uint8]:
        return self._random(n, 16)

    def _ids_at(self, time_ns: Ints) -> npt.NDArray[np.uint8]:
        """The 48 bits of milliseconds of an event, then chance."""
        ids = self._random(len(time_ns), 16).copy()
        ids[:, :6] = (time_ns // 1_000_000).astype(">u8").view(np.uint8).reshape(-1, 8)[:, 2:]
        return ids


def _covered(hour: int) -> str:
    """The rest of the entry of one source's reconciled hour."""
    return (
        f'{{"closed":90,"from_ns":{hour * HOUR_NS},"requests":90,"scored":99990,"served":100000,'
        f'"served_by":{{"usage":100000}},"to_ns":{(hour + 1) * HOUR_NS},"unaccounted":0,'
        '"unscored":{"dropped":10}}'
    )


def _fixed(
    rows: npt.NDArray[np.uint8], there: npt.NDArray[np.bool_] | None = None
) -> pa.FixedSizeBinaryArray:
    found = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(rows.shape[1]), len(rows), [None, pa.py_buffer(np.ascontiguousarray(rows))]
    )
    return found if there is None else _masked(found, there)


def _numbers(values: Ints, there: npt.NDArray[np.bool_]) -> pa.Array:
    return pa.array(values, pa.int64(), mask=~there)


def _texts(
    values: tuple[str, ...] | list[str], at: Ints, there: npt.NDArray[np.bool_] | None = None
) -> pa.Array:
    mask = None if there is None else ~there
    indices = pa.array(at, pa.int32(), mask=mask)
    return pa.DictionaryArray.from_arrays(indices, pa.array(values)).cast(pa.string())


def _masked(values: pa.Array | list[str], there: npt.NDArray[np.bool_]) -> pa.Array:
    found = values if isinstance(values, pa.Array) else pa.array(values)
    return pa.compute.if_else(pa.array(there), found, pa.scalar(None, found.type))
