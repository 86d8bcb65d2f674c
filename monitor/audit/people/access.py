"""Who may do what with history, and the entry that says so before anything is shown.

Owns the order: first the entry, durable, then the data; where it cannot be written, nothing is shown. It
never learns how somebody proved who they are, nor what the data is: a caller asks here, and only then reads.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dosimeter.detectors.findings import visible
from dosimeter.monitor.audit.store.appending import Appender
from dosimeter.monitor.audit.store.entries import Entry, own_id
from dosimeter.monitor.audit.store.hot import StoreError, StoreStalled
from dosimeter.monitor.audit.store.keys import KeysError, KeyStore
from dosimeter.monitor.roles import ROLES, Right
from dosimeter.rules.canonical import canonical

Kind = Literal["view", "query", "export"]

IDS = ("tenant", "subject", "conversation")
"""What of a question must be a random id, or UNKNOWN."""
FIELD = {"tenant": "tenant", "user": "subject", "request": "subject", "conversation": "conversation"}  # fmt: skip
"""A label people filter by -> the column that has its id."""
UNKNOWN = "unknown"
"""Instead of the id of a name nobody has: no row matches it."""
MAX_REASON = 400
MAX_WHAT = 16_384
"""Bytes of what was asked; a leaf has at most 65,535."""
SHORT = 12
"""Characters of an id that people read."""
WITHHELD = "withheld"
"""Instead of a text of what was asked that may name somebody."""
_ID = re.compile(r"[0-9a-f]{32}")
_BEGINS_ID = re.compile(r"[0-9a-f]{1,32}")
_ADDRESS = re.compile(r"[^\s@]@[^\s@]")


class AccessRefused(Exception):
    """Nothing may be shown or changed. The text says why, and what would help."""


class ReasonRefused(AccessRefused):
    """The reason cannot stand in the log: another one helps, and waiting does not."""


@dataclass(frozen=True, slots=True)
class Actor:
    """tenants: names; None: all. They say nothing where the role is for every tenant."""

    name: str
    role: str
    tenants: frozenset[str] | None = None


class Access:
    """Asked before every read. Use it from one thread at a time."""

    def __init__(
        self, appender: Appender, keys: KeyStore, *, now_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._appender, self._keys, self._now_ns = appender, keys, now_ns

    def ask(
        self,
        actor: Actor,
        kind: Kind,
        what: Mapping[str, Any],
        reason: str | None = None,
        about: str | None = None,
    ) -> str:
        """The id of the entry, which is durable when this returns. Raises AccessRefused.

        what: filters as `resolved` gives them; of an export `text` True where evidence goes with it. A view of a
        reviewer names the tenant. about: hex id of the entry that is viewed.
        """
        _checked(what)
        require(actor, kind)
        text = kind == "view" or bool(what.get("text"))
        if text:
            require(actor, "view")
        self._own_tenants(actor, what, text=text)
        said = reason_of(reason, self._names_in(what)) if text or reason else None
        now_ns = self._now_ns()
        fields: dict[str, Any] = {"what": {n: self._plain(n, v) for n, v in what.items()}}
        fields |= {"reason": said} if said else {}
        fields |= {"about": about} if about else {}
        if text and ROLES[actor.role].every_tenant:
            fields["break_glass"] = True
        try:
            fields["actor"] = actor_id(actor, self._keys)
            entry = Entry(kind, own_id(now_ns), now_ns, fields=fields)
            self._appender.append([entry])
        except (StoreStalled, StoreError, KeysError, sqlite3.Error, OSError) as error:
            raise AccessRefused(f"the entry of this access cannot be written: {error}") from error
        return entry.id

    def tenants(self, actor: Actor) -> frozenset[str] | None:
        """Ids of the tenants whose rows exist for this actor, in hex; None: all. To be a condition of every query."""
        if ROLES[actor.role].every_tenant or actor.tenants is None:
            return None
        found = (self._keys.find("tenant", b"", name) for name in actor.tenants)
        return frozenset(id_.hex() for id_ in found if id_ is not None)

    def _own_tenants(self, actor: Actor, what: Mapping[str, Any], *, text: bool) -> None:
        own = self.tenants(actor)
        if own is None:
            return
        asked = what.get("tenant")
        if asked in own or asked == UNKNOWN or (asked is None and not text):
            return
        named = ", ".join(f"`{visible(name)[:80]}`" for name in sorted(actor.tenants or ()))
        raise AccessRefused(
            f"`{visible(actor.name)[:80]}` is {actor.role} of {named or 'no tenant'} alone\n"
            "  hint: ask somebody of that tenant, or an auditor"
        )

    def _plain(self, name: str, value: Any) -> Any:
        """As it stands in the leaf: a name that was put where none belongs would stay there for good.

        The text of `sql` is the exception, and its command says so.
        """
        if not isinstance(value, str) or name == "sql":
            return value
        if name == "id":
            return value if _BEGINS_ID.fullmatch(value) else WITHHELD
        return WITHHELD if _ADDRESS.search(value) or self._keys.is_person(value) else value

    def _names_in(self, what: Mapping[str, Any]) -> Iterator[str]:
        yield from names_of(self._keys, (what.get(field) for field in IDS))


def require(actor: Actor, right: Right) -> None:
    """Raises AccessRefused where the role may not."""
    role = ROLES.get(actor.role)
    if role is not None and right in role.may:
        return
    those = ", ".join(name for name, one in ROLES.items() if right in one.may)
    raise AccessRefused(
        f"`{visible(actor.name)[:80]}` is `{visible(actor.role)[:40]}`, who may not {right}\n"
        f"  hint: it takes one of: {those}"
    )


def actor_id(actor: Actor, keys: KeyStore) -> str:
    """`role:id`, as it stands in leaves: the name itself is in the key store alone."""
    name = ("actor", b"", actor.name)
    return f"{actor.role}:{keys.ids([name], {})[name].hex()}"


def who(text: str | None, asks: Actor, keys: KeyStore) -> str:
    """`text` is `role:id` of a leaf: the role and the beginning of the id, and the name for who may see it.

    Names are for those whose role is for every tenant, and one's own is for oneself.
    """
    if not text:
        return "history"
    role, _, id_ = text.partition(":")
    said = f"{role} {id_[:SHORT]}".strip()
    found = keys.name(bytes.fromhex(id_)) if _ID.fullmatch(id_) else None
    name = None if found is None else found[1]
    may = ROLES[asks.role].every_tenant or name == asks.name
    return f"{said} ({visible(name)[:80]})" if name is not None and may else said


def resolved(filters: Mapping[str, Any], keys: KeyStore) -> dict[str, Any]:
    """Filters with ids instead of names, under the names of the columns, as entries and queries have them.

    A user, request or conversation is looked up in the tenant that is filtered by too, or in none.
    """
    found: dict[str, Any] = {n: v for n, v in filters.items() if n not in FIELD and v is not None}
    named = {n: str(filters[n]) for n in FIELD if filters.get(n) is not None}
    tenant: bytes | None = b""
    if "tenant" in named:
        tenant = keys.find("tenant", b"", named.pop("tenant"))
        found["tenant"] = UNKNOWN if tenant is None else tenant.hex()
    for label, value in named.items():
        id_ = None if tenant is None else keys.find(label, tenant, value)
        found[FIELD[label]] = UNKNOWN if id_ is None else id_.hex()
    return found


def names_of(keys: KeyStore, ids: Iterable[Any]) -> Iterator[str]:
    """The names that ids in hex stand for, and those of the conversations of a user; what is no id has none."""
    for text in ids:
        id_ = bytes.fromhex(text) if _ID.fullmatch(str(text)) else None
        for one in (id_, *keys.leading_to(id_)) if id_ is not None else ():
            found = keys.name(one)
            if found is not None:
                yield found[1]


def reason_of(reason: str | None, names: Iterable[str]) -> str:
    """As it goes into the log, where it stays for good: so it may not say whom it is about. Raises ReasonRefused."""
    said = visible(" ".join((reason or "").split()))
    if not said:
        raise ReasonRefused("no reason is given\n  hint: say why, such as the number of the ticket")
    if len(said) > MAX_REASON:
        raise ReasonRefused(f"the reason has {len(said)} characters, at most {MAX_REASON} are kept")
    if names_somebody(said, names):
        raise ReasonRefused(
            "the reason names whom it is about, and could never be erased\n"
            "  hint: write the number of the ticket instead"
        )
    return said


def names_somebody(text: str, names: Iterable[str]) -> bool:
    """Whether one of these names, or an e-mail address of anybody, stands in it."""
    folded = text.casefold()
    named = any(len(name) > 2 and name.casefold() in folded for name in names)
    return named or _ADDRESS.search(text) is not None


def _checked(what: Mapping[str, Any]) -> None:
    """Raises ValueError for what may not stand in the log: a fault of the caller, not of the person."""
    for name in what:
        if name in FIELD and name not in IDS:
            raise ValueError(f"`{name}` of what was asked is not resolved to an id")
    for field in IDS:
        value = what.get(field)
        if value is not None and value != UNKNOWN and not _ID.fullmatch(str(value)):
            raise ValueError(f"`{field}` of what was asked is no id")
    if len(canonical(dict(what))) > MAX_WHAT:
        raise AccessRefused(
            f"what was asked takes more than {MAX_WHAT} bytes\n  hint: ask for less"
        )
