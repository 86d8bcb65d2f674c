"""What reviewers say of alerts and of requests nothing fired on: one entry each, the note encrypted.

Owns the entry, and which of several labels counts: the last of each reviewer. It never learns what is computed from
them (precision.py), nor who asks for a label.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dosimeter.detectors.findings import visible
from dosimeter.monitor.audit.evidence.evidence_body import encode_body
from dosimeter.monitor.audit.people.access import (
    Access,
    AccessRefused,
    Actor,
    actor_id,
    names_of,
    names_somebody,
    require,
)
from dosimeter.monitor.audit.store.appending import Appender
from dosimeter.monitor.audit.store.entries import Entry, own_id

Verdict = Literal["true", "false", "unsure"]
Origin = Literal["queue", "sample", "import"]
Standing = Literal["true", "false", "unsure", "disputed"]

VERDICTS: tuple[Verdict, ...] = ("true", "false", "unsure")
CODE = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
"""A reason code: it stays for good, so there is no room for a sentence about somebody."""
OFFERED = frozenset(
    {
        "seen", "unstated", "as-defined", "fiction", "quoted", "warned", "confusable", "wrong-speaker", "too-little",
        "other",
    }
)  # fmt: skip
"""What everybody is offered: it names nobody, though somebody be called `ted`."""
MAX_NOTE = 4000
REQUEST = re.compile(r"[0-9a-f]{16}/[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class About:
    """What is labelled: an alert by its id, or a sampled request by EPOCH/KEY; tenant, subject: ids in hex.

    one_in: how many requests a sampled one stands for, as `sample` says.
    """

    alert: str | None = None
    request: str | None = None
    tenant: str | None = None
    subject: str | None = None
    one_in: int = 1


@dataclass(frozen=True, slots=True)
class Label:
    """One entry. of: the alert, or the request; actor: as in the leaf."""

    of: str
    actor: str
    verdict: Verdict
    time_ns: int
    origin: Origin = "queue"
    reason_code: str = ""
    one_in: int = 1

    @classmethod
    def of_leaf(cls, leaf: Mapping[str, Any]) -> Label:
        """leaf: its fields; ids in hex."""
        return cls(
            str(leaf.get("about") or leaf["request"]),
            str(leaf["actor"]),
            leaf["verdict"],
            int(leaf["time_ns"]),
            leaf.get("origin", "queue"),
            str(leaf.get("reason_code", "")),
            int(leaf.get("one_in", 1)),
        )

    @property
    def reviewer(self) -> str:
        """The person, in whatever role."""
        return self.actor.partition(":")[2] or self.actor


def label(
    appender: Appender,
    about: About,
    verdict: Verdict,
    *,
    actor: Actor,
    reason_code: str,
    note: str = "",
    origin: Origin = "queue",
    now_ns: int,
) -> str:
    """The id of the entry, durable. Raises AccessRefused, StoreStalled; ValueError for what is no label.

    The note is readable as evidence of that entry, under the key of the alert's subject: erased with it.
    """
    require(actor, "label")
    _own(appender, about, actor)
    if (about.alert is None) is (about.request is None):
        raise ValueError("a label is about an alert or about a request")
    if about.request is not None and not REQUEST.fullmatch(about.request):
        raise ValueError(f"`{visible(about.request)[:80]}` is no request: EPOCH/KEY, 16 hex each")
    if verdict not in VERDICTS:
        raise ValueError(f"`{visible(str(verdict))[:40]}` is none of {', '.join(VERDICTS)}")
    if not CODE.fullmatch(reason_code):
        raise ValueError(
            f"reason `{visible(reason_code)[:80]}` is no code: up to 40 of a-z, 0-9 and `-`\n"
            "  hint: a sentence goes into the note, which can be erased"
        )
    names = names_of(appender.keys, [about.tenant, about.subject])
    if reason_code not in OFFERED and names_somebody(reason_code, names):
        raise ValueError(
            "the reason names whom it is about, and could never be erased\n"
            "  hint: write a word for counting, such as fiction; a sentence goes into the note"
        )
    if len(note) > MAX_NOTE:
        raise ValueError(f"the note has {len(note)} characters, at most {MAX_NOTE} are kept")
    who = actor_id(actor, appender.keys)
    fields: dict[str, Any] = {"verdict": verdict, "reason_code": reason_code, "actor": who}
    fields |= {"origin": origin, "about": about.alert, "request": about.request}
    fields |= {"tenant": about.tenant, "subject": about.subject}
    fields |= {"one_in": about.one_in} if about.request is not None else {}
    body = encode_body({"summary": note}, None, ()) if note else None
    entry = Entry(
        "label",
        own_id(now_ns),
        now_ns,
        fields={name: value for name, value in fields.items() if value is not None},
        evidence=body,
        subject=_belongs(appender, about, who) if body else None,
    )
    appender.append([entry])
    return entry.id


def _belongs(appender: Appender, about: About, who: str) -> str:
    """Under whose key the note lies. One who was erased gets no new key: then it is the reviewer's own."""
    for id_ in (about.subject, about.tenant):
        if id_ is not None and appender.keys.name(bytes.fromhex(id_)) is not None:
            return id_
    return who.partition(":")[2]


def _own(appender: Appender, about: About, actor: Actor) -> None:
    own = Access(appender, appender.keys).tenants(actor)
    if own is not None and about.tenant not in own:
        raise AccessRefused(
            f"`{visible(actor.name)[:80]}` labels own tenants alone\n  hint: ask somebody of that tenant"
        )


def latest(labels: Iterable[Label]) -> dict[str, list[Label]]:
    """By what they are of: the last label of each reviewer, the one who began first in front."""
    last: dict[str, dict[str, Label]] = {}
    for one in sorted(labels, key=lambda one: one.time_ns):
        last.setdefault(one.of, {})[one.reviewer] = one  # keeps the place of the reviewer's first
    return {of: list(ones.values()) for of, ones in last.items()}


def standing(labels: Iterable[Label]) -> Standing | None:
    """What they say together of one thing; `disputed` while one says true and another false. None: nobody did."""
    said = {one.verdict for ones in latest(labels).values() for one in ones}
    if {"true", "false"} <= said:
        return "disputed"
    for verdict in VERDICTS:
        if verdict in said:
            return verdict
    return None
