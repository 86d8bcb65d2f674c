"""Attempts to say whose an alert is, with what is left after an erasure: names, copies of files, other people's keys.

Owns the guesses that an attacker would make first. It never learns whether they should succeed.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow.parquet as pq

from dosimeter.monitor.audit.store import box
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import HotStore
from dosimeter.monitor.audit.store.keys import KeyStore


@dataclass(frozen=True, slots=True)
class Planted:
    """One alert: its id and what the server was told."""

    id: str
    tenant: str
    user: str
    conversation: str
    body: bytes
    time_ns: int


def told_by_leaf(leaf: Mapping[str, str], one: Planted, looked_up: bytes | None) -> bool:
    """Whether a leaf can be told to be of that user: by the map, or because something in it follows from the name."""
    subject, commitment = leaf["subject"], leaf["evidence"]
    if looked_up is not None and looked_up.hex() == subject:
        return True
    if commitment in (_sha256(one.body), _sha256(bytes(box.SALT) + one.body)):
        return True
    names = (
        one.user,
        f"{one.tenant}{one.user}",
        f"{one.tenant}/{one.user}",
        f"{one.tenant}\0{one.user}",
    )
    guesses = {_sha256(name.encode())[:32] for name in names}
    guesses |= {hashlib.md5(name.encode(), usedforsecurity=False).hexdigest() for name in names}
    guesses.add(hmac.new(one.tenant.encode(), one.user.encode(), "sha256").hexdigest()[:32])
    return bool(guesses & {subject, leaf["conversation"]})


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def opened(
    folder: HistoryFolder, hot: HotStore, keys: KeyStore, planted: Sequence[Planted]
) -> set[str]:
    """The ids of those whose text opens with a key that is there, or that follows from their names."""
    sealed = {
        bytes(id_): row
        for id_, *row in hot.db.execute("SELECT id, subject, month, sealed FROM evidence")
    }
    for path in folder.evidence.glob("*.parquet"):
        for row in pq.read_table(path).to_pylist():
            sealed.setdefault(row["id"], [row["subject"], row["month"], row["sealed"]])
    found: set[str] = set()
    for one in planted:
        about = bytes.fromhex(one.id)
        if about not in sealed:
            continue
        subject, month, shut = sealed[about]
        derived = (f"{one.tenant}{one.user}", one.user, one.tenant)
        each = [hashlib.sha256(name.encode()).digest() for name in derived]
        there = keys.key(subject, month)
        for key in each if there is None else [there, *each]:
            try:
                if box.opened(shut, key, about) == one.body:
                    found.add(one.id)
            except box.CannotOpen:
                continue
    return found
