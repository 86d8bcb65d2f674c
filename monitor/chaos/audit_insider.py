"""What an analyst tries with the commands that everybody has: SQL, evidence, erasing, holds.

Each is one function over a copy; the table at the end says what must come of it.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing

from dosimeter.monitor.audit.erasure.erase import Eraser
from dosimeter.monitor.audit.people.access import Access, AccessRefused, Actor
from dosimeter.monitor.audit.people.holds import put_hold, release_hold
from dosimeter.monitor.audit.queries.free_sql import SqlRefused, run_sql
from dosimeter.monitor.chaos.audit_attack import Manipulation, NotAllowed, Where
from dosimeter.monitor.chaos.audit_copy import Copy
from dosimeter.monitor.chaos.audit_history import writing

VIEWER, OPERATOR = Actor("viewer", "viewer", None), Actor("operator", "operator", None)


def write_by_sql(c: Copy) -> Where:
    text = c.dice.choice(
        (
            "DELETE FROM entries",
            "UPDATE alerts SET severity = 'low'",
            "DROP VIEW alerts",
            "INSERT INTO labels SELECT * FROM labels",
            "SELECT 1; DELETE FROM entries",
            f"ATTACH '{c.folder.hot}' AS h (TYPE sqlite)",
            f"COPY alerts TO '{c.folder.core / 'x.parquet'}'",
        )
    )
    return _sql(c, text)


def read_by_sql(c: Copy) -> Where:
    """Files that are no view of history."""
    text = c.dice.choice(
        (
            f"SELECT * FROM read_blob('{c.folder.keys}')",
            f"SELECT * FROM read_text('{c.folder.signing_key}')",
            f"SELECT * FROM '{next(c.folder.evidence.glob('*.parquet'))}'",
            f"SELECT * FROM read_csv('{c.folder.signing_key}')",
            "SELECT getenv('HOME')",
        )
    )
    return _sql(c, text)


def read_evidence(c: Copy) -> Where:
    """Text, in a role that may see none; or without a reason."""
    actor = c.dice.choice(
        (VIEWER, OPERATOR, Actor("reviewer", "reviewer", frozenset({"nobody's"})))
    )
    with writing(c.root, anchored=False) as w:
        try:
            Access(w.appender, w.keys).ask(actor, "view", {}, None, None)
        except AccessRefused as error:
            raise NotAllowed(str(error)) from error
    return Where()


def erase_alone(c: Copy) -> Where:
    """A person's history, without the right to."""
    ((value,),) = _names(c)
    with writing(c.root, anchored=False) as w:
        try:
            Eraser(c.folder, w.appender).erase("tenant", None, value, actor=VIEWER, reason="ticket")
        except AccessRefused as error:
            raise NotAllowed(str(error)) from error
    return Where()


def lift_hold_by_command(c: Copy) -> Where:
    """In a role that may not; one that may leaves an entry."""
    about = c.dice.choice(c.rows("SELECT about FROM hold"))[0].hex()
    with writing(c.root, anchored=False) as w:
        try:
            release_hold(w.appender, "alert", about, actor=VIEWER, reason="ticket", now_ns=w.now_ns)
        except AccessRefused as error:
            raise NotAllowed(str(error)) from error
    return Where()


def hold_for_others(c: Copy) -> Where:
    with writing(c.root, anchored=False) as w:
        try:
            put_hold(w.appender, "alert", "00" * 16, actor=VIEWER, reason="ticket", now_ns=w.now_ns)
        except AccessRefused as error:
            raise NotAllowed(str(error)) from error
    return Where()


def _names(c: Copy) -> list[tuple[str]]:
    with closing(sqlite3.connect(c.folder.keys)) as db:
        return db.execute(
            "SELECT value FROM name WHERE kind = 'tenant' ORDER BY value LIMIT 1"
        ).fetchall()


def _sql(c: Copy, text: str) -> Where:
    try:
        run_sql(c.folder, text)
    except SqlRefused as error:
        raise NotAllowed(str(error)) from error
    return Where()


TABLE = (
    Manipulation("write by SQL", "insider-analyst", "refused", write_by_sql),
    Manipulation("read keys and files by SQL", "insider-analyst", "refused", read_by_sql),
    Manipulation("read evidence without the right", "insider-analyst", "refused", read_evidence),
    Manipulation("erase without the right", "insider-analyst", "refused", erase_alone),
    Manipulation("lift a hold without the right", "insider-analyst", "refused", lift_hold_by_command),
    Manipulation("put a hold without the right", "insider-analyst", "refused", hold_for_others),
)  # fmt: skip
