"""Manipulations by root in the database alone: rows, blobs, holds, evidence, and what names sealed files.

Each is one function over a copy; the table at the end says what must be found.
"""

from __future__ import annotations

from dosimeter.monitor.audit.store.columns import NAMES
from dosimeter.monitor.chaos.audit_attack import Manipulation, Where
from dosimeter.monitor.chaos.audit_copy import Copy

_CHANGEABLE = [n for n in NAMES if n not in ("id", "about", "kind")]


def change_column(c: Copy) -> Where:
    index = c.hot_index()
    name = c.dice.choice(_CHANGEABLE)
    c.sql(
        (
            f"UPDATE entry SET {name} = CASE WHEN {name} IS NULL THEN 1 ELSE {name} || '1' END WHERE idx = ?",
            (index,),
        )
    )
    return Where(entries=(index,))


def change_leaf(c: Copy) -> Where:
    index = c.hot_index()
    ((leaf,),) = c.rows("SELECT leaf FROM entry WHERE idx = ?", index)
    c.sql(("UPDATE entry SET leaf = ? WHERE idx = ?", (c.altered(leaf), index)))
    return Where(entries=(index,))


def change_row(c: Copy) -> Where:
    """Leaf and columns, so that the store agrees with itself."""
    index = c.hot_index()
    ((leaf,),) = c.rows("SELECT leaf FROM entry WHERE idx = ?", index)
    c.sql(*c.store_leaf(index, c.altered(leaf)))
    return Where(entries=(index,))


def delete_row(c: Copy) -> Where:
    index = c.hot_index()
    c.sql(("DELETE FROM entry WHERE idx = ?", (index,)))
    return Where(entries=(index,))


def delete_row_and_close_up(c: Copy) -> Where:
    index = c.hot_index()
    leaves = [
        leaf for (leaf,) in c.rows("SELECT leaf FROM entry WHERE idx > ? ORDER BY idx", index)
    ]
    c.store_from(index, leaves)
    return Where(start=index)


def insert_row(c: Copy) -> Where:
    index = c.hot_index()
    leaves = [
        leaf for (leaf,) in c.rows("SELECT leaf FROM entry WHERE idx >= ? ORDER BY idx", index)
    ]
    c.store_from(index, [c.forged(leaves[0]), *leaves])
    return Where(start=index)


def swap_rows(c: Copy) -> Where:
    first, second = c.hot_index(), c.hot_index()
    while first == second:
        second = c.hot_index()
    pairs = [c.rows("SELECT leaf FROM entry WHERE idx = ?", one)[0][0] for one in (first, second)]
    c.sql(("DELETE FROM entry WHERE idx IN (?, ?)", (first, second)), *c.store_leaf(first, pairs[1]),
          *c.store_leaf(second, pairs[0]))  # fmt: skip
    return Where(entries=(first, second))


def drop_unsigned(c: Copy) -> Where:
    """What nothing has signed yet."""
    c.sql(("DELETE FROM entry WHERE idx >= ?", (c.made.signed,)), c.resize(c.made.signed))
    return Where(start=c.made.signed)


def change_blob(c: Copy) -> Where:
    sha, body = c.dice.choice(c.rows("SELECT sha256, body FROM blob"))
    data = bytearray(body)
    data[c.dice.randrange(len(data))] ^= 1 << c.dice.randrange(8)
    c.sql(("UPDATE blob SET body = ? WHERE sha256 = ?", (bytes(data), sha)))
    return Where(path=sha.hex())


def delete_terms(c: Copy) -> Where:
    ((sha,),) = c.rows("SELECT terms FROM entry WHERE idx = ?", c.hot_index())
    c.sql(("DELETE FROM blob WHERE sha256 = ?", (sha,)))
    return Where(path=sha.hex())


def change_segment(c: Copy) -> Where:
    """The row that names a sealed file says another hash."""
    first, _, core, _ = c.segment()
    c.sql(("UPDATE segment SET sha256 = ? WHERE first = ?", ("00" * 32, first)))
    return Where(path=core.name)


def blind_segment(c: Copy) -> Where:
    """By its row, questions pass over the file: other times, or over before its time."""
    first, _, _, _ = c.segment()
    change = c.dice.choice(("from_ns = 0, to_ns = 1", "gone = 1"))
    c.sql((f"UPDATE segment SET {change} WHERE first = ?", (first,)))
    return Where(start=first)


def delete_segment(c: Copy) -> Where:
    first, _, _, _ = c.segment()
    c.sql(("DELETE FROM segment WHERE first = ?", (first,)))
    return Where(start=first)


def change_sealed_few(c: Copy) -> Where:
    """The verdict that lists show of what is sealed."""
    ((index, verdict),) = c.dice.sample(
        c.rows("SELECT idx, verdict FROM sealed_few WHERE kind = 'label'"), 1
    )
    other = "false" if verdict == "true" else "true"
    c.sql(("UPDATE sealed_few SET verdict = ? WHERE idx = ?", (other, index)))
    return Where(entries=(index,))


def forge_sealed_few(c: Copy) -> Where:
    """A verdict that nobody gave: at a position of some alert, or at one that the log does not have."""
    labels = c.rows("SELECT idx FROM sealed_few WHERE kind = 'label'")
    ((real,),) = c.dice.sample(labels, 1)
    ((past,),) = c.rows("SELECT max(past) FROM segment")
    taken = {idx for (idx,) in c.rows("SELECT idx FROM sealed_few")}
    inside = c.dice.choice([idx for idx in range(past) if idx not in taken])
    index = c.dice.choice((inside, -1 - real, past + 10**9))
    names = ", ".join(NAMES)
    c.sql(
        (
            f"INSERT INTO sealed_few (idx, {names}) SELECT ?, {names} FROM sealed_few WHERE idx = ?",
            (index, real),
        )
    )
    return Where(entries=(index,))


def delete_sealed_few(c: Copy) -> Where:
    index = c.dice.choice(c.rows("SELECT idx FROM sealed_few"))[0]
    c.sql(("DELETE FROM sealed_few WHERE idx = ?", (index,)))
    return Where(entries=(index,))


def lift_hold(c: Copy) -> Where:
    about, _ = c.dice.choice(c.rows("SELECT about, entry FROM hold"))
    c.sql(("DELETE FROM hold WHERE about = ?", (about,)))
    return Where(path=about.hex())


def flip_evidence(c: Copy) -> Where:
    id_, shut = c.dice.choice(c.rows("SELECT id, sealed FROM evidence"))
    data = bytearray(shut)
    data[c.dice.randrange(len(data))] ^= 1 << c.dice.randrange(8)
    c.sql(("UPDATE evidence SET sealed = ? WHERE id = ?", (bytes(data), id_)))
    return Where(entries=(_index_of(c, id_),))


def swap_evidence(c: Copy) -> Where:
    (a, one), (b, two) = c.dice.sample(c.rows("SELECT id, sealed FROM evidence"), 2)
    c.sql(
        ("UPDATE evidence SET sealed = ? WHERE id = ?", (two, a)),
        ("UPDATE evidence SET sealed = ? WHERE id = ?", (one, b)),
    )
    return Where(entries=(_index_of(c, a), _index_of(c, b)))


def delete_evidence(c: Copy) -> Where:
    (id_,) = c.dice.choice(c.rows("SELECT id FROM evidence"))
    c.sql(("DELETE FROM evidence WHERE id = ?", (id_,)))
    return Where(entries=(_index_of(c, id_),))


def _index_of(c: Copy, id_: bytes) -> int:
    ((index,),) = c.rows("SELECT idx FROM entry WHERE id = ?", id_)
    return int(index)


TABLE = (
    Manipulation("change a column of a row", "root", "located", change_column),
    Manipulation("change the leaf of a row", "root", "located", change_leaf),
    Manipulation("change a row, leaf and columns", "root", "located", change_row),
    Manipulation("delete a row", "root", "located", delete_row),
    Manipulation("delete a row and close up", "root", "located", delete_row_and_close_up),
    Manipulation("insert a row", "root", "located", insert_row),
    Manipulation("swap two rows", "root", "located", swap_rows),
    Manipulation("drop what is not signed yet", "root", "not excluded", drop_unsigned),
    Manipulation("change a blob", "root", "located", change_blob),
    Manipulation("delete the terms of a rule", "root", "located", delete_terms),
    Manipulation("change the row of a segment", "root", "located", change_segment),
    Manipulation("hide a segment from questions", "root", "located", blind_segment),
    Manipulation("delete the row of a segment", "root", "located", delete_segment),
    Manipulation("change an entry beside the sealed files", "root", "located", change_sealed_few),
    Manipulation("delete an entry beside the sealed files", "root", "located", delete_sealed_few),
    Manipulation("forge an entry beside the sealed files", "root", "located", forge_sealed_few),
    Manipulation("lift a hold", "root", "located", lift_hold),
    Manipulation("flip a bit of evidence", "root", "located", flip_evidence),
    Manipulation("swap the evidence of two", "root", "located", swap_evidence),
    Manipulation("delete evidence", "root", "located", delete_evidence),
)  # fmt: skip
