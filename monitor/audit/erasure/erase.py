"""Erasure: the keys and names of somebody are destroyed, and the log says that it was done.

Owns the order, which may stop anywhere and be gone through again: first an entry that says what is to be erased, then
the destruction, then an entry that says what was found. It never learns a text, nor which program asks. What it cannot
reach is told in words (`Erased.remains`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dosimeter.detectors.findings import visible
from dosimeter.monitor.audit.erasure.erase_scope import (
    CannotErase,
    Scope,
    Whom,
    found,
    not_held,
    scope_of,
)
from dosimeter.monitor.audit.erasure.exported import exports_of
from dosimeter.monitor.audit.erasure.known import KnownEntries
from dosimeter.monitor.audit.evidence.evidence_files import Unreadable, drop_subjects
from dosimeter.monitor.audit.people.access import Actor, actor_id, reason_of, require
from dosimeter.monitor.audit.store.appending import Appender
from dosimeter.monitor.audit.store.entries import DECIDED, Entry, own_id
from dosimeter.monitor.audit.store.folder import HistoryFolder

BEGUN, DONE = "begun", "done"
MAX_EXPORTS = 100
"""Named in the entry; of the others their number."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Intent:
    """An erasure that has begun. about: the random id of whom."""

    id: str
    whom: Whom
    about: bytes
    actor: str


@dataclass(frozen=True, slots=True)
class Erased:
    """What an erasure has found. id, done: its two entries; about: the random id, in hex.

    entries: of the log, which stay; ciphertexts: dropped; files: sealed ones rewritten without them; asked: how many
    records each ledger here was asked to empty; requests: ids for `erasure_state`, one a ledger, empty where there is
    no ledger; exports: those that may hold some of it; remains: in words, what may still lead to the person.
    """

    id: str
    done: str
    whom: Whom
    about: str
    subjects: int
    entries: int
    keys: int
    names: int
    ciphertexts: int
    files: int
    asked: int
    requests: tuple[str, ...]
    exports: tuple[str, ...]
    remains: tuple[str, ...]


class Eraser:
    """Of one history. ledgers: data-dirs of sidecars on this machine. Use it from one thread at a time."""

    def __init__(
        self,
        folder: HistoryFolder,
        appender: Appender,
        *,
        ledgers: Sequence[Path] = (),
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._folder, self._appender, self._ledgers = folder, appender, tuple(ledgers)
        self._hot, self._keys, self._now_ns = appender.hot, appender.keys, now_ns
        self._known = KnownEntries(self._hot, folder)

    def erase(
        self,
        whom: Whom,
        tenant: str | None,
        value: str,
        *,
        actor: Actor,
        reason: str,
        approver: Actor | None = None,
    ) -> Erased:
        """Everything of one user, conversation, request or tenant. tenant: whose user; value: the name.

        Raises AccessRefused, CannotErase: nothing was destroyed. Raises StoreStalled, KeysError, OSError: where it had
        begun, `unfinished` has it.
        """
        said = _allowed(actor, approver, reason, value)
        try:
            of, about = found(self._keys, whom, tenant, value)
        except CannotErase as error:  # asked again, as it had said that it could not be ended
            if ended := [self.finish(intent).done for intent in self.unfinished()]:
                what = f"what had begun before has been ended: entry {', entry '.join(ended)}"
                raise CannotErase(f"{what}\n{error}") from None
            raise
        scope = scope_of(self._known, self._keys, whom, about)
        not_held(self._hot.holds(), scope, of)
        exports = exports_of(self._known.of_kind("export"), scope.entries)
        now_ns = self._now_ns()
        fields: dict[str, Any] = {
            "phase": BEGUN,
            "whom": whom,
            "subject": about.hex(),
            "subjects": len(scope.subjects),
            "entries": len(scope.entries),
            "months": sorted({m for one in scope.subjects for m in self._keys.months(one)}),
            "exports": exports[:MAX_EXPORTS],
            "more_exports": len(exports[MAX_EXPORTS:]),
            "reason": said,
            "actor": actor_id(actor, self._keys),
        }
        fields |= {"tenant": of.hex()} if of else {}
        fields |= {"approver": actor_id(approver, self._keys)} if approver else {}
        intent = Intent(own_id(now_ns), whom, about, fields["actor"])
        self._appender.append(
            [Entry("erase", intent.id, now_ns, fields=fields)],
            first=lambda: not_held(self._hot.holds(), scope, of),  # one may have been put meanwhile
        )
        return self._carry_out(intent, scope, [one["id"] for one in exports])

    def preview(self, whom: Whom, tenant: str | None, value: str) -> dict[str, int]:
        """How much an erasure would find; nothing is changed. Raises CannotErase."""
        of, about = found(self._keys, whom, tenant, value)
        scope = scope_of(self._known, self._keys, whom, about)
        not_held(self._hot.holds(), scope, of)
        return {
            "subjects": len(scope.subjects),
            "entries": len(scope.entries),
            "keys": sum(len(self._keys.months(one)) for one in scope.subjects),
            "exports": len(exports_of(self._known.of_kind("export"), scope.entries)),
        }

    def unfinished(self) -> list[Intent]:
        """Those that have begun and are not done: to be finished whenever history starts."""
        leaves = self._known.of_kind("erase")
        done = {leaf["about"] for leaf in leaves if leaf["phase"] == DONE}
        return [
            Intent(leaf["id"], leaf["whom"], bytes.fromhex(leaf["subject"]), leaf["actor"])
            for leaf in leaves
            if leaf["phase"] == BEGUN and leaf["id"] not in done
        ]

    def finish(self, intent: Intent) -> Erased:
        """Go through all of it again. Raises StoreStalled, KeysError, OSError: to be called again."""
        scope = scope_of(self._known, self._keys, intent.whom, intent.about, begun=True)
        exports = exports_of(self._known.of_kind("export"), scope.entries)
        return self._carry_out(intent, scope, [one["id"] for one in exports])

    def _carry_out(self, intent: Intent, scope: Scope, exports: Sequence[str]) -> Erased:
        destroyed = self._keys.destroy_all(sorted(scope.subjects))
        dropped = self._hot.drop_evidence(sorted(scope.subjects))
        cut = self._hot.empty_log()
        files, unread = 0, []
        for segment in self._hot.segments():
            try:
                rows = drop_subjects(self._folder, segment, scope.subjects)
            except Unreadable as error:  # its keys are gone, and the others are not to wait for it
                unread.append(str(error))
                log.error("erasure %s: %s", intent.id, error)
                continue
            dropped, files = dropped + rows, files + bool(rows)
        decided = [one.id.hex() for one in scope.entries if one.kind in DECIDED]
        now_ns = self._now_ns()
        asked = [_ask(data_dir, decided, now_ns) for data_dir in self._ledgers] if decided else []
        counted = {
            "subjects": len(scope.subjects),
            "entries": len(scope.entries),
            "keys": destroyed.keys,
            "names": destroyed.names,
            "ciphertexts": dropped,
            "files": files,
            "asked": len(decided) if self._ledgers else 0,
        }
        fields: dict[str, Any] = {
            "phase": DONE,
            "whom": intent.whom,
            "subject": intent.about.hex(),
            "about": intent.id,
            "actor": intent.actor,
            **counted,
        }
        done = Entry("erase", own_id(now_ns), now_ns, fields=fields)
        self._appender.append([done])
        return Erased(
            id=intent.id,
            done=done.id,
            whom=intent.whom,
            about=intent.about.hex(),
            requests=tuple(asked),
            exports=tuple(exports),
            remains=(*self._remains(counted, len(exports), cut), *unread),
            **counted,
        )

    def _remains(self, counted: Mapping[str, int], exports: int, cut: bool) -> Iterable[str]:
        yield (
            f"the log keeps {counted['entries']} entries, with random ids that stand for nobody any more"
        )
        yield "backups of keys.db made before this can still open it: let none outlive its window"
        if exports:
            yield f"{exports} exports made before may hold some of it: recall them"
        if self._ledgers:
            yield "ledgers on this machine were asked to empty their records, and say when it is done"
        else:
            yield "no ledger was asked: on the sidecars' machines their records keep labels"
        yield "what was delivered to Kafka, OTLP or a webhook is beyond reach from here"
        if not cut:
            yield "ciphertext nobody can open stays in the write-ahead log of hot.db until it is cut"


def _allowed(actor: Actor, approver: Actor | None, reason: str, value: str) -> str:
    """The reason as it is written. Raises AccessRefused, CannotErase."""
    require(actor, "erase")
    if approver is not None:
        require(approver, "approve")
        if approver.name == actor.name:
            said = f"`{visible(actor.name)[:80]}` erases, and cannot approve it too"
            raise CannotErase(f"{said}\n  hint: ask somebody else")
    return reason_of(reason, [value])


def _ask(data_dir: Path, event_ids: Sequence[str], now_ns: int) -> str:
    """The id of the request, or nothing where no ledger is."""
    from dosimeter.monitor.history.erasure import erase_in_ledger
    from dosimeter.monitor.history.reader import LedgerMissing

    try:
        return erase_in_ledger(data_dir, event_ids, now_ns)
    except LedgerMissing:
        return ""
