"""Manipulations by whoever administers the storage of sealed files, and reaches nothing else.

Each is one function over a copy; the table at the end says what must be found.
"""

from __future__ import annotations

import shutil
from typing import Any

import pyarrow.parquet as pq

from dosimeter.monitor.chaos.audit_attack import Manipulation, Where
from dosimeter.monitor.chaos.audit_copy import Copy


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
    for path in c.folder.core.glob("*.parquet"):
        table = pq.read_table(path, columns=["idx", "id"]).to_pydict()
        for index, one in zip(table["idx"], table["id"], strict=True):
            if one == id_:
                return int(index)
    raise LookupError(id_.hex())


TABLE = (
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
)  # fmt: skip
