"""Manipulations by those who reach less of the files, or more than files: key, sealed storage, the feed, SQL.

Each is one function over a copy; the table at the end says what must be found. Not among them is a record that somebody
with the right to write the topic makes up: nothing signs what a sidecar sends, so it is taken in as one.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from typing import Any

from dosimeter.monitor.audit.erasure.erase import Eraser
from dosimeter.monitor.audit.people.access import Access, AccessRefused, Actor
from dosimeter.monitor.audit.people.holds import put_hold, release_hold
from dosimeter.monitor.audit.queries.free_sql import SqlRefused, run_sql
from dosimeter.monitor.audit.store.sealed_file import hash_of
from dosimeter.monitor.chaos.audit_attack import Manipulation, NotAllowed, Where
from dosimeter.monitor.chaos.audit_copy import Copy
from dosimeter.monitor.chaos.audit_files import (
    _forged,
    cut_unanchored_tail,
)
from dosimeter.monitor.chaos.audit_history import alerts_after, anchors_of, writing
from dosimeter.monitor.feed.items import Alert, Alive, Batch
from dosimeter.monitor.feed.topic import item_at
from dosimeter.monitor.feed.wire import encode
from dosimeter.monitor.tlog.note import Signer

MORE = 60
"""Alerts that come through the topic after the attack has begun."""
VIEWER, OPERATOR = Actor("viewer", "viewer", None), Actor("operator", "operator", None)


# With the key.


def rewrite(c: Copy) -> Where:
    """An entry before the last anchored checkpoint, with its row, all tiles and all signatures."""
    return _rewrite(c, c.hot_index(before=c.made.anchored))


def rewrite_unanchored(c: Copy) -> Where:
    return _rewrite(c, c.hot_index(after=c.made.anchored))


def rewrite_sealed(c: Copy) -> Where:
    """With the file, the row that names it, and the entry that says its hash."""
    first, past, core, _ = c.segment()
    index = c.dice.randrange(first, past)
    leaves = c.leaves()
    leaves[index] = c.altered(leaves[index])
    before = hash_of(core)
    c.parquet(core, lambda rows: rows[index - first].update(value_sum=_value_of(leaves[index])))
    after = hash_of(core)
    at = next(
        n for n, leaf in enumerate(leaves) if before.encode() in leaf and b'"kind":"seal"' in leaf
    )
    leaves[at] = leaves[at].replace(before.encode(), after.encode())
    c.relog(leaves, c.signer())
    c.sql(
        ("UPDATE segment SET sha256 = ? WHERE first = ?", (after, first)),
        *c.store_leaf(at, leaves[at]),
    )
    return Where(start=index)


def delete_and_sign(c: Copy) -> Where:
    return _without(c, c.hot_index(before=c.made.anchored))


def delete_unanchored_and_sign(c: Copy) -> Where:
    return _without(c, c.hot_index(after=c.made.anchored))


def insert_backdated(c: Copy) -> Where:
    return _with(c, c.hot_index(before=c.made.anchored))


def insert_unanchored(c: Copy) -> Where:
    return _with(c, c.hot_index(after=c.made.anchored))


def cut_and_sign(c: Copy) -> Where:
    """A shorter history with a signature of its own."""
    index = c.hot_index(before=c.made.anchored)
    leaves = c.leaves()[:index]
    c.relog(leaves, c.signer())
    c.store_from(index, [])
    return Where(start=index)


def sign_another_history(c: Copy) -> Where:
    """A second tree over the same number of entries, its checkpoint kept beside the first."""
    from dosimeter.monitor.tlog import tiles
    from dosimeter.monitor.tlog.note import Checkpoint

    last = c.notes()[-1]
    forged = Checkpoint(
        last.origin, last.size, hashlib.sha256(c.dice.randbytes(8)).digest(), last.extensions
    )
    note = c.signer().sign(str(forged))
    with (c.folder.log / tiles.CHECKPOINTS).open("a") as file:
        file.write(note)
    (c.folder.log / tiles.CHECKPOINT).write_text(note)
    return Where(path=tiles.CHECKPOINTS)


def _value_of(leaf: bytes) -> int:
    import json

    return int(json.loads(leaf)["value_sum"])


def _rewrite(c: Copy, index: int) -> Where:
    leaves = c.leaves()
    leaves[index] = c.altered(leaves[index])
    c.relog(leaves, c.signer())
    c.sql(*c.store_leaf(index, leaves[index]))
    return Where(start=index)


def _without(c: Copy, index: int) -> Where:
    leaves = c.leaves()
    del leaves[index]
    c.relog(leaves, c.signer())
    c.store_from(index, leaves[index:] + c.tail())
    return Where(start=index)


def _with(c: Copy, index: int) -> Where:
    leaves = c.leaves()
    leaves.insert(index, _forged(c, leaves[index]))
    c.relog(leaves, c.signer())
    c.store_from(index, leaves[index:] + c.tail())
    return Where(start=index)


# With the storage of what is sealed.


def change_sealed(c: Copy) -> Where:
    first, past, core, _ = c.segment()
    index = c.dice.randrange(first, past)
    c.parquet(core, lambda rows: rows[index - first].update(decision="deduped", seq=4711))
    return Where(entries=(index,), path=core.name)


def delete_sealed(c: Copy) -> Where:
    first, past, core, _ = c.segment()
    index = c.dice.randrange(first, past)
    c.parquet(core, lambda rows: rows.__delitem__(index - first))
    return Where(entries=(index,), path=core.name)


def swap_sealed(c: Copy) -> Where:
    """Two rows, each under the position of the other."""
    first, past, core, _ = c.segment()
    a, b = c.dice.sample(range(past - first), 2)

    def change(rows: list[dict[str, Any]]) -> None:
        rows[a], rows[b] = rows[b] | {"idx": first + a}, rows[a] | {"idx": first + b}

    c.parquet(core, change)
    return Where(entries=(first + a, first + b), path=core.name)


def flip_sealed(c: Copy) -> Where:
    _, _, core, _ = c.segment()
    c.flip(core)
    return Where(path=core.name)


def delete_sealed_file(c: Copy) -> Where:
    _, _, core, _ = c.segment()
    core.unlink()
    return Where(path=core.name)


def swap_sealed_files(c: Copy) -> Where:
    one, two = sorted(c.folder.core.glob("*.parquet"))[:2]
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    return Where(path=c.dice.choice((one, two)).name)


def change_sealed_evidence(c: Copy) -> Where:
    _, _, _, evidence = c.segment()
    whose: list[bytes] = []

    def change(rows: list[dict[str, Any]]) -> None:
        row = c.dice.choice(rows)
        data = bytearray(row["sealed"])
        data[c.dice.randrange(len(data))] ^= 1 << c.dice.randrange(8)
        row["sealed"] = bytes(data)
        whose.append(row["id"])

    c.parquet(evidence, change)
    return Where(entries=(_sealed_index(c, whose[0]),))


def delete_sealed_evidence(c: Copy) -> Where:
    _, _, _, evidence = c.segment()
    whose: list[bytes] = []
    c.parquet(evidence, lambda rows: whose.append(rows.pop(c.dice.randrange(len(rows)))["id"]))
    return Where(entries=(_sealed_index(c, whose[0]),))


def delete_evidence_file(c: Copy) -> Where:
    _, _, _, evidence = c.segment()
    evidence.unlink()
    return Where(path=evidence.name)


def restore_old_files(c: Copy) -> Where:
    """A sealed file as the backup has it under another range: one that was sealed before."""
    one, two = sorted(c.folder.core.glob("*.parquet"))[:2]
    shutil.copyfile(one, two)
    return Where(path=two.name)


def _sealed_index(c: Copy, id_: bytes) -> int:
    import pyarrow.parquet as pq

    for path in c.folder.core.glob("*.parquet"):
        table = pq.read_table(path, columns=["idx", "id"]).to_pydict()
        for index, one in zip(table["idx"], table["id"], strict=True):
            if one == id_:
                return int(index)
    raise LookupError(id_.hex())


# With the topic.


def _wires(c: Copy, *, last: bool) -> list[bytes]:
    """What the sidecar sent; `last` with its word of how far it has come."""
    alerts: Sequence[Alert] = alerts_after(c.made, MORE, c.dice.randrange(1 << 30))
    sent = [encode(one) for one in alerts]
    if last:
        sent.append(encode(Alive(alerts[-1].source, alerts[-1].seq, alerts[-1].seq)))
    return sent


def _take(c: Copy, wires: Sequence[bytes]) -> None:
    """As history reads them: in parts, and signed; then the time goes by in which late ones may come."""
    from dosimeter.monitor.bench.audit_feed import SOURCE
    from dosimeter.monitor.feed.watcher import GRACE_NS

    with writing(c.root, anchored=False) as w:
        items = [item_at(f"feed-0 offset {n}", SOURCE.encode(), one) for n, one in enumerate(wires)]
        now_ns = w.now_ns
        for at in range(0, len(items), 7):
            w.ingest.take(Batch(tuple(items[at : at + 7]), {"feed-0": at}), now_ns)
        w.ingest.take(Batch(), now_ns + GRACE_NS + 1)
        w.sign()


def lose_records(c: Copy) -> Where:
    wires = _wires(c, last=True)
    at, n = c.dice.randrange(1, MORE - 5), c.dice.randrange(1, 5)
    del wires[at : at + n]
    _take(c, wires)
    first = c.made.last_seq + 1 + at
    return Where(gaps=((first, first + n - 1),))


def lose_newest(c: Copy) -> Where:
    """The end of what was sent, though the sidecar's own word of how far it came is there."""
    wires = _wires(c, last=True)
    n = c.dice.randrange(1, 9)
    del wires[MORE - n : MORE]
    _take(c, wires)
    return Where(gaps=((c.made.last_seq + 1 + MORE - n, c.made.last_seq + MORE),))


def garble_record(c: Copy) -> Where:
    wires = _wires(c, last=True)
    at = c.dice.randrange(1, MORE)
    wires[at] = wires[at][: len(wires[at]) // 2]
    _take(c, wires)
    seq = c.made.last_seq + 1 + at
    return Where(gaps=((seq, seq),))


def repeat_records(c: Copy) -> Where:
    wires = _wires(c, last=True)
    at = c.dice.randrange(MORE - 9)
    wires[at + 9 : at + 9] = wires[at : at + 9]
    _take(c, wires)
    return Where()


def reorder_records(c: Copy) -> Where:
    wires = _wires(c, last=False)
    c.dice.shuffle(wires)
    _take(c, wires)
    return Where()


def empty_anchor(c: Copy) -> Where:
    (c.root / "elsewhere" / "kafka").write_bytes(b"")
    return Where(words="anchor kafka: holds nothing yet")


def roll_anchor_back(c: Copy) -> Where:
    _, kafka, _ = anchors_of(c.root)
    notes = kafka.notes()[:2]
    kafka.path.write_text("".join(notes))
    return Where(words=f"anchor kafka: holds entry {int(notes[-1].splitlines()[1]):,}")


def forge_anchor(c: Copy) -> Where:
    """Notes in the name of this log by a key of their own."""
    _, kafka, _ = anchors_of(c.root)
    kafka.put(Signer.generate(c.made.verifier.name).sign(str(c.notes()[-1])))
    return Where(path="anchor kafka")


# With questions.


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
    import sqlite3
    from contextlib import closing

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
    Manipulation("rewrite an entry, sign all anew", "key-holder", "found", rewrite),
    Manipulation("rewrite an entry that is not anchored", "key-holder", "not excluded", rewrite_unanchored),
    Manipulation("rewrite a sealed entry and its file", "key-holder", "found", rewrite_sealed),
    Manipulation("delete an entry, sign all anew", "key-holder", "found", delete_and_sign),
    Manipulation("delete one that is not anchored", "key-holder", "not excluded", delete_unanchored_and_sign),
    Manipulation("insert a backdated entry", "key-holder", "found", insert_backdated),
    Manipulation("insert where nothing is anchored", "key-holder", "not excluded", insert_unanchored),
    Manipulation("cut the tail and sign that", "key-holder", "located", cut_and_sign),
    Manipulation("cut an unanchored tail", "key-holder", "not excluded", cut_unanchored_tail),
    Manipulation("sign another history beside", "key-holder", "located", sign_another_history),
    Manipulation("change a sealed row", "storage-admin", "located", change_sealed),
    Manipulation("delete a sealed row", "storage-admin", "located", delete_sealed),
    Manipulation("swap two sealed rows", "storage-admin", "located", swap_sealed),
    Manipulation("flip a bit of a sealed file", "storage-admin", "located", flip_sealed),
    Manipulation("delete a sealed file", "storage-admin", "located", delete_sealed_file),
    Manipulation("swap two sealed files", "storage-admin", "located", swap_sealed_files),
    Manipulation("restore an old sealed file", "storage-admin", "located", restore_old_files),
    Manipulation("change sealed evidence", "storage-admin", "located", change_sealed_evidence),
    Manipulation("delete sealed evidence", "storage-admin", "located", delete_sealed_evidence),
    Manipulation("delete a file of evidence", "storage-admin", "located", delete_evidence_file),
    Manipulation("lose records of the topic", "kafka-admin", "named", lose_records),
    Manipulation("lose the newest records", "kafka-admin", "named", lose_newest),
    Manipulation("garble a record", "kafka-admin", "named", garble_record),
    Manipulation("repeat records", "kafka-admin", "no effect", repeat_records),
    Manipulation("reorder records", "kafka-admin", "no effect", reorder_records),
    Manipulation("empty the anchor", "kafka-admin", "named", empty_anchor),
    Manipulation("roll the anchor back", "kafka-admin", "named", roll_anchor_back),
    Manipulation("forge notes in the anchor", "kafka-admin", "located", forge_anchor),
    Manipulation("write by SQL", "insider-analyst", "refused", write_by_sql),
    Manipulation("read keys and files by SQL", "insider-analyst", "refused", read_by_sql),
    Manipulation("read evidence without the right", "insider-analyst", "refused", read_evidence),
    Manipulation("erase without the right", "insider-analyst", "refused", erase_alone),
    Manipulation("lift a hold without the right", "insider-analyst", "refused", lift_hold_by_command),
    Manipulation("put a hold without the right", "insider-analyst", "refused", hold_for_others),
)  # fmt: skip
