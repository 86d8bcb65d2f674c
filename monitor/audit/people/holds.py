"""Legal holds: what may neither be erased nor dropped when its time is over, until somebody releases it.

Owns the two entries and that a hold is put once. It never learns what a hold forbids: erasure and retention ask the
store.
"""

from __future__ import annotations

from typing import Any, Literal

from dosimeter.monitor.audit.erasure.known import KnownEntries
from dosimeter.monitor.audit.people.access import (
    Actor,
    actor_id,
    names_of,
    reason_of,
    require,
)
from dosimeter.monitor.audit.store.appending import Appender
from dosimeter.monitor.audit.store.entries import Entry, own_id
from dosimeter.monitor.audit.store.folder import HistoryFolder

On = Literal["subject", "alert"]


class CannotHold(Exception):
    """Nothing was changed. The text says why."""


def put_hold(
    appender: Appender, on: On, about: str, *, actor: Actor, reason: str, now_ns: int
) -> str:
    """The id of the entry. about: of a subject (a user, a tenant) or an alert, in hex. Raises AccessRefused,
    CannotHold, StoreStalled."""
    said = _said(appender, about, actor, reason)
    standing = appender.hot.holds().get(bytes.fromhex(about))
    if standing is not None:
        raise CannotHold(f"`{about}` is on hold already, by entry {standing.hex()}")
    fields = _fields(on, about) | {"reason": said, "actor": actor_id(actor, appender.keys)}
    entry = Entry("hold", own_id(now_ns), now_ns, fields=fields, puts_hold=about)
    appender.append([entry])
    return entry.id


def release_hold(
    appender: Appender, on: On, about: str, *, actor: Actor, reason: str, now_ns: int
) -> str:
    """The id of the entry. Raises AccessRefused, CannotHold, StoreStalled."""
    said = _said(appender, about, actor, reason)
    standing = appender.hot.holds().get(bytes.fromhex(about))
    if standing is None:
        raise CannotHold(f"`{about}` is not on hold")
    fields = _fields(on, about) | {"reason": said, "actor": actor_id(actor, appender.keys)}
    fields["released"] = standing.hex()
    entry = Entry("release", own_id(now_ns), now_ns, fields=fields, drops_hold=about)
    appender.append([entry])
    return entry.id


def _said(appender: Appender, about: str, actor: Actor, reason: str) -> str:
    require(actor, "hold")
    if len(about) != 32 or set(about) - set("0123456789abcdef"):
        raise CannotHold(
            f"`{about[:40]}` is no id\n  hint: 32 hex characters, as queries show them"
        )
    folder = HistoryFolder(appender.hot.path.parent)
    of = KnownEntries(appender.hot, folder).by("id", [bytes.fromhex(about)])
    ids = [id_.hex() for one in of for id_ in one.whom()]
    return reason_of(reason, names_of(appender.keys, [about, *ids]))


def _fields(on: On, about: str) -> dict[str, Any]:
    return {"about" if on == "alert" else "subject": about}
