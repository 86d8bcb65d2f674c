"""From entries to what lies on disk: random ids for names, evidence encrypted, leaves canonical, one commit a batch.

Owns the order that makes a crash harmless: ids and keys first, then the entries that need them. It knows nothing of
where entries come from, nor of the log's tiles.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from dosimeter.monitor.audit.store import box
from dosimeter.monitor.audit.store.columns import Value, constant_of, row_of
from dosimeter.monitor.audit.store.entries import LABEL_IDS, MAX_TIME_NS, Entry, encoded, leaf_of
from dosimeter.monitor.audit.store.hot import Appended, Batch, HotStore, Sealed
from dosimeter.monitor.audit.store.keys import KeyStore, Name, NameGone, month_of
from dosimeter.monitor.tlog.tiles import MAX_ENTRY

Ids = dict[Name, bytes]
TRIES = 5
"""While somebody is being erased whose entries come in."""
_ANY = dict.fromkeys(LABEL_IDS.values(), "0" * 32) | {"evidence": "0" * 64}


class Appender:
    """Writes entries into one history; use it from one thread at a time."""

    def __init__(
        self, hot: HotStore, keys: KeyStore, *, now_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self.hot, self.keys, self._now_ns = hot, keys, now_ns
        self._terms: dict[bytes, tuple[Mapping[str, Any], tuple[Value, ...]]] = {}

    def append(
        self,
        entries: Sequence[Entry],
        *,
        blobs: Sequence[bytes] = (),
        cursors: Mapping[str, Any] | None = None,
        first: Callable[[], None] = lambda: None,
    ) -> Appended:
        """Durable when this returns. Raises StoreStalled (nothing was accepted), ValueError for what has no leaf, and
        NameGone where somebody was erased whom an entry names by id.

        first: run inside the transaction before anything is written.
        """
        now_ns = self._now_ns()
        named, keys = self._owned(entries)
        sealed = [
            self._sealed(entry, ids, subject, keys, now_ns)
            for entry, (ids, subject) in zip(entries, named, strict=True)
        ]
        terms = {entry.terms for entry in entries if entry.terms is not None}
        return self.hot.append(Batch(sealed, (*blobs, *terms), cursors or {}), first=first)

    def fits(self, entry: Entry) -> None:
        """Raises ValueError for what can have no leaf. Nothing is written."""
        for value in entry.names.values():
            value.encode()
        leaf = leaf_of(entry, MAX_TIME_NS, _ANY)
        _short(encoded(leaf))
        row_of(leaf, *self._parsed(entry.terms))

    def _owned(
        self, entries: Sequence[Entry]
    ) -> tuple[list[tuple[dict[str, str], bytes | None]], Mapping[tuple[bytes, int], bytes]]:
        """Names and keys that belong together: one who is erased in between is found under a new id, or not at all."""
        for left in reversed(range(TRIES)):
            try:
                with self.keys.together():
                    named = self._named(entries)
                    wanted = {
                        (subject, month_of(entry.time_ns))
                        for entry, (_, subject) in zip(entries, named, strict=True)
                        if entry.evidence is not None and subject is not None
                    }
                    return named, self.keys.keys(wanted) if wanted else {}
            except NameGone:
                if not left:
                    raise
        raise AssertionError

    def _named(self, entries: Sequence[Entry]) -> list[tuple[dict[str, str], bytes | None]]:
        """Of each the random ids that stand in its leaf, and the subject its evidence is encrypted for.

        One look into the key store for all tenants, one for all users, one for what leads to them.
        """
        of_tenant = self._ids(
            ("tenant", b"", e.names["tenant"]) for e in entries if "tenant" in e.names
        )
        tenants = [
            of_tenant[("tenant", b"", e.names["tenant"])] if "tenant" in e.names else b""
            for e in entries
        ]
        owners: list[bytes | None] = [None] * len(entries)
        found: list[dict[str, str]] = [{"tenant": t.hex()} if t else {} for t in tenants]
        for label in ("user", "conversation", "request"):
            names = [
                (label, tenant, entry.names[label]) if label in entry.names else None
                for entry, tenant in zip(entries, tenants, strict=True)
            ]
            lead = {n: o for n, o in zip(names, owners, strict=True) if n and o is not None}
            ids = self._ids((name for name in names if name), lead)
            for i, name in enumerate(names):
                if name is not None:
                    owners[i] = owners[i] or ids[name]
                    if label in LABEL_IDS:
                        found[i][LABEL_IDS[label]] = ids[name].hex()
        return [
            self._about(entry, ids, owner, tenant)
            for entry, ids, owner, tenant in zip(entries, found, owners, tenants, strict=True)
        ]

    @staticmethod
    def _about(
        entry: Entry, ids: dict[str, str], owner: bytes | None, tenant: bytes
    ) -> tuple[dict[str, str], bytes | None]:
        if entry.subject is not None:
            return ids | {"subject": entry.subject}, bytes.fromhex(entry.subject)
        if owner is not None:
            return ids | {"subject": owner.hex()}, owner
        return ids, tenant or None

    def _ids(self, names: Iterable[Name], owners: Mapping[Name, bytes] | None = None) -> Ids:
        return self.keys.ids(names, owners or {})

    def _sealed(
        self,
        entry: Entry,
        ids: Mapping[str, str],
        subject: bytes | None,
        keys: Mapping[tuple[bytes, int], bytes],
        now_ns: int,
    ) -> Sealed:
        more: dict[str, Any] = dict(ids)
        evidence = None
        if entry.evidence is not None:
            if subject is None:
                raise ValueError(f"evidence of entry {entry.id} belongs to nobody")
            month = month_of(entry.time_ns)
            about = bytes.fromhex(entry.evidence_of or entry.id)
            shut, more["evidence"] = box.shut(entry.evidence, keys[subject, month], about)
            evidence = (about, subject, month, shut)
        leaf = leaf_of(entry, now_ns, more)
        return Sealed(
            _short(encoded(leaf)),
            row_of(leaf, *self._parsed(entry.terms)),
            evidence,
            drops_hold=None if entry.drops_hold is None else bytes.fromhex(entry.drops_hold),
            puts_hold=None if entry.puts_hold is None else bytes.fromhex(entry.puts_hold),
        )

    def _parsed(self, terms: bytes | None) -> tuple[Mapping[str, Any], tuple[Value, ...] | None]:
        if terms is None:
            return {}, None
        found = self._terms.get(terms)
        if found is None:
            if len(self._terms) > 10_000:
                self._terms.clear()
            read = json.loads(terms)
            found = self._terms[terms] = (read, constant_of(read))
        return found


def _short(leaf: bytes) -> bytes:
    if len(leaf) > MAX_ENTRY:
        raise ValueError(f"an entry of {len(leaf):,} bytes; a log takes at most {MAX_ENTRY:,}")
    return leaf
