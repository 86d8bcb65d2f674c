"""Whom an erasure is of: every id whose keys and names go, and whether a legal hold forbids it.

Owns how one name leads to others: a user to conversations, a tenant to all its people. It destroys nothing and never
learns why somebody is to be erased.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from dosimeter.monitor.audit.erasure.known import Known, KnownEntries
from dosimeter.monitor.audit.store.keys import KeyStore

Whom = Literal["user", "conversation", "request", "tenant"]


class CannotErase(Exception):
    """Nothing was destroyed. The text says why, and what would help."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Ids whose keys and names go, and the entries that are about them, which stay."""

    subjects: frozenset[bytes]
    entries: tuple[Known, ...]


def found(keys: KeyStore, whom: Whom, tenant: str | None, value: str) -> tuple[bytes, bytes]:
    """Id of the tenant, empty where there is none, and of the name. Raises CannotErase."""
    if whom == "tenant":
        of = about = keys.find("tenant", b"", value)
    else:
        of = keys.find("tenant", b"", tenant) if tenant is not None else b""
        about = None if of is None else keys.find(whom, of, value)
    if of is None or about is None:
        raise CannotErase(
            f"no {whom} of that name{'' if tenant is None else ' in that tenant'} is known here: "
            "never seen, or erased before\n"
            "  hint: names are as the server was told them; a request of a user goes with the user"
        )
    return of, about


def scope_of(
    known: KnownEntries, keys: KeyStore, whom: Whom, about: bytes, *, begun: bool = False
) -> Scope:
    """Also of somebody whose keys and names have gone already. Raises CannotErase for a conversation of a user, unless
    it has begun: it had none then."""
    own = known.by("subject", [about])
    if whom == "tenant":
        entries = known.by("tenant", [about])
        named = {id_ for one in entries for id_ in (one.subject, one.conversation) if id_}
        subjects = frozenset({about, *named, *keys.within(about)})
        return Scope(subjects, (*entries, *_others(own, entries)))
    if whom == "conversation":
        if not begun:
            _own_key(known, about)
        return Scope(frozenset({about}), tuple(own))
    # Of a conversation that began before the user was known the first entries are under its own key.
    through = {one.conversation for one in own if one.conversation} | set(keys.leading_to(about))
    return Scope(frozenset({about, *through}), (*own, *known.by("subject", through - {about})))


def not_held(holds: Mapping[bytes, bytes], scope: Scope, tenant: bytes) -> None:
    """holds: what is held -> the entry that put the hold. Raises CannotErase where one stands."""
    about = {*scope.subjects, *(one.id for one in scope.entries), tenant} & holds.keys()
    if about:
        those = sorted(f"{holds[one].hex()} on {one.hex()}" for one in about)
        more = f" and {len(those) - 3} more" if len(those) > 3 else ""
        raise CannotErase(
            f"a legal hold stands: entry {', entry '.join(those[:3])}{more}\n"
            "  hint: erase when it has been released"
        )


def _own_key(known: KnownEntries, conversation: bytes) -> None:
    entries = known.by("conversation", [conversation])
    users = {one.subject for one in entries if one.subject} - {conversation}
    if users:
        raise CannotErase(
            "it is a conversation of a user, and lies under the user's key\n"
            f"  hint: erase the user: {', '.join(sorted(id_.hex() for id_ in users))}"
        )


def _others(found: Iterable[Known], known: Iterable[Known]) -> list[Known]:
    ids = {one.id for one in known}
    return [one for one in found if one.id not in ids]
