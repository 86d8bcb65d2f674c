"""The sidecar's own line, listening on a socket of the kit's, with every word written down before it is used.

The rows are kept as they came over the wire, so that they can be compared; the account is the one that
`monitor.join` and `monitor.coverage` keep for operators, so that what is proven is what is run.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dosimeter.detectors.frames import Codes, StepFrame
from dosimeter.monitor.coverage import Account
from dosimeter.monitor.history.refused import Refused
from dosimeter.monitor.pipeline import Pipeline
from dosimeter.monitor.receive import Connection, Receiver
from dosimeter.monitor.rulebook import Rulebook
from dosimeter.monitor.taps.wire import Kind, Message
from dosimeter.monitor.writer import Writer

TURN_S = 0.05
PATIENCE = 20
"""Refusals until the tap is live: a front that greets before its tap is sent away, and comes again."""


@dataclass(slots=True, eq=False)
class Sequence:
    """One request as the tap told of it. parts: (first position, codes [T, F], flags) as they came."""

    key: int
    opened: dict[str, Any] | None = None
    closed: dict[str, Any] | None = None
    parts: list[tuple[int, Codes, int]] = field(default_factory=list)

    @property
    def label(self) -> str | None:
        """What the kit named its call, in the header of a conversation: clients repeat request ids."""
        found = (self.opened or {}).get("labels", {}).get("conversation")
        return found if isinstance(found, str) else None


class _Noting(Receiver):
    """A receiver that writes down what it hands on."""

    noted: list[tuple[Connection, Message]]

    def poll(self, timeout_s: float) -> Iterator[tuple[Connection, Message]]:
        for connection, message in super().poll(timeout_s):
            self.noted.append((connection, message))
            yield connection, message


class _Nowhere:
    """A ledger that keeps nothing: without rules there is nothing to keep."""

    def append(self, *_: object, **__: object) -> None: ...


class Ear:
    """Listens from entering to leaving. Methods may be called from any thread."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "tap.sock"
        self._receiver = _Noting(self.path)
        self._receiver.noted = []
        writer = Writer(_Nowhere(), Refused.beside(folder / "none.db"))
        self._pipeline = Pipeline(self._receiver, Rulebook(), writer)
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="ear", daemon=True)
        self._sequences: dict[tuple[int, int], Sequence] = {}
        self._counted: set[str] = set()  # calls whose front has said what its reply counted
        self._before = Account()
        self.hello: dict[str, Any] | None = None
        self.failure: Exception | None = None

    def __enter__(self) -> Ear:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._receiver.close()

    def over(self, one: Sequence) -> bool:
        """Both halves of it have ended: the server's, and, where it speaks for itself, its front's."""
        call = (one.opened or {}).get("call")
        return one.closed is not None and (not call or call in self._counted)

    def wait(self, ready: Callable[[list[Sequence]], bool], timeout_s: float) -> bool:
        """Until `ready` of what came since the last `take`; False if time was up, or listening failed."""
        with self._changed:
            self._changed.wait_for(
                lambda: self.failure is not None or ready(list(self._sequences.values())),
                timeout_s,
            )
            return ready(list(self._sequences.values()))

    def wait_live(self, timeout_s: float, alive: Callable[[], bool] = lambda: True) -> str | None:
        """Until the tap says that it scores; otherwise why it does not."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while (self.hello or {}).get("state") != "live":
                if self.failure is not None or self.refusals > PATIENCE:
                    return f"the listener refuses it: {self.refused}"
                if time.monotonic() > deadline or not alive():
                    said = self.hello or {"state": "nothing", "reason": "no tap has connected"}
                    return f"{said['state']}: {said.get('reason')}"
                self._changed.wait(0.2)
        return None

    def take(self) -> tuple[list[Sequence], Account]:
        """All sequences since the last call, in the order they were opened; and what the line counted of them."""
        with self._changed:
            found = sorted(self._sequences.values(), key=lambda one: one.key)
            self._sequences = {}
            now = Account()
            for server in self._pipeline.servers.values():
                now.add(server.join.account)
            since, self._before = _difference(now, self._before), now
        return found, since

    @property
    def refusals(self) -> int:
        """Connections that were closed for what was said on them."""
        return self._receiver.hostile + self._receiver.failed

    @property
    def refused(self) -> str | None:
        """What the line could not take of what was said, last."""
        return self._receiver.last_refusal if self.failure is None else repr(self.failure)

    def _listen(self) -> None:
        try:
            while not self._stop.is_set():
                self._pipeline.turn(TURN_S)
                if self._receiver.noted:
                    noted, self._receiver.noted = self._receiver.noted, []
                    with self._changed:
                        for _, message in noted:
                            self._note(message)
                        self._changed.notify_all()
        except Exception as error:
            with self._changed:
                self.failure = error
                self._changed.notify_all()

    def _note(self, message: Message) -> None:
        body = message.body
        if isinstance(body, StepFrame):
            at = 0
            for key, start, n, _, flags in body.rows.tolist():
                part = (start, body.codes[at : at + n], flags)
                self._sequence(message.epoch, key).parts.append(part)
                at += n
        elif message.kind is Kind.HELLO and body.get("role") != "front":
            self.hello = body
        elif message.kind is Kind.OPEN:
            one = self._sequence(message.epoch, body["key"])
            one.opened = one.opened or body
        elif message.kind is Kind.CLOSE:
            self._sequence(message.epoch, body["key"]).closed = body
        elif message.kind is Kind.USAGE:
            self._counted.add(body["call"])

    def _sequence(self, epoch: int, key: int) -> Sequence:
        return self._sequences.setdefault((epoch, key), Sequence(key))


def _difference(now: Account, before: Account) -> Account:
    unscored = {
        reason: tokens - before.unscored.get(reason, 0) for reason, tokens in now.unscored.items()
    }
    return replace(
        now,
        served=now.served - before.served,
        scored=now.scored - before.scored,
        after_end=now.after_end - before.after_end,
        requests=now.requests - before.requests,
        unscored={reason: tokens for reason, tokens in unscored.items() if tokens},
    )
