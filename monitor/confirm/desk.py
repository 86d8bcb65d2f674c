"""Where alerts wait for a second look: who is being asked, for how long, and what is stored of it.

Owns the order of questions, their deadlines and the verdicts' way into the dispatcher's file. Each question has a
thread of its own, at most 8 for one confirmer, because what an operator plugs in may hang: then it is left behind
and its place counts as taken. The desk never sends an alert, and never loses one: without an answer the verdict is
`unanswered`, and the alert goes out.
"""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from dosimeter.monitor.confirm.answer import MAX_REASON, Answer, NoAnswer
from dosimeter.monitor.confirm.breaker import Breaker
from dosimeter.monitor.confirm.confirmer import Confirmer
from dosimeter.monitor.history.cursors import CursorStore
from dosimeter.monitor.history.records import StoredAlert
from dosimeter.monitor.history.verdicts import Verdict, Word, confirmer_of
from dosimeter.rules.summary import printable

log = logging.getLogger(__name__)

MOST_AT_ONCE = 8
TRIES = 2
GRACE_S = 0.25
"""Beyond the time for a question, so that whoever keeps to it says so itself, and its place is free."""
AGAIN_S = 1.0
"""Before the next attempt to write our own file."""


@dataclass(eq=False)
class _Question:
    """One alert that is being asked about."""

    alert: StoredAlert
    began: float  # monotonic seconds
    deadline: float = 0.0  # of the try that runs
    tries: int = 0


@dataclass(frozen=True, slots=True)
class _Back:
    """A thread has come back. tries: which of the question's it was."""

    question: _Question
    tries: int
    said: Answer | str  # str: why there is no answer


@dataclass
class _Window:
    """One confirmer and those who wait for it."""

    confirmer: Confirmer
    breaker: Breaker = field(default_factory=Breaker)
    waiting: deque[StoredAlert] = field(default_factory=deque)
    running: dict[int, _Question] = field(default_factory=dict)  # by seq
    left: int = 0  # threads that were given up and have not come back

    @property
    def full(self) -> bool:
        return len(self.running) + self.left >= MOST_AT_ONCE


class Desk:
    """`ask` from any thread; `run` in a thread of its own, until `close`."""

    def __init__(
        self,
        confirmers: Iterable[Confirmer],
        *,
        monotonic: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._windows = {one.name: _Window(one) for one in confirmers}
        self._monotonic, self._now_ns = monotonic, now_ns
        self._lock = threading.Lock()
        # By seq, as it was last read: asked for, and without a stored verdict. Under the lock.
        self._held: dict[int, StoredAlert] = {}
        self._inbox: queue.SimpleQueue[StoredAlert | tuple[_Window, _Back] | None] = (
            queue.SimpleQueue()
        )
        self._arrived: deque[StoredAlert] = deque()  # and not looked at
        self._unstored: list[Verdict] = []
        self._closed = False

    def ask(self, alert: StoredAlert) -> None:
        """See that it gets a verdict, which is read from the store. Whoever asks again says how the alert reads by now:
        what was personal in it may be gone, and is not told to a confirmer then."""
        with self._lock:
            known = alert.seq in self._held
            self._held[alert.seq] = alert
        if not known:
            self._inbox.put(alert)

    def close(self) -> None:
        """Let `run` end. What has no verdict by then is asked about again after the next start."""
        self._inbox.put(None)

    def run(self, store_of: Callable[[], CursorStore]) -> None:
        failed = False
        while not self._closed:
            try:
                if failed:
                    failed = False
                    self._receive(AGAIN_S)
                with store_of() as store:
                    store.verdicts.register(self._windows)
                    while not self._closed:
                        self._turn(store)
            except Exception as error:  # without this thread no alert that is asked about goes out
                failed = True
                if isinstance(error, sqlite3.Error | OSError | RuntimeError):
                    # Lanes cannot store anything either, so nothing goes out in the meantime.
                    log.warning("verdicts are not stored: %s", error)
                else:
                    log.exception("confirmation failed, and begins anew")

    def _turn(self, store: CursorStore) -> None:
        """Take in what has come, decide what is due, store it."""
        if not self._arrived and not self._unstored:
            self._receive(self._pause_s())
        while self._arrived:
            self._admit(self._arrived[0], store)
            self._arrived.popleft()
        now = self._monotonic()
        for window in self._windows.values():
            for question in [q for q in window.running.values() if q.deadline <= now]:
                window.left += 1
                reason = f"no answer within {window.confirmer.timeout_s:g} s"
                self._missed(window, question, reason, now)
            self._serve(window, now)
        if self._unstored:
            store.verdicts.add(self._unstored)
            with self._lock:
                for verdict in self._unstored:
                    self._held.pop(verdict.seq, None)
            self._unstored = []

    def _pause_s(self) -> float | None:
        running = [q.deadline for c in self._windows.values() for q in c.running.values()]
        return max(0.0, min(running) - self._monotonic()) if running else None

    def _receive(self, wait_s: float | None) -> None:
        """Everything in the inbox, waiting for the first; answers are taken in on the way."""
        try:
            item = self._inbox.get(timeout=wait_s)
            while True:
                if item is None:
                    self._closed = True
                elif isinstance(item, StoredAlert):
                    self._arrived.append(item)
                else:
                    self._take(*item)
                item = self._inbox.get_nowait()
        except queue.Empty:
            return

    def _admit(self, alert: StoredAlert, store: CursorStore) -> None:
        """A lane may have looked just before the verdict was stored: then there is nothing to ask."""
        if store.verdicts.of(alert.seq) is not None:
            with self._lock:
                self._held.pop(alert.seq, None)
            return
        name = confirmer_of(alert) or ""
        window = self._windows.get(name)
        if window is not None:
            window.waiting.append(alert)
        else:
            reason = f"no `{name}` under `confirmers:` in the sidecar's file"
            self._decide(alert.seq, name, "unanswered", reason)

    def _take(self, window: _Window, back: _Back) -> None:
        now, question = self._monotonic(), back.question
        seq = question.alert.seq
        if window.running.get(seq) is not question or question.tries != back.tries:
            window.left -= 1  # given up long ago
        elif isinstance(back.said, Answer):
            del window.running[seq]
            window.breaker.note(True, now)
            word: Word = "yes" if back.said.confirm else "no"
            self._close(window, question, word, back.said.reason, back.said.cost, now)
        else:
            self._missed(window, question, back.said, now)

    def _missed(self, window: _Window, question: _Question, reason: str, now: float) -> None:
        """A try without an answer: once more, if there is a place, or that is the verdict."""
        del window.running[question.alert.seq]
        if question.tries < TRIES and not window.full:
            self._put(window, question, now)
            return
        window.breaker.note(False, now)
        self._close(window, question, "unanswered", reason, 0.0, now)

    def _serve(self, window: _Window, now: float) -> None:
        """Put the next questions, or say at once that there will be no answer."""
        while window.waiting and not window.full:
            alert = window.waiting.popleft()
            if window.breaker.asks(now):
                self._put(window, _Question(alert, now), now)
            else:
                reason = f"not asked: {window.breaker.unanswered} in a row were not answered"
                self._decide(alert.seq, window.confirmer.name, "unanswered", reason)
        while window.waiting and not window.running:  # every place is taken by one that hangs
            reason = f"not asked: {window.left} questions hang"
            seq = window.waiting.popleft().seq
            self._decide(seq, window.confirmer.name, "unanswered", reason)

    def _put(self, window: _Window, question: _Question, now: float) -> None:
        question.tries += 1
        question.deadline = now + window.confirmer.timeout_s + GRACE_S
        window.running[question.alert.seq] = question
        thread = threading.Thread(
            target=self._work,
            args=(window, question, question.tries),
            name=f"confirm-{window.confirmer.name}",
            daemon=True,  # one that hangs must not keep the process
        )
        try:
            thread.start()
        except RuntimeError as error:  # the machine gives us no more of them
            self._inbox.put((window, _Back(question, question.tries, str(error))))

    def _work(self, window: _Window, question: _Question, tries: int) -> None:
        said: Answer | str
        with self._lock:
            alert = self._held.get(question.alert.seq, question.alert)
        try:
            said = window.confirmer.ask(alert.core)
        except NoAnswer as error:
            said = str(error)
        except BaseException as error:  # also SystemExit: it is somebody else's code
            said = f"it failed: {error!r}"
        self._inbox.put((window, _Back(question, tries, said)))

    def _close(
        self,
        window: _Window,
        question: _Question,
        word: Word,
        reason: str,
        cost: float,
        now: float,
    ) -> None:
        ms = round((now - question.began) * 1000)
        seq, name = question.alert.seq, window.confirmer.name
        self._decide(seq, name, word, reason, cost=cost, ms=ms, asked=question.tries)

    def _decide(
        self,
        seq: int,
        confirmer: str,
        word: Word,
        reason: str,
        *,
        cost: float = 0.0,
        ms: int = 0,
        asked: int = 0,
    ) -> None:
        reason = printable(reason, MAX_REASON)
        verdict = Verdict(seq, confirmer, word, reason, cost, ms, asked, self._now_ns())
        self._unstored.append(verdict)
