"""Writes out the log behind the store: tiles, a signed checkpoint at the latest every minute, and its anchors.

Owns the signing key, when a checkpoint is due, and how far each anchor has it. The store is ahead of the log by what
came since the last checkpoint: that much is stated, and never more than a minute of it. It knows nothing of alerts.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dosimeter.monitor.audit.store.entries import MAX_TIME_NS
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import HotStore, StoreError
from dosimeter.monitor.audit.store.opening import KEY, open_signer
from dosimeter.monitor.audit.store.sealed_file import synced
from dosimeter.monitor.tlog.anchors import Anchor
from dosimeter.monitor.tlog.note import Checkpoint, NoteError, Signer, Verifier
from dosimeter.monitor.tlog.reader import notes_in
from dosimeter.monitor.tlog.rotation import extensions, log_keys
from dosimeter.monitor.tlog.writer import LogWriter

EVERY_S, EVERY_ENTRIES = 60.0, 1000
AGAIN_NS = 30 * 10**9
"""Before the next attempt at an anchor that failed."""
PART = 4096
TIME = "time-ns "
"""An extension line of every checkpoint: when it was signed, by the clock of history."""
log = logging.getLogger(__name__)


def signed_ns(checkpoint: Checkpoint) -> int | None:
    """When history says that it signed this; None where it does not, or in no year that has a name here."""
    for line in checkpoint.extensions:
        text = line.removeprefix(TIME) if line.startswith(TIME) else ""
        if text.isdecimal() and len(text) < 20 and int(text) < MAX_TIME_NS:
            return int(text)
    return None


@dataclass(slots=True)
class Anchored:
    """How far one anchor has the log."""

    outside: bool
    size: int = 0
    at_ns: int = 0
    tried_ns: int = 0
    error: str = ""


@dataclass
class Keeper:
    """Holds the lock of the log from construction to `close`. Not for several threads.

    Raises AlreadyWriting, LogError, NoteError, StoreError: where the store was rolled back behind its log.
    """

    folder: HistoryFolder
    hot: HotStore
    anchors: Sequence[Anchor] = ()
    now_ns: Callable[[], int] = time.time_ns
    anchored: dict[str, Anchored] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._signer = open_signer(self.folder, self.hot.store_id)
        self.writer = LogWriter(self.folder.log, self._signer)
        if self.writer.size > self.hot.size:
            self.writer.close()
            raise StoreError(
                f"{self.hot.path}: has {self.hot.size} entries, its log has {self.writer.size} signed\n"
                "  hint: an older store was put back; restore the newest one, or run `audit verify`"
            )
        try:
            self._continues()
            self._publish(self._signer.verifier.vkey + "\n")
        except BaseException:
            self.writer.close()
            raise
        self.signed = self.writer.size
        self.signed_ns = self.now_ns()
        self.error, self.error_ns = "", 0
        self.anchored = {one.name: Anchored(one.outside) for one in self.anchors}
        self._busy: dict[str, threading.Thread] = {}
        self._note: str | None = None

    def _continues(self) -> None:
        """The last entry of the log is that of the store, which may have been put back and then written on."""
        last = self.writer.size - 1
        for index, leaf in self.hot.leaves(max(0, last), last + 1):
            self.writer.append(index, [leaf])

    def _publish(self, vkey: str) -> None:
        """Also over what was cut off while it was written, and over the key before it."""
        path = self.folder.log / KEY
        there = path.read_bytes() if path.exists() else b""
        if there != vkey.encode() and (vkey.encode().startswith(there) or self._was(there)):
            path.write_text(vkey)

    def _was(self, vkey: bytes) -> bool:
        """Whether this log's key has taken the place of that one."""
        try:
            before = Verifier.parse(vkey.decode())
        except (NoteError, UnicodeDecodeError):
            return False
        return log_keys(notes_in(self.folder.log), before).current == self._signer.verifier

    @property
    def verifier(self) -> Verifier:
        return self._signer.verifier

    def rotate(self, new: Signer) -> None:
        """Sign all there is by both keys; from the next start on it is the new one. Sign nothing after it.

        Raises what `turn` does, and OSError; until the checkpoint is there nothing has happened.
        """
        self.turn(now=True)
        self.folder.next_key.unlink(missing_ok=True)
        new.save(self.folder.next_key)
        at_ns = self.now_ns()
        both = extensions(self._signer.verifier, new.verifier)
        self._note = self.writer.checkpoint((f"{TIME}{at_ns}", *both), also=new)
        self.signed, self.signed_ns = self.writer.size, at_ns
        self.folder.next_key.replace(self.folder.signing_key)
        synced(self.folder.root)
        (self.folder.log / KEY).write_text(new.verifier.vkey + "\n")

    def turn(self, *, now: bool = False) -> bool:
        """Write out what is new, and sign it when that is due, or `now`. Whether it signed.

        Raises LogError, StoreError, and OSError: to be called again, when the disk may take it.
        """
        try:
            if self.error:
                self.writer.restart()
            signs = self._write(now)
        except OSError as error:
            self.error_ns = self.error_ns if self.error else self.now_ns()
            self.error = str(error)
            raise
        self.error, self.error_ns = "", 0
        self._anchor()
        return signs

    def _write(self, now: bool) -> bool:
        size = self.hot.size
        while self.writer.size < size:
            first = self.writer.size
            part = self.hot.leaves(first, min(first + PART, size))
            if not part or part[0][0] != first or part[-1][0] != first + len(part) - 1:
                raise StoreError(f"{self.hot.path}: entry {first} is missing and not in the log")
            self.writer.append(first, [leaf for _, leaf in part])
        behind = self.writer.size - self.signed
        # A clock that was set back keeps nothing unsigned until it has caught up.
        late = not 0 <= self.now_ns() - self.signed_ns < EVERY_S * 1e9
        if not behind and self.signed:
            self.signed_ns = self.now_ns()
        signs = behind >= EVERY_ENTRIES or (behind > 0 and (late or now))
        if signs:
            at_ns = self.now_ns()
            self._note = self.writer.checkpoint((f"{TIME}{at_ns}",))
            self.signed, self.signed_ns = self.writer.size, at_ns
        return signs

    def _anchor(self) -> None:
        """Give each anchor the newest checkpoint; in a thread each, and never two at a time."""
        if self._note is None:
            return
        for anchor in self.anchors:
            state, busy = self.anchored[anchor.name], self._busy.get(anchor.name)
            if state.size >= self.signed or (busy is not None and busy.is_alive()):
                continue
            if state.error and 0 <= self.now_ns() - state.tried_ns < AGAIN_NS:
                continue
            state.tried_ns = self.now_ns()
            thread = threading.Thread(
                target=self._put, args=(anchor, self._note, self.signed, state), daemon=True
            )
            self._busy[anchor.name] = thread
            thread.start()

    def _put(self, anchor: Anchor, note: str, size: int, state: Anchored) -> None:
        try:
            anchor.put(note)
        except Exception as error:  # someone else's service: the log goes on
            if not state.error:
                log.warning("anchor `%s`: %s", anchor.name, error)
            state.error = str(error) or repr(error)
            return
        state.size, state.at_ns, state.error = size, self.now_ns(), ""

    def status(self) -> dict[str, Any]:
        return {
            "entries": self.hot.size,
            "signed": self.signed,
            "signed_ns": self.signed_ns,
            "error": self.error,
            "error_ns": self.error_ns,
            "anchors": {
                name: {
                    "outside": one.outside,
                    "entries": one.size,
                    "at_ns": one.at_ns,
                    "error": one.error,
                }
                for name, one in self.anchored.items()
            },
        }

    def close(self, patience_s: float = 5.0) -> None:
        """Sign what is there and wait for the anchors a while."""
        try:
            self.turn(now=True)
        finally:
            self.wait(patience_s)
            self.writer.close()

    def wait(self, patience_s: float = 5.0) -> None:
        """For anchors that are being given a checkpoint."""
        deadline = time.monotonic() + patience_s
        for name, thread in self._busy.items():
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                log.warning("anchor `%s`: has not answered, and is waited for no longer", name)
