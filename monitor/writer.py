"""The thread that makes decisions durable: everything that waits goes into one commit.

It owns the queue before the ledger and its bound. Handing over is one step without a lock of ours: the
line never waits for this thread, whatever it is at. When the disk stalls the queue fills, the line
sees no `room` and stops reading the wire: scores are then dropped at the tap, and counted; an alert
never. What the ledger refuses for what it is (a defect of ours) is parted from its group and kept in
a file beside it. Between commits it does the chores of a ledger, one small part at a time. The writer
does not know what a record means.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from dosimeter.monitor.history.ledger import LedgerStalled
from dosimeter.monitor.history.records import Account, LedgerRecord
from dosimeter.monitor.history.refused import Refused
from dosimeter.monitor.latency import Latency

log = logging.getLogger(__name__)

LIMIT = 4096
"""Records that may wait. One read of the wire adds far fewer, so the bound is soft by that much."""
RETRY_S = 0.5
HURRY_S = 0.1
LOOK_S = 0.005
AWAKE_S = 1.0
"""For so long after a record it looks every LOOK_S by itself: alerts that follow each other closely share a commit, and
at 1,000 a second this thread takes a third less processor time. What comes alone is committed at once. Accounts alone,
which come every half second, are no reason to stay awake."""


class Chores(Protocol):
    """What is done between commits, in parts. `turn` does one and returns the seconds until the next; never raises.

    `hurry`, from another thread and more than once: a turn that takes long is to end.
    """

    def turn(self) -> float: ...

    def hurry(self) -> None: ...


class Sink(Protocol):
    """What the writer needs of a ledger: one call, durable when it returns."""

    def append(
        self,
        records: Sequence[LedgerRecord] = (),
        *,
        blobs: Mapping[str, bytes] | None = None,
        accounts: Sequence[Account] = (),
        evidence: Mapping[str, bytes] | None = None,
    ) -> object: ...


@dataclass(slots=True)
class Handed:
    """What one call of `put` hands over; the line changes none of it afterwards."""

    records: Sequence[tuple[LedgerRecord, int]]
    blobs: Mapping[str, bytes]
    accounts: Sequence[Account]
    evidence: Mapping[str, bytes]
    defects: Sequence[Mapping[str, object]]


@dataclass(slots=True)
class Group:
    """What the next commit will hold."""

    records: list[LedgerRecord] = field(default_factory=list)
    decided_ns: list[int] = field(default_factory=list)  # monotonic, one for each record
    blobs: dict[str, bytes] = field(default_factory=dict)
    accounts: dict[str, Account] = field(default_factory=dict)  # the newest of each epoch
    evidence: dict[str, bytes] = field(default_factory=dict)
    defects: list[Mapping[str, object]] = field(default_factory=list)  # not for the ledger

    def __len__(self) -> int:
        entries = len(self.records) + len(self.accounts) + len(self.evidence) + len(self.blobs)
        return entries + len(self.defects)

    def add(self, handed: Handed) -> None:
        for record, decided_ns in handed.records:
            self.records.append(record)
            self.decided_ns.append(decided_ns)
        self.blobs.update(handed.blobs)
        self.accounts.update({account.epoch: account for account in handed.accounts})
        self.evidence.update(handed.evidence)
        self.defects += handed.defects

    def parts(self) -> list[Group]:
        """Each item as a group of its own, in the order in which they may be committed."""
        found = [Group(blobs={sha256: body}) for sha256, body in self.blobs.items()]
        decided = zip(self.records, self.decided_ns, strict=True)
        found += [Group([record], [decided_ns]) for record, decided_ns in decided]
        found += [Group(evidence={event_id: body}) for event_id, body in self.evidence.items()]
        found += [Group(accounts={name: account}) for name, account in self.accounts.items()]
        return found

    def items(self) -> list[dict[str, object]]:
        """What is in it, for whoever looks into the file of refused ones."""
        found: list[dict[str, object]] = [{"record": asdict(record)} for record in self.records]
        found += [{"evidence": {name: body}} for name, body in self.evidence.items()]
        found += [{"blob": {name: body}} for name, body in self.blobs.items()]
        found += [{"account": asdict(account)} for account in self.accounts.values()]
        return found


class Writer:
    """Group commit on a thread of its own. The line, one thread, calls `put` and asks for `room`."""

    def __init__(
        self,
        ledger: Sink,
        refused: Refused,
        *,
        chores: Chores | None = None,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._ledger, self._refused, self._chores = ledger, refused, chores
        self._now = monotonic_ns
        self._inbox: queue.SimpleQueue[Handed | None] = queue.SimpleQueue()  # None wakes it
        self._group = Group()  # what of it was taken out for the next commit
        self._put = 0  # records, counted by the line
        self._taken = 0  # into a commit, counted by this thread
        self._stopping = False
        self._ended = False  # as it should: all was committed
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self.durable = Latency()  # decision -> commit
        self.committed = 0
        self.refused = refused.count  # can never be committed; kept in `refused_path`
        self.stalled: str | None = None

    @property
    def room(self) -> bool:
        return self._put - self._taken < LIMIT

    @property
    def waiting(self) -> int:
        """About how many entries wait: what is not taken out yet counts one for each `put`."""
        return self._inbox.qsize() + len(self._group)

    @property
    def refused_path(self) -> Path:
        return self._refused.path

    def put(
        self,
        records: Sequence[tuple[LedgerRecord, int]] = (),
        *,
        blobs: Mapping[str, bytes] | None = None,
        accounts: Sequence[Account] = (),
        evidence: Mapping[str, bytes] | None = None,
        defects: Sequence[Mapping[str, object]] = (),
    ) -> None:
        """Queue records (each with the monotonic time of its decision) for the next commit.

        defects: what no record could be made of; it goes to the file of refused items.
        """
        if not (records or blobs or accounts or evidence or defects):
            return
        self._put += len(records)
        self._inbox.put(Handed(records, blobs or {}, accounts, evidence or {}, defects))

    def start(self) -> Writer:
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self._thread.start()
        return self

    def stop(self, timeout_s: float) -> bool:
        """Commit what waits and end; False if that did not succeed in time."""
        self._stopping = True
        self._inbox.put(None)
        self._ending.set()
        deadline = time.monotonic() + timeout_s
        while self._thread is not None and self._thread.is_alive():
            if self._chores is not None:
                self._chores.hurry()
            if (left := deadline - time.monotonic()) <= 0:
                break
            self._thread.join(min(left, HURRY_S))
        if self._thread is not None and not self._ended:
            return False  # it is at something still, or an error took it and what it held
        self._collect(0)  # where it ended before it was woken, that is no entry
        return not len(self._group)

    def _run(self) -> None:
        due = float("-inf") if self._chores is not None else None
        awake = float("-inf")
        while True:
            stopping = (
                self._stopping
            )  # asked before the queue: what was put before it is then in it
            if time.monotonic() < awake:
                self._ending.wait(LOOK_S)
                self._collect(0)
            elif stopping or len(self._group):
                self._collect(0)
            else:
                self._collect(None if due is None else max(0.0, due - time.monotonic()))
            if len(self._group):
                group, self._group = self._group, Group()
                self._taken += len(group.records)
                self._commit(group)
                if group.records:
                    awake = time.monotonic() + AWAKE_S
            elif stopping:
                self._ended = True
                return
            if self._stopping or self._chores is None or due is None:
                pass  # there is no time for chores, or there are none
            elif due <= time.monotonic():
                due = self._chores.turn() + time.monotonic()

    def _collect(self, wait_s: float | None) -> None:
        """All that was handed over, into the next group. Waits so long for the first; None: until something comes."""
        with contextlib.suppress(queue.Empty):
            handed = self._inbox.get(timeout=wait_s) if wait_s != 0 else self._inbox.get_nowait()
            while True:
                if handed is not None:
                    self._group.add(handed)
                handed = self._inbox.get_nowait()

    def _commit(self, group: Group) -> None:
        """Until it is on disk, in the ledger or, what can never be, in the file of refused items."""
        for defect in group.defects:
            self._keep_item(defect)
        error = self._append(group)
        if error is None:
            return
        log.error("%d entries refused together, now one at a time: %s", len(group), error)
        for part in group.parts():
            error = self._append(part)
            if error is not None:
                self._keep(part, error)

    def _append(self, group: Group) -> Exception | None:
        """One commit; a stall is waited out, however long it takes. Returns why it can never be."""
        append = partial(
            self._ledger.append,
            group.records,
            blobs=group.blobs,
            accounts=list(group.accounts.values()),
            evidence=group.evidence,
        )
        try:
            self._waiting_out(append)
        except Exception as error:  # whatever it is, this thread must live, and nothing be lost
            return error
        done = self._now()
        for decided_ns in group.decided_ns:
            self.durable.add(done - decided_ns)
        self.committed += len(group.records)
        return None

    def _keep(self, part: Group, error: Exception) -> None:
        log.error("refused, and kept in %s: %r", self.refused_path, error)
        for item in part.items():
            self._keep_item({"error": repr(error), **item})

    def _keep_item(self, item: Mapping[str, object]) -> None:
        note = {"refused_ns": time.time_ns(), **item}
        self._waiting_out(partial(self._refused.keep, note))
        self.refused += 1

    def _waiting_out(self, write: Callable[[], object]) -> None:
        while True:
            try:
                write()
            except (LedgerStalled, OSError) as error:
                if self.stalled is None:
                    log.error("%s", error)
                self.stalled = error.reason if isinstance(error, LedgerStalled) else str(error)
                self._collect(
                    0
                )  # of the accounts only the newest are kept, however long this takes
                if self._chores is not None and not self._stopping:
                    self._chores.turn()  # what is old may be what is in the way
                time.sleep(RETRY_S)
            else:
                self.stalled = None
                return
