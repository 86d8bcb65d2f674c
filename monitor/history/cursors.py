"""Where each sink stands: cursor, counts and dead letters, in the dispatcher's own file.

A cursor and the counts beside it move in one commit, so that delivered + dead + withheld + missed is
always exactly the number of deliverable alerts at or before the cursor. It knows nothing of how anything
is sent; what a second look said stands in the same file and is the subject of `verdicts`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from dosimeter.monitor.history.ledger import PACKAGE
from dosimeter.monitor.history.named_sql import load_sql, read_sql
from dosimeter.monitor.history.private import keep_from_others
from dosimeter.monitor.history.reader import LedgerReader
from dosimeter.monitor.history.records import Pruned, StoredAlert
from dosimeter.monitor.history.restored import (
    Opening,
    Restored,
    read_openings,
    same_until,
    write_openings,
)
from dosimeter.monitor.history.verdicts import Verdicts

STORE_VERSION = 4
ADDED = {1: "verdict_schema.sql", 2: "deliver_schema_3.sql", 3: "deliver_schema_4.sql"}
"""What the next version adds to each."""
SQL = load_sql(PACKAGE, "deliver_queries.sql")
LOOKS = 5
"""At both files, until nothing changed in between."""


class StoreError(RuntimeError):
    """The dispatcher's file cannot be used."""


@dataclass(frozen=True, slots=True)
class SinkPosition:
    """One sink's row. Times are wall clock, ns; None: never, or not now."""

    cursor: int = 0
    delivered: int = 0
    dead: int = 0
    retries: int = 0
    last_ack_ns: int | None = None
    last_error: str | None = None
    last_error_ns: int | None = None
    withheld: int = 0
    missed: int = 0  # pruned before it had a cursor


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What a sink refused for what it is. Times are wall clock, ns."""

    sink: str
    seq: int
    event_id: str
    core: bytes  # the record whole; without what was personal in it, once it is erased
    error: str  # the sink's own words
    at_ns: int  # of the refusal
    again_ns: int | None = None  # when somebody asked for it to be sent again


@dataclass(frozen=True, slots=True)
class Conservation:
    """accepted = delivered + dead + withheld + queued, for one sink, from two independent counts.

    accepted and queued are counted in the ledger, the others were added up as answers came. What was
    pruned before the sink had a cursor is in none of them.
    """

    accepted: int
    delivered: int
    dead: int
    queued: int
    withheld: int = 0  # a second look said no: the sink never saw it

    @property
    def unaccounted(self) -> int:
        """Must be 0. Above: lost; below: counted twice."""
        return self.accepted - self.delivered - self.dead - self.withheld - self.queued

    @property
    def holds(self) -> bool:
        return self.unaccounted == 0


class CursorStore:
    """One connection to the file, made if it is absent; use it from one thread at a time."""

    def __init__(self, path: Path, *, ledger_id: str, busy_s: float = 5.0) -> None:
        """busy_s: how long to wait for other writers.

        Raises StoreError when the file is of a later version or belongs to another ledger.
        """
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        keep_from_others(path)
        self._db = sqlite3.connect(
            path, isolation_level=None, timeout=busy_s, check_same_thread=False
        )
        try:
            self._prepare(ledger_id)
        except BaseException:
            self._db.close()
            raise
        self.verdicts = Verdicts(self._db)

    def _prepare(self, ledger_id: str) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        # Power loss may take back the last commits, whole: those alerts are sent once more.
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute("PRAGMA secure_delete = ON")
        self._db.execute("BEGIN IMMEDIATE")
        if not self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            self._run("deliver_schema.sql")
            for name, value in {"schema_version": "1", "ledger_id": ledger_id}.items():
                self._db.execute(SQL["put_meta"], {"name": name, "value": value})
        version = int(self._meta("schema_version"))
        while version in ADDED:
            self._run(ADDED[version])
            version += 1
            self._db.execute(SQL["set_meta"], {"name": "schema_version", "value": str(version)})
        self._db.execute("COMMIT")
        if version > STORE_VERSION:
            raise StoreError(
                f"{self.path}: version {version} is newer than {STORE_VERSION}\n"
                "  hint: upgrade dosimeter"
            )
        if self._meta("ledger_id") != ledger_id:
            raise StoreError(
                f"{self.path}: its cursors belong to another ledger than `{ledger_id}`\n"
                "  hint: move the file away; every sink is then sent the whole ledger again"
            )

    def _run(self, schema: str) -> None:
        for statement in read_sql(PACKAGE, schema).split(";\n"):
            self._db.execute(statement)

    def _meta(self, name: str) -> str:
        row = self._db.execute(SQL["get_meta"], {"name": name}).fetchone()
        if row is None:
            raise StoreError(f"{self.path}: not a dosimeter delivery file: no `{name}`")
        return str(row[0])

    def register(self, sinks: Iterable[str]) -> None:
        """Give each sink a row, so that what is queued for it shows before its first answer."""
        for sink in sinks:
            self._db.execute(SQL["add_sink"], {"sink": sink})

    def position(self, sink: str) -> SinkPosition:
        """Where `sink` stands; all zero when it has never been seen."""
        row = self._db.execute(SQL["get_sink"], {"sink": sink}).fetchone()
        return SinkPosition() if row is None else SinkPosition(*row)

    def sinks(self) -> list[str]:
        """Every sink that ever had a cursor here, configured now or not."""
        return [name for (name,) in self._db.execute(SQL["sinks"]).fetchall()]

    def settle(
        self,
        sink: str,
        *,
        cursor: int,
        delivered: int,
        dead: Sequence[tuple[StoredAlert, str]],
        now_ns: int,
        withheld: int = 0,
        wrote: Sequence[Opening] = (),
    ) -> None:
        """Move the cursor over what was acknowledged, refused or never sent, in one commit.

        wrote: who wrote the ledger when the alerts were read. Raises StoreError when it was put back since.
        """
        with self._transaction():
            after = same_until(self._followed(), {one.name for one in wrote}) if wrote else None
            if after is not None and after < cursor:
                raise StoreError(f"{self.path}: the ledger was put back meanwhile, to {after}")
            self._db.execute(SQL["add_sink"], {"sink": sink})
            for alert, error in dead:
                row = {
                    "sink": sink,
                    "seq": alert.seq,
                    "event_id": alert.event_id,
                    "core": alert.core,
                    "error": error,
                    "now_ns": now_ns,
                }
                self._db.execute(SQL["bury"], row)
            counts = {"delivered": delivered, "dead": len(dead), "withheld": withheld}
            counts |= {"cursor": cursor, "now_ns": now_ns}
            self._db.execute(SQL["settle"], {"sink": sink, **counts})

    def follow(self, ledger: LedgerReader, *, now_ns: int) -> Restored | None:
        """Where the ledger was put back from a backup, every sink goes back to where it parts from what they were sent.

        None: all is as it was. Of what the ledger lost, dead letters stay, at positions below 0 and out of the counts.
        """
        openings = ledger.openings()
        with self._transaction():
            after = same_until(openings, {one.name for one in self._followed()})
            if after is None:
                return None
            self._put_note("followed", write_openings(openings))
            ahead = dict(self._db.execute(SQL["ahead"], {"after": after}).fetchall())
            if not ahead:
                return None
            total, later = ledger.count_deliverable(after)
            for sink in ahead:
                self._go_back(sink, after, total - later)
            self._db.execute(SQL["drop_verdicts"], {"after": after})
            self._db.execute(SQL["drop_erased"], {"after": after})
            restored = Restored(after, ahead, now_ns)
            self._put_note("restored", json.dumps(asdict(restored)))
        return restored

    def _go_back(self, sink: str, after: int, deliverable: int) -> None:
        """deliverable: alerts up to there. What was refused or withheld of them stays so, the rest was delivered."""
        position = self.position(sink)
        row = {"sink": sink, "after": after, "cursor": position.cursor}
        self._db.execute(SQL["set_aside"], row)
        dead = self._db.execute(SQL["count_dead"], row).fetchone()[0]
        beyond = self._db.execute(SQL["withheld_beyond"], row).fetchone()[0]
        withheld = min(max(0, position.withheld - beyond), deliverable - dead)
        missed = min(position.missed, deliverable - dead - withheld)
        counts = {"dead": dead, "withheld": withheld, "missed": missed}
        delivered = deliverable - dead - withheld - missed
        self._db.execute(SQL["go_back"], {**row, **counts, "delivered": delivered})

    def restored(self) -> Restored | None:
        """The last time that the ledger was found to have been put back."""
        text = self._note("restored")
        return None if text is None else Restored(**json.loads(text))

    def _followed(self) -> list[Opening]:
        return read_openings(self._note("followed"))

    def _note(self, name: str) -> str | None:
        row = self._db.execute(SQL["get_meta"], {"name": name}).fetchone()
        return None if row is None else str(row[0])

    def _put_note(self, name: str, value: str) -> None:
        self._db.execute(SQL["note_meta"], {"name": name, "value": value})

    def skip_pruned(self, sink: str, pruned: Pruned) -> None:
        """Begin behind what has gone from the ledger. A sink that is new may find it so."""
        row = {"sink": sink, "through": pruned.through, "deliverable": pruned.deliverable}
        self._db.execute(SQL["skip_pruned"], row)

    def forget(self, pruned: Pruned) -> None:
        """Verdicts of alerts that are pruned; totals stay."""
        self._db.execute(SQL["forget_verdicts"], {"through": pruned.through})

    def erase(self, event_ids: Iterable[str], seqs: Iterable[int]) -> bool:
        """Take out what is personal of these alerts, now and if something comes of them later.

        event_ids: also of alerts that are pruned, which have no position any more. False: a reader was in
        the way, and a copy may be left in the write-ahead log; call again.
        """
        row = {"seqs": json.dumps(list(seqs)), "event_ids": json.dumps(list(event_ids))}
        with self._transaction():
            self._db.execute(SQL["add_erased"], {"seqs": row["seqs"]})
            found = self._db.execute(SQL["erase_dead_letters"], row).rowcount
            found += self._db.execute(SQL["erase_verdicts"], row).rowcount
        if found:  # written anew, since SQLite leaves copies in unused parts of pages
            self._db.execute("VACUUM")
        busy: int = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        return not busy

    def fail(self, sink: str, error: str, *, now_ns: int) -> None:
        """Note that a batch has to be sent again, and why."""
        self._db.execute(SQL["add_sink"], {"sink": sink})
        self._db.execute(SQL["fail"], {"sink": sink, "error": error, "now_ns": now_ns})

    def dead_letters(self, sink: str, *, limit: int = 100) -> list[DeadLetter]:
        """The oldest first."""
        rows = self._db.execute(SQL["dead_letters"], {"sink": sink, "limit": limit}).fetchall()
        return [DeadLetter(*row) for row in rows]

    def ask_replay(
        self, sink: str | None, event_ids: Iterable[str] | None, *, now_ns: int, dry: bool = False
    ) -> list[tuple[str, str]]:
        """Mark dead letters to be sent again, by whoever delivers to their sink; returns (sink, event id) of each.

        None: of every sink, every one. dry: say which it would be, and mark none.
        """
        ids = None if event_ids is None else json.dumps(list(event_ids))
        with self._transaction():
            chosen = {"sink": sink, "event_ids": ids}
            found = self._db.execute(SQL["dead_letters_of"], chosen).fetchall()
            for name, seq, _ in () if dry else found:
                self._db.execute(SQL["ask_again"], {"sink": name, "seq": seq, "now_ns": now_ns})
        return [(name, event_id) for name, _, event_id in found]

    def asked_again(self, sink: str) -> int:
        """How many of its dead letters are to be sent again."""
        count: int = self._db.execute(SQL["count_replays"], {"sink": sink}).fetchone()[0]
        return count

    def is_dead(self, sink: str, seq: int) -> bool:
        """Whether the sink refused it."""
        row = self._db.execute(SQL["is_dead"], {"sink": sink, "seq": seq}).fetchone()
        return bool(row[0])

    def replays(self, sink: str, *, limit: int) -> list[DeadLetter]:
        """Those that are to be sent again, the oldest first."""
        rows = self._db.execute(SQL["replays"], {"sink": sink, "limit": limit}).fetchall()
        return [DeadLetter(*row) for row in rows]

    def settle_replays(
        self,
        sink: str,
        *,
        delivered: Sequence[int],
        dead: Sequence[tuple[int, str]],
        now_ns: int,
    ) -> None:
        """What became of dead letters that were sent again, by position, in one commit.

        One that is acknowledged counts as delivered and no longer as dead; one that is refused again stays dead.
        """
        with self._transaction():
            gone = 0
            for seq in delivered:
                found = self._db.execute(SQL["unbury"], {"sink": sink, "seq": seq}).rowcount
                gone += found if seq > 0 else 0  # below, it is of a ledger that is no more
            for seq, error in dead:
                row = {"sink": sink, "seq": seq, "error": error, "now_ns": now_ns}
                self._db.execute(SQL["bury_again"], row)
            row = {"sink": sink, "delivered": gone, "now_ns": now_ns}
            self._db.execute(SQL["settle_replays"], row)

    def forget_sink(self, sink: str, *, discard: bool = False) -> bool:
        """As if it had never been: nothing waits for it any more, and should it come back it is sent the whole ledger.

        No dispatcher may run meanwhile. discard: its dead letters go too. False: there is no such sink.
        Raises StoreError where it has dead letters that are not to go.
        """
        with self._transaction():
            kept = self._db.execute(SQL["count_letters"], {"sink": sink}).fetchone()[0]
            if kept and not discard:
                raise StoreError(
                    f"{self.path}: {kept} dead letters of `{sink}` would go with it\n"
                    "  hint: `dosimeter deliver replay`, or `--discard-dead-letters`"
                )
            self._db.execute(SQL["forget_letters"], {"sink": sink})
            return self._db.execute(SQL["forget_sink"], {"sink": sink}).rowcount > 0

    def conservation(self, sink: str, ledger: LedgerReader) -> Conservation:
        """Count both sides. Right at any moment, also while both files are being written."""
        for _ in range(LOOKS):
            position = self.position(sink)
            accepted, queued = ledger.count_deliverable(position.cursor)
            pruned = ledger.pruned()
            if self.position(sink) == position:  # else what it settled meanwhile may be pruned too
                break
        missed = position.missed
        if position.cursor < pruned.through:  # as `skip_pruned` will say
            missed = pruned.deliverable - position.delivered - position.dead - position.withheld
        accepted -= missed
        return Conservation(accepted, position.delivered, position.dead, queued, position.withheld)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> CursorStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
