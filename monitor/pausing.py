"""Whether the line is paused: what arrives is then not looked at, and counted as `paused`, token by token.

Owns the beginning and the end of a pause, each with a record that goes into the ledger and from there into history.
Every pause ends by itself, by whichever clock says so first. It knows nothing of what is scored.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dosimeter.monitor import pause_file
from dosimeter.monitor.history.records import LedgerRecord
from dosimeter.monitor.pause_file import Pause, PauseError
from dosimeter.rules.alert import record_id
from dosimeter.rules.canonical import canonical

log = logging.getLogger(__name__)

VERSION = 1
KIND = "pause"
AHEAD_NS = 60 * 10**9
"""That a pause may have been asked for after now. One from further ahead would begin anew with each restart."""


class Pausing:
    """Ask it at every housekeeping. tokens: that arrived in the pause there is."""

    def __init__(
        self,
        data_dir: Path | None = None,
        ledger: str = "",
        *,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        time_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """data_dir: None, nobody can ask. ledger: identity of the one that the records go to."""
        self._data_dir, self._ledger = data_dir, ledger
        self._monotonic_ns, self._time_ns = monotonic_ns, time_ns
        self._now: Pause | None = None
        self._ends_ns = 0  # monotonic
        self._trouble: str | None = None
        self.tokens = 0

    @property
    def on(self) -> bool:
        return self._now is not None

    def look(self) -> list[LedgerRecord]:
        """What began or ended since. Never raises: a file that cannot be read pauses nothing."""
        if self._data_dir is None:
            return []
        time_ns = self._time_ns()
        now = self._now
        asked = self._asked(self._data_dir, time_ns, now)
        found: list[LedgerRecord] = []
        if now is not None and asked != now:
            found.append(self._end(now, time_ns, *_why(asked, time_ns)))
        elif now is not None and (time_ns >= now.until_ns or self._monotonic_ns() >= self._ends_ns):
            found.append(self._end(now, time_ns, "its time is up", None))
            self._drop(self._data_dir, now)
            return found
        if asked is not None and asked != now:
            if time_ns < asked.until_ns:
                found.append(self._begin(asked, time_ns))
            else:
                self._drop(self._data_dir, asked)
        return found

    def status(self) -> dict[str, Any] | None:
        """None: it looks."""
        now = self._now
        if now is None:
            return None
        return {
            "reason": now.reason,
            "by_uid": now.by_uid,
            "since_ns": now.asked_ns,
            "until_ns": now.until_ns,
            "tokens": self.tokens,
        }

    def _asked(self, data_dir: Path, time_ns: int, now: Pause | None) -> Pause | None:
        try:
            found = pause_file.read(data_dir)
            if found is not None and found != now and found.asked_ns > time_ns + AHEAD_NS:
                raise PauseError("it is of a time to come: one of our clocks was set")
        except PauseError as error:
            self._told(f"{data_dir / pause_file.NAME}: {error}; it is put aside as `.wrong`")
            try:
                pause_file.set_aside(data_dir)
            except OSError as trouble:
                self._told(f"{data_dir / pause_file.NAME}: {error}, and stays there: {trouble}")
            return None
        except OSError as error:
            self._told(f"{data_dir / pause_file.NAME}: cannot be read: {error}")
            return None
        self._trouble = None
        return found

    def _told(self, trouble: str) -> None:
        if trouble != self._trouble:
            log.error("%s", trouble)
        self._trouble = trouble

    def _drop(self, data_dir: Path, pause: Pause) -> None:
        """Left where it is, it says nothing any more: its time is up."""
        try:
            pause_file.drop(data_dir, pause)
        except OSError as error:
            self._told(f"{data_dir / pause_file.NAME}: is over, and stays there: {error}")

    def _begin(self, pause: Pause, time_ns: int) -> LedgerRecord:
        # A wall clock that is set back in the middle does not lengthen it.
        left_ns = min(pause.until_ns - time_ns, pause_file.MOST_NS)
        self._now, self._ends_ns, self.tokens = pause, self._monotonic_ns() + left_ns, 0
        said = f"paused for {left_ns // 10**9} s by uid {pause.by_uid}: {pause.reason}"
        log.warning("%s; what arrives is not looked at, and counted", said)
        # By when it was asked for: a line that is restarted in the middle says the same again.
        return self._record(pause, "began", pause.asked_ns, said, {"until_ns": pause.until_ns})

    def _end(self, pause: Pause, time_ns: int, why: str, by_uid: int | None) -> LedgerRecord:
        self._now = None
        said = f"looks again: {why}; {self.tokens} tokens were not looked at"
        log.warning("%s", said)
        more: dict[str, Any] = {"why": why, "tokens": self.tokens}
        more |= {} if by_uid is None else {"ended_by_uid": by_uid}
        return self._record(pause, "ended", time_ns, said, more)

    def _record(
        self, pause: Pause, state: str, time_ns: int, said: str, more: dict[str, Any]
    ) -> LedgerRecord:
        """Stored and never sent: it is about us, and no finding."""
        asked = [pause.id, pause.reason, pause.asked_ns, pause.until_ns, pause.by_uid]
        identity = record_id(time_ns, canonical([KIND, self._ledger, state, *asked]))
        core = {
            "v": VERSION,
            "event_id": identity,
            "kind": KIND,
            "time_ns": time_ns,
            "state": state,
            "pause": pause.id,
            "reason": pause.reason,
            "by_uid": pause.by_uid,
            "summary": said,
            **more,
        }
        return LedgerRecord(identity, canonical(core), None, deliverable=False)


def _why(asked: Pause | None, time_ns: int) -> tuple[str, int | None]:
    """Why a pause ends whose file is not there any more, and who ended it."""
    if asked is None:
        return "its file was removed", None
    if time_ns < asked.until_ns:
        return "another pause took its place", asked.by_uid
    return "resumed", asked.by_uid
