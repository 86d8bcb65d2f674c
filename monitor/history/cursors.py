"""Where each sink stands: its cursor and its counts, in the dispatcher's own file.

A cursor and the counts beside it move in one commit, so that delivered + dead + withheld + missed is
always exactly the number of deliverable alerts at or before the cursor. It knows nothing of how anything
is sent; what was refused and what a second look said stand in the same file: `dead_letters`, `verdicts`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dosimeter.monitor.history.dead_letters import DeadLetters
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
from dosimeter.monitor.history.sqlite_file import empty_log, transaction, write_anew
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

        Raises StoreError when the file cannot be used, is of a later version or belongs to another ledger.
        """
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        keep_from_others(path)
        self._db = sqlite3.connect(
            path, isolation_level=None, timeout=busy_s, check_same_thread=False
        )
        try:
            self._prepare(ledger_id)
        except BaseException as error:
            self._db.close()
            if isinstance(error, sqlite3.DatabaseError) and "locked" not in str(error):
                hint = "free disk space; move a file away that is broken: sinks are sent the whole ledger again"
                raise StoreError(f"{path}: cannot be used: {error}\n  hint: {hint}") from error
            raise
        self.letters = DeadLetters(self._db)
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
        with transaction(self._db):
            after = same_until(self._followed(), {one.name for one in wrote}) if wrote else None
            if after is not None and after < cursor:
                raise StoreError(f"{self.path}: the ledger was put back meanwhile, to {after}")
            self._db.execute(SQL["add_sink"], {"sink": sink})
            self.letters.bury(sink, dead, now_ns)
            counts = {"delivered": delivered, "dead": len(dead), "withheld": withheld}
            counts |= {"cursor": cursor, "now_ns": now_ns}
            self._db.execute(SQL["settle"], {"sink": sink, **counts})

    def follow(self, ledger: LedgerReader, *, now_ns: int) -> Restored | None:
        """Where the ledger was put back from a backup, every sink goes back to where it parts from what they were sent.

        None: all is as it was. Of what the ledger lost, dead letters stay, at positions below 0 and out of the counts.
        """
        openings = ledger.openings()
        with transaction(self._db):
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
        dead = self.letters.set_aside(sink, after)
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
        row = {"seqs": json.dumps(list(seqs))}
        with transaction(self._db):
            self._db.execute(SQL["add_erased"], row)
            found = self.letters.erase(event_ids)
            found += self._db.execute(SQL["erase_verdicts"], row).rowcount
        if found:
            write_anew(self._db)
        return empty_log(self._db)

    def fail(self, sink: str, error: str, *, now_ns: int) -> None:
        """Note that a batch has to be sent again, and why."""
        self._db.execute(SQL["add_sink"], {"sink": sink})
        self._db.execute(SQL["fail"], {"sink": sink, "error": error, "now_ns": now_ns})

    def forget_sink(self, sink: str, *, discard: bool = False) -> bool:
        """As if it had never been: nothing waits for it any more, and should it come back it is sent the whole ledger.

        No dispatcher may run meanwhile. discard: its dead letters go too. False: there is no such sink.
        Raises StoreError where it has dead letters that are not to go.
        """
        with transaction(self._db):
            kept = self.letters.count(sink)
            if kept and not discard:
                raise StoreError(
                    f"{self.path}: {kept} dead letters of `{sink}` would go with it\n"
                    "  hint: `dosimeter deliver replay`, or `--discard-dead-letters`"
                )
            self.letters.discard(sink)
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

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> CursorStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
