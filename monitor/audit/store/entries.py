"""What becomes an entry of the log, and its canonical form, the leaf.

Owns the fields that every leaf has, and how the record of a sidecar is taken apart: what is constant for a compiled
rule (its terms, a blob), what may lead to a person (evidence, encrypted elsewhere), and the rest, which is the leaf.
It knows nothing of stores, keys or the clock. A field that it does not know is taken for one that may lead to a person.
"""

from __future__ import annotations

import json
import marshal
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import msgspec

from dosimeter.rules.alert import record_id
from dosimeter.rules.canonical import MAX_INT, canonical, digest

VERSION = 1
MAX_TIME_NS = 4_102_444_800 * 10**9
"""2100-01-01: times after it are some clock's mistake, and would overflow sums over days."""
HISTORY = "history"
"""The source of what no sidecar said."""

DECIDED = ("alert", "digest", "count", "absent", "shift")
SELF = ("canary", "pause", "capture")
"""What a sidecar records about itself: no findings, and about nobody."""
MANY = ("alert", "evidence")
"""Kinds that there are many entries of; those of all others together are few."""
FED = ("birth", "death", "gap", "gap-closed", "coverage", "went-back", "refused", "evidence")
PEOPLE = ("label", "hold", "release", "erase", "view", "query", "export")
KEEPING = ("restart", "config", "program", "seal", "retention")
KINDS = (*DECIDED, *SELF, *FED, *PEOPLE, *KEEPING)

MEASURED = (
    "clause", "start", "end", "position", "value_sum", "value_n", "tokens_scored", "tokens_unscored",
)  # fmt: skip
"""What differs from one time to the next that a condition is met."""
_CONSTANT = (
    "rule", "rule_sha256", "program_sha256", "status", "severity", "owner", "runbook", "rule_labels", "confirm",
    "model", "feature", "pack_sha256", "calibration_sha256", "level", "scope", "shape", "threshold_code",
    "trusted",
)  # fmt: skip
_CONSTANT_OF_ALSO = (
    "clause", "feature", "pack_sha256", "calibration_sha256", "level", "scope", "shape", "threshold_code",
)  # fmt: skip
_WORDS = ("summary", "coverage")
_APART = frozenset({"v", "kind", "event_id", "time_ns", "labels", *_WORDS})
_RULE = ("rule", "rule_sha256", "severity", "owner", "runbook")
_SECOND = (
    *_RULE, "decision", "reason", "would_act", "status", "rule_labels", "confirm", "epoch", "model", "feature",
    "trusted",
)  # fmt: skip
_IN_LEAF: Mapping[str, frozenset[str]] = {
    "alert": frozenset({*MEASURED, "decision", "reason", "would_act", "epoch", "key"}),
    "digest": frozenset(
        {*_RULE, "from_ns", "to_ns", "notified", "limited", "groups", "groups_floor"}
    ),
    "count": frozenset(
        {*_SECOND, "count", "counted", "of", "more_than", "within_s", "from_ns", "hits"}
    ),
    "absent": frozenset({*_SECOND, "for_s", "lasted_ns", "tokens_served"}),
    "shift": frozenset(
        {*_SECOND, "scope", "calibration_sha256", "requests", "requests_unscored", "since_request", "direction",
         "sentence"}
    ),
    "canary": frozenset({"tokens"}),
    "pause": frozenset({"state", "pause", "reason", "by_uid", "until_ns", "why", "tokens", "ended_by_uid"}),
    "capture": frozenset(
        {"state", "epoch", "capture", "reason", "by_uid", "until_ns", "layers", "sample_ppm", "max_bytes",
         "max_requests", "out", "why", "requests", "rows", "bytes", "lost"}
    ),
}  # fmt: skip
"""What of a record stands in its leaf for good. A later sidecar may say more: that is encrypted (`_unread`)."""
_BESIDE: Mapping[str, set[str]] = {"alert": {*_CONSTANT, "also"}, "canary": {"rule", "severity"}}
"""Known, and not in the leaf: in the terms of a rule, or the same in every record of its kind."""
_KNOWN = {kind: _APART | fields | _BESIDE.get(kind, set()) for kind, fields in _IN_LEAF.items()}
UNREAD = "record."
"""Before the name of a field that this release does not know, among the labels of the evidence."""
LABEL_IDS = {"tenant": "tenant", "user": "subject", "conversation": "conversation"}
"""Label of a record -> the field of the leaf that has its random id."""
_OURS = frozenset(
    {"id", "ingested_ns", "source", "seq", *LABEL_IDS.values(), "route", "terms", "evidence", "about", "actor",
     "verdict", "more"}
)  # fmt: skip
"""Fields of a leaf that history finds out itself: a record that brought one would speak for somebody else."""
MAX_DEPTH = 32
"""Of brackets within brackets, far from what would stop whoever reads the leaf."""


@dataclass(slots=True)
class Entry:
    """One entry on its way into the log.

    fields: of the leaf, without those that every leaf has. names: label -> value, of which only random ids get into
    the leaf. evidence: plaintext without salt, of the entry `evidence_of` or of this one, encrypted for the subject of
    the names or for `subject`.
    """

    kind: str
    id: str  # 32 hex characters
    time_ns: int
    source: str = HISTORY
    seq: int = 0
    fields: Mapping[str, Any] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    terms: bytes | None = None  # canonical JSON
    evidence: bytes | None = None
    evidence_of: str | None = None
    subject: str | None = None  # hex, where there are no names
    puts_hold: str | None = None  # hex, of a subject or an entry
    drops_hold: str | None = None


def own_id(time_ns: int, random: Callable[[int], bytes] = os.urandom) -> str:
    """A new id of an entry that no sidecar has named: its time, then chance."""
    return record_id(time_ns, random(16))


def leaf_of(entry: Entry, ingested_ns: int, more: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the leaf. more: what was found out on the way, such as random ids."""
    found = {
        "v": VERSION,
        "kind": entry.kind,
        "id": entry.id,
        "time_ns": entry.time_ns,
        "ingested_ns": ingested_ns,
        "source": entry.source,
        "seq": entry.seq,
        **entry.fields,
        **more,
    }
    if entry.terms is not None:
        found["terms"] = _hash_of(entry.terms)
    return found


_hash_of = lru_cache(maxsize=1024)(digest)
"""There are as many terms as rules, and many alerts of each."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A record of a sidecar, taken apart. labels, words: what may lead to a person."""

    entry: Entry
    labels: Mapping[str, str]
    words: Mapping[str, str]


def from_record(core: bytes, source: str, seq: int) -> Taken:
    """Raises ValueError for what is no record that this release knows; its text has nothing of what stands in it."""
    try:
        record = _LOADS(core.decode())
        if core.count(b"[") + core.count(b"{") > MAX_DEPTH and _depth(record) > MAX_DEPTH:
            raise ValueError(f"more than {MAX_DEPTH} brackets within brackets")
        return _taken(record, source, seq)
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a record: {error!r}") from error


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        each = [list(one.values()) if isinstance(one, dict) else one for one in level]
        level = [inner for one in each if isinstance(one, list) for inner in one]
    return depth


def _taken(record: Any, source: str, seq: int) -> Taken:
    kind = record.get("kind") if isinstance(record, dict) else None
    if not isinstance(kind, str) or kind not in _IN_LEAF:
        raise ValueError(f"its kind is none of {', '.join(_IN_LEAF)}")
    if own := sorted(record.keys() & _OURS):
        raise ValueError(f"`{own[0]}` is for history alone to say")
    labels = _texts(record.get("labels"))
    words = {name: str(record[name]) for name in _WORDS if record.get(name)}
    wanted = _IN_LEAF[kind]
    fields = {name: value for name, value in record.items() if name in wanted}
    if unread := _unread(record, _KNOWN[kind]):
        labels |= unread
        fields["unread"] = len(unread)
    if "route" in labels and "route" in (record.get("trusted") or ()):
        fields["route"] = labels["route"]  # a word of the gateway's, not a client's
    terms = None
    if kind == "alert":
        terms = _terms(record)
        if also := record.get("also"):
            fields["also"] = [{name: one[name] for name in MEASURED if name in one} for one in also]
    time_ns = _integer(record, "time_ns")
    if not 0 <= time_ns < MAX_TIME_NS:
        raise ValueError(f"`time_ns` is {time_ns}, which is in no year that has a name here")
    names = names_of(labels)
    entry = Entry(kind, _event_id(record), time_ns, source, seq, fields, names, terms)
    return Taken(entry, labels, words)


def names_of(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels that get an id; the request's own name only where nothing else stands for somebody."""
    names = {label: labels[label] for label in LABEL_IDS if label in labels}
    if "user" not in names and "conversation" not in names and "request_id" in labels:
        names["request"] = labels["request_id"]
    return names


def _unread(record: Mapping[str, Any], known: frozenset[str]) -> dict[str, str]:
    """What this release does not know, as it came: to be encrypted, since it may lead to a person."""
    found = {name: record[name] for name in record.keys() - known}
    for at, one in enumerate(record.get("also") or () if "also" in known else ()):
        found |= {f"also[{at}].{name}": one[name] for name in one.keys() - _OF_ALSO}
    return {UNREAD + name: canonical(value).decode() for name, value in found.items()}


_OF_ALSO = frozenset({*MEASURED, *_CONSTANT_OF_ALSO})


def _terms(record: Mapping[str, Any]) -> bytes:
    constant = {name: record[name] for name in _CONSTANT if name in record}
    constant["clause"] = record["clause"]
    constant["also"] = [
        {name: one[name] for name in _CONSTANT_OF_ALSO if name in one}
        for one in record.get("also") or ()
    ]
    key = marshal.dumps(constant, 2)  # says the same of the same, at a tenth of the time
    found = _TERMS.get(key)
    if found is None:
        if len(_TERMS) >= MAX_TERMS:
            _TERMS.clear()
        found = _TERMS[key] = encoded(constant)
    return found


_TERMS: dict[bytes, bytes] = {}
MAX_TERMS = 1000


def encoded(value: Mapping[str, Any]) -> bytes:
    """`canonical(value)`, several times as quickly where all is ASCII. For what has no floats and no large integers."""
    data = _ENCODE(value)
    return data if data.isascii() else canonical(value)


_ENCODE = msgspec.json.Encoder(order="sorted").encode


def _no_float(text: str) -> float:
    raise ValueError(f"`{text[:40]}` is no whole number: records have no others")


def _whole(text: str) -> int:
    if len(text) > 18 and (len(text) > 20 or abs(int(text)) > MAX_INT):
        raise ValueError(f"`{text[:40]}` does not fit into 64 bits")
    return int(text)


_LOADS = json.JSONDecoder(parse_float=_no_float, parse_int=_whole, parse_constant=_no_float).decode


def _event_id(record: Mapping[str, Any]) -> str:
    found = record.get("event_id")
    if not isinstance(found, str) or len(found) != 32 or not _is_hex(found):
        raise ValueError("its event id is not 32 hex characters")
    return found


def _is_hex(text: str) -> bool:
    return set(text) <= set("0123456789abcdef")


def _integer(record: Mapping[str, Any], name: str) -> int:
    found = record.get(name)
    if not isinstance(found, int) or isinstance(found, bool):
        raise ValueError(f"`{name}` is a {type(found).__name__}, not a whole number")
    return found


def _texts(found: Any) -> dict[str, str]:
    return {str(n): str(v) for n, v in found.items()} if isinstance(found, dict) else {}
