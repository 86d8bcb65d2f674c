"""What the line scored and decided, handed to the spool of the archive: scores and positions, no text.

It knows what may be stored of a request: its key, its bank and program, the tenant and route that a gateway vouches
for, and a random number in the place of its conversation. Without a spool it keeps nothing, so that the line need not
ask; it counts what it did not keep where it should.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dosimeter.detectors.frames import ScoreFrame
from dosimeter.monitor.alerts import Decided
from dosimeter.monitor.history.chunk import Bank, Ended, Fired, Opened, ProgramText, Rows
from dosimeter.monitor.history.spool import Spool
from dosimeter.monitor.records import Hello, Open
from dosimeter.rules.engine import Hit
from dosimeter.rules.program import Program

MAX_KNOWN = 64
NOTHING = dict.fromkeys(
    (
        "requests",
        "requests_dropped",
        "rows",
        "rows_dropped",
        "rows_expired",
        "hits_dropped",
        "queue_bytes",
        "chunks_waiting",
        "chunk_bytes",
    ),
    0,
)
"""What a spool that cannot be opened would say."""


@dataclass(slots=True)
class Recorder:
    """One for the line. Every call takes microseconds and never raises for want of room.

    A spool may come later: of requests that are open then, what was scored is not kept.
    stalled: why there is none, though scores are to be kept.
    """

    spool: Spool | None = None
    stalled: str | None = None
    time_ns: Callable[[], int] = time.time_ns
    _banks: dict[int, tuple[Hello, Bank]] = field(default_factory=dict)  # by epoch
    _programs: dict[str, ProgramText] = field(default_factory=dict)
    _secret: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    _missed: Counter[str] = field(default_factory=Counter)  # without a spool, by name in the status

    def open(
        self, epoch: int, opened: Open, hello: Hello, program: Program, *, whole: bool
    ) -> None:
        """A request begins; or, not `whole`, goes on with other columns or after we were away."""
        if self.spool is None:
            self._missed["requests_dropped"] += 1
            return
        bank, text = self._bank(epoch, hello), self._text(program)
        record = Opened(
            epoch=epoch,
            key=opened.key,
            bank=bank.digest,
            program=text.digest,
            time_ns=self.time_ns(),
            tenant=_trusted(opened, "tenant"),
            route=_trusted(opened, "route"),
            whole=whole,
            conversation=self._number(_trusted(opened, "conversation")),
        )
        self.spool.open(bank, text, record)

    def rows(self, epoch: int, frame: ScoreFrame) -> None:
        if self.spool is None:
            self._missed["rows_dropped"] += len(frame.codes)
        else:
            self.spool.rows(Rows(epoch, frame.time_ns, frame.segments, frame.codes))

    def fired(self, epoch: int, hit: Hit, decided: Decided) -> None:
        if self.spool is None:
            self._missed["hits_dropped"] += 1
        else:
            event_id = "" if decided.record is None else decided.record.event_id
            self.spool.fired(
                Fired(epoch, hit.key, hit.rule, decided.decision, event_id, hit.position)
            )

    def end(self, epoch: int, key: int, *, finished: bool, served: int | None = None) -> None:
        if self.spool is not None:
            self.spool.end(Ended(epoch, key, finished, self.time_ns(), served))

    def status(self) -> dict[str, Any] | None:
        """None where scores are not kept."""
        if self.spool is None and self.stalled is None:
            return None
        found: dict[str, Any] = {**NOTHING, "stalled": self.stalled}
        if self.spool is not None:
            found = self.spool.status()
        return found | {name: found[name] + count for name, count in dict(self._missed).items()}

    def _bank(self, epoch: int, hello: Hello) -> Bank:
        """Made once a greeting, not once a request: it may have thousands of columns."""
        known = self._banks.get(epoch)
        if known is None or known[0] is not hello:
            if len(self._banks) >= MAX_KNOWN:
                self._banks.clear()
            columns = tuple((column.feature, column.pack) for column in hello.columns)
            model, digest = hello.model.get("name", ""), hello.model.get("digest", "")
            known = self._banks[epoch] = hello, Bank(columns, model, digest)
        return known[1]

    def _number(self, conversation: str) -> int:
        """Whose secret is in this memory alone: once we end, nobody finds a conversation by its number."""
        if not conversation:
            return 0
        name = conversation.encode("utf-8", "replace")
        found = hashlib.blake2b(name, key=self._secret, digest_size=8).digest()
        return int.from_bytes(found, "little")

    def _text(self, program: Program) -> ProgramText:
        if program.digest not in self._programs:
            if len(self._programs) >= MAX_KNOWN:
                self._programs.clear()
            self._programs[program.digest] = ProgramText(program.canonical)
        return self._programs[program.digest]


def _trusted(opened: Open, name: str) -> str:
    return opened.labels.get(name, "") if name in opened.trusted else ""
