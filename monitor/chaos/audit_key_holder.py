"""Manipulations by whoever holds the signing key, and so can make every signature anew; the anchors are not theirs.

Each is one function over a copy; the table at the end says what must be found.
"""

from __future__ import annotations

import hashlib
import json

from dosimeter.monitor.audit.store.sealed_file import hash_of
from dosimeter.monitor.chaos.audit_attack import Manipulation, Where
from dosimeter.monitor.chaos.audit_copy import Copy
from dosimeter.monitor.chaos.audit_whole import cut_unanchored_tail
from dosimeter.monitor.tlog import tiles
from dosimeter.monitor.tlog.note import Checkpoint, Signer
from dosimeter.monitor.tlog.rotation import extensions
from dosimeter.monitor.tlog.writer import LogWriter


def rewrite(c: Copy) -> Where:
    """An entry before the last anchored checkpoint, with its row, all tiles and all signatures."""
    return _rewrite(c, c.hot_index(before=c.made.anchored))


def rewrite_unanchored(c: Copy) -> Where:
    return _rewrite(c, c.hot_index(after=c.made.anchored))


def rewrite_sealed(c: Copy) -> Where:
    """With the file, the row that names it, and the entry that says its hash."""
    first, past, core, _ = c.segment()
    leaves = c.leaves()
    # Of a rarer kind a copy stands beside the file, which would name the entry.
    alerts = [n for n in range(first, past) if json.loads(leaves[n])["kind"] == "alert"]
    index = c.dice.choice(alerts)
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
    last = c.notes()[-1]
    forged = Checkpoint(
        last.origin, last.size, hashlib.sha256(c.dice.randbytes(8)).digest(), last.extensions
    )
    note = c.signer().sign(str(forged))
    with (c.folder.log / tiles.CHECKPOINTS).open("a") as file:
        file.write(note)
    (c.folder.log / tiles.CHECKPOINT).write_text(note)
    return Where(path=tiles.CHECKPOINTS)


def rewrite_and_rotate(c: Copy) -> Where:
    """The key names a next one as it should, after an entry was rewritten: to history both are as good."""
    where, old = rewrite(c), c.signer()
    new = Signer.generate(old.name)
    with LogWriter(c.folder.log, old) as writer:
        both = extensions(old.verifier, new.verifier)
        writer.checkpoint((*c.notes()[-1].extensions, *both), also=new)
    c.folder.signing_key.unlink()
    new.save(c.folder.signing_key)
    (c.folder.log / "key").write_text(new.verifier.vkey + "\n")
    return where


def _value_of(leaf: bytes) -> int:
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
    leaves.insert(index, c.forged(leaves[index]))
    c.relog(leaves, c.signer())
    c.store_from(index, leaves[index:] + c.tail())
    return Where(start=index)


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
    Manipulation("rewrite an entry, change the key", "key-holder", "found", rewrite_and_rotate),
    Manipulation("sign another history beside", "key-holder", "located", sign_another_history),
)  # fmt: skip
