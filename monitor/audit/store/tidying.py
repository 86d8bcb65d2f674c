"""What history does beside taking in: sealing what is old, letting go what its time is over, checking itself.

Owns how often, and that each step says so in the log. One step a turn, so that what comes in waits for one at most. It
knows nothing of feeds or pages.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from dosimeter.monitor.audit.checks.anchored import read_anchors
from dosimeter.monitor.audit.checks.verdict import verdict_lines
from dosimeter.monitor.audit.checks.verifying import verify_history
from dosimeter.monitor.audit.store.appending import Appender
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import HotStore
from dosimeter.monitor.audit.store.keeper import Keeper
from dosimeter.monitor.audit.store.opening import KEY
from dosimeter.monitor.audit.store.retention import Retention
from dosimeter.monitor.audit.store.sealing import Sealer
from dosimeter.monitor.tlog.note import Verifier
from dosimeter.monitor.tlog.reader import notes_in
from dosimeter.monitor.tlog.rotation import log_keys

LOOK_NS = 60 * 10**9
RETAIN_NS = 3600 * 10**9
VERIFY_NS = 86_400 * 10**9
FIRST_VERIFY_NS = 2 * LOOK_NS
"""After the start: at the look before, what came meanwhile is signed, and only then given to the anchors."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Checked:
    """The last time that history verified itself. said: in the exact words of `audit verify`."""

    ok: bool
    said: tuple[str, ...]
    at_ns: int
    entries: int
    took_s: float


class Tidying:
    """Use it from the thread that writes history."""

    def __init__(
        self,
        folder: HistoryFolder,
        appender: Appender,
        keeper: Keeper,
        retention: Retention,
        now_ns: Callable[[], int],
    ) -> None:
        self._folder, self._appender, self._keeper = folder, appender, keeper
        self._retention, self._now_ns = retention, now_ns
        self._sealer = Sealer(appender.hot, folder, now_ns=now_ns)
        self._sealing = False
        self._looked = self._retained = 0
        self._verified = now_ns() - VERIFY_NS + FIRST_VERIFY_NS  # then every day
        self._checking: threading.Thread | None = None
        self.checked: Checked | None = None
        last = self._sealer.last_entry()
        if last is not None:
            appender.append([last])

    def turn(self) -> bool:
        """One step, if one is due. Raises StoreStalled, OSError."""
        now_ns = self._now_ns()
        if not self._sealing and 0 <= now_ns - self._looked < LOOK_NS:
            return False
        if self._checking is not None and self._checking.is_alive():
            return False  # it holds one moment of the store against the files of that moment
        self._looked = now_ns
        self._sealing = self._sealing or self._sealer.due()
        if self._sealing:
            segment = self._sealer.seal(self._keeper.signed, self._keeper.signed)
            self._sealing = segment is not None
            if segment is not None:
                self._appender.append([self._sealer.entry_of(segment)])
                return True
        if not 0 <= now_ns - self._retained < RETAIN_NS:
            self._retained = now_ns
            self._retain(now_ns)
        if not 0 <= now_ns - self._verified < VERIFY_NS:
            self._verified = now_ns
            self._check()
        return False

    def _retain(self, now_ns: int) -> None:
        going = self._retention.due(now_ns)
        if going is not None:
            self._appender.append([self._retention.entry_of(going, now_ns)])
            gone = self._retention.carry_out(going)
            if said := str(gone):
                log.info("removed, as their time was over: %s; held: %d", said, gone.kept)

    def _check(self) -> None:
        """In a thread: it reads everything once."""
        self._checking = threading.Thread(target=self._verify, name="verify", daemon=True)
        self._checking.start()

    def _verify(self) -> None:
        began = time.monotonic()
        try:
            verifier = Verifier.parse((self._folder.log / KEY).read_text(encoding="utf-8"))
            keys = log_keys(notes_in(self._folder.log), verifier)
            anchors = read_anchors(self._keeper.anchors, keys) if self._keeper.anchors else None
            with HotStore(self._folder.hot, read_only=True) as hot:
                now_ns = self._now_ns()
                found = verify_history(self._folder, hot, verifier, now_ns=now_ns, anchors=anchors)
        except Exception as error:  # whatever it is, it is said on the page, and history goes on
            said: tuple[str, ...] = (f"could not be verified: {error}",)
            ok, entries = False, 0
        else:
            said, ok, entries = tuple(verdict_lines(found, UTC)), found.ok, found.log.intact
        if not ok:
            log.error("history does not verify: %s", "; ".join(said))
        took_s = time.monotonic() - began
        self.checked = Checked(ok, said, self._now_ns(), entries, took_s)

    def status(self) -> dict[str, Any]:
        one = self.checked
        if one is None:
            return {}
        return {
            "ok": one.ok,
            "said": list(one.said),
            "at_ns": one.at_ns,
            "entries": one.entries,
            "took_s": one.took_s,
        }
