"""The proof that erasing erases: people are planted, erased, and then looked for as an attacker would.

Owns the planting, and two attacks. One reads every byte of every file for their names and keys. The other has names of
tenants and users, copies of all but keys.db from before the erasure, and what is in keys.db after it; it tries to say
whose an alert was. Both are run before the erasure too, where they must succeed: else they prove nothing.
"""

from __future__ import annotations

import secrets
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dosimeter.monitor.audit.erasure.erase import Eraser
from dosimeter.monitor.audit.erasure.known import KnownEntries
from dosimeter.monitor.audit.erasure.reidentify import Planted, opened, told_by_leaf
from dosimeter.monitor.audit.erasure.traces import Traces
from dosimeter.monitor.audit.evidence.evidence_body import encode_body
from dosimeter.monitor.audit.people.access import Actor
from dosimeter.monitor.audit.store.appending import Appender
from dosimeter.monitor.audit.store.entries import Entry, own_id
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import HotStore
from dosimeter.monitor.audit.store.keys import KeyStore, month_of
from dosimeter.monitor.audit.store.sealed_file import (
    CORE,
    EVIDENCE,
    core_batch,
    evidence_batch,
    written,
)
from dosimeter.monitor.tlog.note import Signer
from dosimeter.monitor.tlog.writer import LogWriter

BATCH = 500
KEPT = "bystander"
"""Of the tenant and the users who stay."""
OPERATOR = Actor("selftest", "operator")


@dataclass(frozen=True, slots=True)
class Attacked:
    """files: in which a planted name was found; keys: of those destroyed, still found; alerts: re-identified."""

    files: tuple[str, ...]
    keys: int
    alerts: int


@dataclass(frozen=True, slots=True)
class Proof:
    """before: the same attacks, with keys.db as it was. lost: alerts of others that cannot be read any more."""

    planted: int
    subjects: int
    before: Attacked
    after: Attacked
    lost: int
    seconds: float

    @property
    def ok(self) -> bool:
        """That attacks failed, and would have been noticed to succeed."""
        succeeded = self.before.files and self.before.keys and self.before.alerts == self.planted
        failed = not (self.after.files or self.after.keys or self.after.alerts)
        return bool(succeeded) and failed and not self.lost

    def __str__(self) -> str:
        said = (
            "every attack succeeded before"
            if self.ok
            else "NOT erased, or the attacks prove nothing"
        )
        return (
            f"{self.planted:,} alerts of {self.subjects:,} subjects erased in {self.seconds:.1f} s: "
            f"{self.after.alerts:,} re-identified, {self.after.keys:,} keys and {len(self.after.files):,} "
            f"files with their names found; {self.lost:,} alerts of others lost; {said}"
        )


def selftest(
    folder: Path,
    alerts: int,
    *,
    now_ns: Callable[[], int] = time.time_ns,
) -> Proof:
    """Half of the alerts are of many users of one tenant, who is erased; half of one user of a tenant who stays.

    folder: an empty one, left for whoever wants to look.
    """
    mark = f"planted{secrets.token_hex(6)}"
    history, copy = (
        HistoryFolder(folder / "history").make(),
        HistoryFolder(folder / "before").make(),
    )
    with HotStore(history.hot) as hot, KeyStore(history.keys) as keys:
        appender = Appender(hot, keys, now_ns=now_ns)
        planted = list(_planted(mark, alerts, now_ns))
        others = list(_others(max(2, alerts // 20), now_ns))
        mixed = sorted(planted + others, key=lambda one: one.id)
        with LogWriter(history.log, Signer.generate("selftest")) as log:
            for half in (mixed[::2], mixed[1::2]):
                first = hot.size
                _append(appender, half)
                log.append(first, [leaf for _, leaf in hot.leaves(first, hot.size)])
                if first == 0:
                    seal(hot, history, hot.size)
            log.checkpoint()
            _copied(history, copy, hot)
            subjects = _subjects(keys, planted)
            traces = Traces(mark, [key for key in subjects.values() if key is not None])
            before = _attacked(history, copy, traces, planted, keys)
            begun = time.perf_counter()
            eraser = Eraser(history, appender, now_ns=now_ns)
            eraser.erase("tenant", None, f"{mark}-tenant", actor=OPERATOR, reason="selftest")
            eraser.erase("user", KEPT, f"{mark}-user", actor=OPERATOR, reason="selftest")
            seconds = time.perf_counter() - begun
            log.append(len(mixed), [leaf for _, leaf in hot.leaves(len(mixed), hot.size)])
            log.checkpoint()
        after = _attacked(history, copy, traces, planted, keys)
        lost = len(others) - len(opened(history, hot, keys, others))
    return Proof(len(planted), len(subjects), before, after, lost, seconds)


def _planted(mark: str, alerts: int, now_ns: Callable[[], int]) -> Iterator[Planted]:
    for n in range(alerts):
        if n % 2:
            yield _one(KEPT, f"{mark}-user", f"{mark}-talk-{n // 20}", now_ns(), mark)
        else:
            who = n // 10
            yield _one(f"{mark}-tenant", f"{mark}-user-{who}", f"{mark}-chat-{who}", now_ns(), mark)


def _others(count: int, now_ns: Callable[[], int]) -> Iterator[Planted]:
    for n in range(count):
        yield _one(KEPT, f"{KEPT}-{n % 5}", f"talk-{n}", now_ns(), KEPT)


def _one(tenant: str, user: str, conversation: str, time_ns: int, text: str) -> Planted:
    labels = {"tenant": tenant, "user": user, "conversation": conversation}
    more = {"request_id": f"{text}-request", "traceparent": f"00-{text}-01"}
    words = {"labels": labels | more, "summary": f"{text} said it", "coverage": "all"}
    body = encode_body(words, None, ())
    return Planted(own_id(time_ns), tenant, user, conversation, body, time_ns)


def _append(appender: Appender, planted: Sequence[Planted]) -> None:
    for first in range(0, len(planted), BATCH):
        entries = [
            Entry(
                "alert",
                one.id,
                one.time_ns,
                source="5e" * 16,
                fields={"rule": "selftest", "decision": "notified"},
                names={"tenant": one.tenant, "user": one.user, "conversation": one.conversation},
                evidence=one.body,
            )
            for one in planted[first : first + BATCH]
        ]
        appender.append(entries)


def _subjects(keys: KeyStore, planted: Sequence[Planted]) -> dict[bytes, bytes | None]:
    """The key of each subject."""
    found: dict[bytes, bytes | None] = {}
    for one in planted:
        subject = _looked_up(keys, one)
        if subject is not None:
            found[subject] = keys.key(subject, month_of(one.time_ns))
    return found


def _looked_up(keys: KeyStore, one: Planted) -> bytes | None:
    tenant = keys.find("tenant", b"", one.tenant)
    return None if tenant is None else keys.find("user", tenant, one.user)


def seal(hot: HotStore, folder: HistoryFolder, past: int) -> None:
    """Everything before that index out of the hot store, into files, whatever its age."""
    db, columns = hot.db, ", ".join(CORE.names)
    rows = db.execute(f"SELECT {columns} FROM entry WHERE idx < ? ORDER BY idx", (past,)).fetchall()
    ids = {row[CORE.names.index("id")] for row in rows}
    evidence = db.execute(
        f"SELECT {', '.join(EVIDENCE.names)} FROM evidence ORDER BY id"
    ).fetchall()
    mine = [row for row in evidence if row[0] in ids]
    name = f"{rows[0][0]:012d}-{past:012d}.parquet"
    with written(folder.core / name, CORE, {}) as file:
        file.write_batch(core_batch(rows))
    with written(folder.evidence / name, EVIDENCE, {}) as file:
        file.write_batch(evidence_batch(mine))
    times = [row[CORE.names.index("time_ns")] for row in rows]
    with hot.writing():
        db.executemany("DELETE FROM evidence WHERE id = ?", [(row[0],) for row in mine])
        db.execute("DELETE FROM entry WHERE idx < ?", (past,))
        db.execute(
            "INSERT INTO segment (first, past, from_ns, to_ns, core, sha256, evidence)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (rows[0][0], past, min(times), max(times), name, "", name),
        )


def _copied(history: HistoryFolder, copy: HistoryFolder, hot: HotStore) -> None:
    """A backup of everything but keys.db."""
    target = sqlite3.connect(copy.hot)
    hot.db.backup(target)
    target.close()
    for name in ("core", "evidence", "log"):
        shutil.copytree(history.root / name, copy.root / name, dirs_exist_ok=True)


def _attacked(
    history: HistoryFolder,
    copy: HistoryFolder,
    traces: Traces,
    planted: Sequence[Planted],
    keys: KeyStore,
) -> Attacked:
    files, keys_found = traces.within(history.root)
    with HotStore(copy.hot) as hot:
        leaves = {leaf["id"]: leaf for leaf in KnownEntries(hot, copy).of_kind("alert")}
        known = {
            one.id for one in planted if told_by_leaf(leaves[one.id], one, _looked_up(keys, one))
        }
        known |= opened(copy, hot, keys, planted)
    return Attacked(tuple(sorted(files)), keys_found, len(known))
