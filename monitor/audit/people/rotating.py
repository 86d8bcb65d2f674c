"""A new signing key for the log: who may, the entry that says so, and the checkpoint that both keys sign.

Owns that the entry of it is under both signatures. It runs beside no history: that one has the old key in memory.
"""

from __future__ import annotations

from dataclasses import dataclass

from dosimeter.monitor.audit.history import History
from dosimeter.monitor.audit.people.access import Actor, actor_id, reason_of, require
from dosimeter.monitor.audit.store.entries import Entry, own_id
from dosimeter.monitor.audit.store.keeper import Keeper
from dosimeter.monitor.tlog.note import Signer, Verifier


@dataclass(frozen=True, slots=True)
class Rotated:
    """size: of the log at which the one key ends and the other begins."""

    old: Verifier
    new: Verifier
    size: int


def rotate_key(history: History, actor: Actor, reason: str, now_ns: int) -> Rotated:
    """Raises AccessRefused, AlreadyWriting where a history runs, and what `Keeper` does."""
    require(actor, "rotate")
    said = reason_of(reason, ())
    keeper = Keeper(history.folder, history.hot)
    try:
        old = keeper.verifier
        new = Signer.generate(old.name)
        fields = {
            "actor": actor_id(actor, history.keys),
            "reason": said,
            "key_was": old.vkey,
            "key_is": new.verifier.vkey,
        }
        history.appender.append([Entry("config", own_id(now_ns), now_ns, fields=fields)])
        keeper.rotate(new)
        return Rotated(old, new.verifier, keeper.signed)
    finally:
        keeper.writer.close()  # and sign nothing more: what comes in now is for the new key
