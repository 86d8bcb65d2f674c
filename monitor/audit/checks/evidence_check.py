"""Whether the evidence that entries have committed to is there and opens, or an entry says why it is not.

Owns that one pass over every ciphertext: it takes the keys, so it is for whoever holds them, and it decodes nothing. It
keeps a commitment of every entry in memory, about 300 B each.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dosimeter.monitor.audit.checks.differences import Difference
from dosimeter.monitor.audit.store import box
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import HotStore, Segment
from dosimeter.monitor.audit.store.keys import KeyStore, month_of
from dosimeter.monitor.audit.store.sealed_file import EVIDENCE

_WHOSE = ("subject", "conversation", "tenant", "id", "about")
_GONE = "and no entry says why"
_UNSEALED = (
    "SELECT CAST(id AS BLOB), CAST(subject AS BLOB), month, CAST(sealed AS BLOB) FROM evidence"
)
_Span = tuple[int, int, frozenset[str]]


@dataclass(frozen=True, slots=True)
class _Committed:
    """alert: the position of the entry that it is about, index: of the last that has said what it is.

    whose: what erasing, or a hold, can be of, in the order of _WHOSE.
    """

    alert: int
    index: int
    commitment: str
    whose: tuple[str, ...]
    month: int

    def of_any(self, ids: Collection[str]) -> bool:
        return any(id_ in ids for id_ in self.whose if id_)


@dataclass(slots=True)
class _Over:
    """What had its time, and what was on hold then, which stayed. files: by name. before: by what was held, months."""

    held: frozenset[str] = frozenset()
    files: dict[str, frozenset[str]] = field(default_factory=dict)
    before: dict[frozenset[str], int] = field(default_factory=dict)

    def learn(self, said: Mapping[str, Any]) -> None:
        kind, about = said["kind"], str(said.get("about") or said.get("subject"))
        if kind == "hold":
            self.held |= {about}
        elif kind == "release":
            self.held -= {about}
        elif kind == "retention":
            month = max(self.before.get(self.held, 0), int(said["keys_before"]))
            self.before[self.held] = month
            self.files |= {str(name): self.held for name in said["evidence_files"]}

    def has_months(self, one: _Committed) -> bool:
        each = self.before.items()
        return any(one.month < month and not one.of_any(held) for held, month in each)

    def spans(self) -> list[_Span]:
        """Of files by their names: positions of the entries that were sealed with them."""
        found = []
        for name, held in self.files.items():
            first, _, past = name.removeprefix("evidence/").removesuffix(".parquet").partition("-")
            if first.isdecimal() and past.isdecimal():
                found.append((int(first), int(past), held))
        return sorted(found, key=lambda span: span[0])


@dataclass(slots=True)
class _Said:
    """By entries of the log. owed: of each with evidence, by its id; erased: whom, as they name them."""

    owed: dict[bytes, _Committed] = field(default_factory=dict)
    erased: set[str] = field(default_factory=set)
    over: _Over = field(default_factory=_Over)

    def learn(self, index: int, leaf: bytes) -> None:
        try:
            said = json.loads(leaf)
            kind = said["kind"]
            if kind == "erase":
                self.erased.add(str(said.get("subject")))
            self.over.learn(said)
            if "evidence" in said:
                id_ = bytes.fromhex(said["about"] if kind == "evidence" else said["id"])
                whose = tuple(str(said.get(name, "")) for name in _WHOSE)
                first = self.owed.get(id_) or _Committed(index, index, "", whose, 0)
                month = month_of(said["time_ns"])
                self.owed[id_] = replace(
                    first, index=index, commitment=said["evidence"], month=month
                )
        except (ValueError, KeyError, TypeError, AttributeError):
            pass  # not an entry of ours: the log's own verification says so

    def all_erased(self) -> set[str]:
        """A conversation goes with its user, also what was under its own key before that one was known."""
        through = {one.whose[1] for one in self.owed.values() if one.whose[0] in self.erased}
        return self.erased | through - {""}


def check_evidence(
    folder: HistoryFolder, hot: HotStore, keys: KeyStore, leaves: Iterable[tuple[int, bytes]]
) -> list[Difference]:
    """leaves: (index, entry) of all, as the log has them; what was taken in since is read from the store.

    Raises OSError, LogUnreadable of whoever gives them.
    """
    said, past = _Said(), 0
    for index, leaf in leaves:
        said.learn(index, leaf)
        past = index + 1
    hot.db.execute("BEGIN")
    try:
        size = hot.size
        for index, leaf in hot.leaves(past, size):
            said.learn(index, leaf)
        unsealed = hot.db.execute(_UNSEALED).fetchall()
        segments = hot.segments()
    finally:
        hot.db.execute("COMMIT")
    owed = dict(said.owed)
    found: list[Difference] = []
    lost: list[tuple[Segment, str]] = []
    shut_for_good: list[_Committed] = []
    sealed = _sealed(folder, segments, lost, found)
    for id_, subject, month, shut in chain(unsealed, sealed):
        one = owed.pop(id_, None)
        if one is None:
            continue  # of an older sealing, completed since
        key = keys.key(subject, month)
        if key is None:
            shut_for_good.append(one)
            continue
        try:
            box.opened(shut, key, id_, one.commitment)
        except box.CannotOpen as error:
            found.append(Difference(one.index, str(error)))
    for index, leaf in hot.leaves(size, hot.size):  # files and keys are as of now
        said.learn(index, leaf)
    spans, erased = said.over.spans(), said.all_erased()

    def is_due(one: _Committed) -> bool:
        # Not all of a conversation: who else spoke in it has a key of their own.
        subject, _, tenant, *_ = one.whose
        return bool({subject, tenant} & erased) or said.over.has_months(one)

    for segment, name in lost:
        if name not in said.over.files:
            found.append(Difference(segment.first, f"{name} is gone, {_GONE}"))
    for one in shut_for_good:
        if not is_due(one):
            found.append(Difference(one.index, f"the key of its evidence is gone, {_GONE}"))
    for one in owed.values():
        if not (is_due(one) or _went(one, spans, one.alert) or _went(one, spans, one.index)):
            found.append(Difference(one.index, f"its evidence is gone, {_GONE}"))
    return sorted(found, key=lambda one: -1 if one.index is None else one.index)


def _went(one: _Committed, spans: Sequence[_Span], index: int) -> bool:
    """Whether it went with the file of that entry."""
    at = bisect_right(spans, index, key=lambda span: span[0])
    return at > 0 and index < spans[at - 1][1] and not one.of_any(spans[at - 1][2])


def _sealed(
    folder: HistoryFolder,
    segments: Sequence[Segment],
    lost: list[tuple[Segment, str]],
    found: list[Difference],
) -> Iterator[tuple[bytes, bytes, int, bytes]]:
    """Of an entry the last that was stored first; files that are not there are added to `lost`, and those that cannot
    be read to `found`."""
    for segment in reversed(segments):
        if segment.evidence is None:
            continue
        path, name = folder.evidence / segment.evidence, f"evidence/{segment.evidence}"
        try:
            with pq.ParquetFile(path) as file:
                for group in range(file.num_row_groups):
                    table = file.read_row_group(group, use_threads=False)
                    columns = [table[name].to_pylist() for name in EVIDENCE.names]
                    yield from zip(*columns, strict=True)
        except FileNotFoundError:
            lost.append((segment, name))
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            found.append(Difference(segment.first, f"{name} cannot be read: {error}"))
