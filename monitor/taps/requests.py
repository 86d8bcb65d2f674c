"""Who a row belongs to: keys we mint, what the tap did with each request, and when a request is over.

A request has two halves. The tap's half knows which rows the server ran; the front's half knows who asked
and what the server counted in its reply. The key joins them and is ours: a client's request id is a label,
because clients repeat ids. `Requests` holds only what is alive, and says OPEN and CLOSE once each.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from dosimeter.detectors.frames import Scope
from dosimeter.monitor.taps.score_cache import Chain, Ids

Span = tuple[int, int, int]  # scope, start, end: half open prompt positions
Control = Callable[[str, dict[str, Any]], None]
"""Says one control record: kind name (`OPEN`, `CLOSE`), body. Must not block."""


@dataclass(slots=True)
class Ticket:
    """The front's half: one HTTP call. Made before the server sees the call, finished after its reply."""

    labels: Mapping[str, str]
    trusted: frozenset[str]
    content: bool = False  # this tenant chose that text may leave the server
    messages: Sequence[Mapping[str, Any]] = ()  # as the template gets them
    options: Mapping[str, Any] = field(default_factory=dict)  # what else it gets
    spans: Callable[[Sequence[int]], tuple[list[Span], bool]] | None = None
    decode: Callable[[int], str] | None = None
    requests: list[Request] = field(default_factory=list)
    reason: str | None = None  # why the model of this call is not scored; None: it is
    call: str | None = None  # joins both halves where they are in two processes: random, ours
    prompts: int = 0  # of this call, sent to an engine in another process
    answers: int = 0  # asked for there, of all prompts: each will be a request
    ended: bool = False
    usage: tuple[int, int] | None = None  # prompt, completion tokens of the server's reply


@dataclass(slots=True, eq=False)
class Request:
    """The tap's half: one sequence the server runs."""

    key: int
    prompt_len: int
    ticket: Ticket | None
    spans: list[Span]
    spans_exact: bool
    opened_ns: int
    prompt_ids: list[int] | None  # kept only where content is chosen
    parent: int | None = None
    next_position: int = 0  # rows below it were seen
    emitted: int = 0  # distinct positions the tap produced scores for
    cached: int = 0  # positions the server never ran for this request, and no score is known of
    reused: int = 0  # of `emitted`: never run, with the scores the same tokens had before
    ids: Ids | None = None  # its tokens, where the server may take a prefix of them from its cache
    salt: bytes = (
        b""  # what its scores depend on beside tokens and model, as the server's own cache is keyed
    )
    chain: Chain | None = None  # its place in the score cache
    uncached: bool = False  # the score cache failed on it
    opened_s: float = field(default_factory=time.monotonic)
    undone: int = 0  # rows of steps that the server itself could not finish
    held: int = 0  # live objects of the server that stand for this request
    unscored: dict[str, int] = field(default_factory=dict)  # reason -> distinct positions
    ended: End | None = None

    def advance(self, start: int, n: int) -> tuple[int, bool]:
        """Note rows [start, start + n) and return how many are new and whether they are the first.

        Rows the server runs again (preemption, recompute) are not new. Positions that it passes over it took from
        its prefix cache: before the first row, or where it put a request off within its prompt, and others ran
        that prompt meanwhile.
        """
        first = self.next_position == 0 and self.emitted == 0 and not self.unscored
        seen, stop = self.next_position, start + n
        if start > seen:
            self.cached += start - seen
            seen = start
        if stop > self.next_position:
            self.next_position = stop
        return stop - seen if stop > seen else 0, first

    def miss(self, reason: str, n: int) -> None:
        if n:
            self.unscored[reason] = self.unscored.get(reason, 0) + n


@dataclass(frozen=True, slots=True)
class End:
    """How the tap's half ended. tokens: prompt and completion as the server's scheduler counts them."""

    outcome: str  # finished | cancelled | failed
    prompt_tokens: int
    completion_tokens: int
    served: int
    source: str  # output: the server's result object; scheduler: its state; tap: our own count
    generated_ids: Sequence[int] = ()


class Clock(Protocol):
    def __call__(self) -> int: ...


class Requests:
    """Every request alive in this process. Methods are called from the server's threads and never block."""

    def __init__(self, control: Control, clock: Clock) -> None:
        self._control = control
        self._clock = clock
        self._lock = threading.Lock()
        self._next_key = 1
        self._live: dict[int, Request] = {}
        self._released: deque[Request] = deque()
        self.blanket_reason: str | None = None  # why nothing is scored at all: no_pack, unsupported
        self.errors = 0  # seams where our bookkeeping failed; the last one in words
        self.last_error: str | None = None

    def failed(self, error: Exception) -> None:
        self.errors += 1
        self.last_error = repr(error)

    def _guarded(self, do: Callable[[], None]) -> None:
        try:
            do()
        except Exception as error:
            self.failed(error)

    def open(
        self, prompt_ids: Sequence[int], ticket: Ticket | None, parent: Request | None = None
    ) -> Request:
        """Mint a key and say OPEN. `prompt_ids` are the server's own, after its template."""
        self._reap()
        spans, exact = [(int(Scope.MESSAGE), 0, len(prompt_ids))], False
        if parent is not None:
            spans, exact, ticket = parent.spans, parent.spans_exact, parent.ticket
        elif ticket is not None and ticket.spans is not None:
            spans, exact = ticket.spans(prompt_ids)
        content = ticket is not None and ticket.content
        ids = list(prompt_ids) if content else None
        return self._open(len(prompt_ids), spans, exact, ticket, parent, ids)

    def _open(
        self,
        prompt_len: int,
        spans: list[Span],
        exact: bool,
        ticket: Ticket | None,
        parent: Request | None = None,
        prompt_ids: list[int] | None = None,
    ) -> Request:
        chain = None if parent is None else parent.chain
        with self._lock:
            key = self._next_key
            self._next_key += 1
            request = Request(
                key=key,
                prompt_len=prompt_len,
                ticket=ticket,
                spans=spans,
                spans_exact=exact,
                opened_ns=self._clock(),
                prompt_ids=prompt_ids,
                parent=None if parent is None else parent.key,
                chain=None if chain is None else chain.fork(),
            )
            self._live[key] = request
            if ticket is not None:
                ticket.requests.append(request)
        self._control("OPEN", open_record(request))
        return request

    def live(self) -> Iterable[dict[str, Any]]:
        """OPEN records of everything alive, for a sidecar that has just connected."""
        self._reap()
        with self._lock:
            requests = list(self._live.values())
        return [open_record(request) | {"again": True} for request in requests]

    def tap_ended(self, request: Request, end: End) -> None:
        """The server will run no more rows of this request."""
        with self._lock:
            if request.ended is not None:
                return
            request.ended = end
        request.ids = request.chain = None  # so that nothing of the server's lives on in it
        ticket = request.ticket
        if ticket is None or ticket.ended:
            self._close(request)

    def released(self, request: Request) -> None:
        """An object of the server that stood for this request is gone. May be called by the collector,
        at any point of any thread: nothing is locked or sent here."""
        request.held -= 1
        if not request.held and request.ended is None:
            self._released.append(request)

    def _reap(self) -> None:
        """End what the server dropped without a word: a repeated id, a queue that was full."""
        while self._released:
            with contextlib.suppress(IndexError):  # another thread was faster
                request = self._released.popleft()
                served = request.next_position
                self.tap_ended(request, End("failed", request.prompt_len, 0, served, "tap"))

    def front_ended(self, ticket: Ticket, usage: tuple[int, int] | None) -> None:
        """The reply has left, with the token counts it carried; None when it was cut off or carried none."""
        self._reap()
        with self._lock:
            if ticket.ended:
                return
            ticket.ended, ticket.usage = True, usage
            over = [request for request in ticket.requests if request.ended is not None]
        if usage is not None and not ticket.requests:
            self._unseen(ticket, usage)
        for request in over:
            self._guarded(functools.partial(self._close, request))

    def _unseen(self, ticket: Ticket, usage: tuple[int, int]) -> None:
        """The server counted tokens for a call whose rows the tap never met: nothing explains them."""
        request = self._open(usage[0], [(int(Scope.MESSAGE), 0, usage[0])], False, ticket)
        request.ended = End("finished", *usage, served=sum(usage) - 1, source="usage")
        self._close(request)

    def _close(self, request: Request) -> None:
        with self._lock:
            if self._live.pop(request.key, None) is None:
                return
        reason = request.ticket.reason if request.ticket is not None else None
        record = close_record(request, self._clock(), reason or self.blanket_reason)
        self._guarded(lambda: record.update(_content(request)))  # without its text, if need be
        self._control("CLOSE", record)


def open_record(request: Request) -> dict[str, Any]:
    ticket = request.ticket
    record: dict[str, Any] = {
        "key": request.key,
        "prompt_len": request.prompt_len,
        "labels": dict(ticket.labels) if ticket else {},
        "trusted": sorted(ticket.trusted) if ticket else [],
        "spans": [list(span) for span in request.spans],
        "spans_exact": request.spans_exact,
        "opened_ns": request.opened_ns,
        "again": False,
    }
    if request.parent is not None:
        record["parent"] = request.parent
    if ticket is not None and ticket.call is not None:
        record["call"] = ticket.call
    return record


def close_record(request: Request, now_ns: int, blanket_reason: str | None) -> dict[str, Any]:
    """The end of a request: the server's own count beside what the tap says it did."""
    end, ticket = request.ended, request.ticket
    assert end is not None  # callers close only what has ended
    prompt, completion, served, source = (
        end.prompt_tokens,
        end.completion_tokens,
        end.served,
        end.source,
    )
    if ticket is not None and ticket.usage is not None and len(ticket.requests) == 1:
        prompt, completion = ticket.usage
        served, source = max(0, prompt + completion - 1), "usage"
    unscored = dict(request.unscored)
    if blanket_reason is not None:
        rest = served - request.emitted - request.cached - sum(unscored.values())
        if rest > 0:
            unscored[blanket_reason] = unscored.get(blanket_reason, 0) + rest
    record: dict[str, Any] = {
        "key": request.key,
        "outcome": end.outcome,
        "served": served,
        "served_source": source,
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "emitted": request.emitted,
        "cached": request.cached,
        "reused": request.reused,
        "errors": unscored,
        "closed_ns": now_ns,
    }
    if ticket is not None and ticket.call is not None:
        record["call"] = ticket.call
    return record


def _content(request: Request) -> dict[str, Any]:
    """What was said, where its tenant chose that it leaves. Raises what the server's tokenizer raises."""
    end, ticket = request.ended, request.ticket
    if request.prompt_ids is None or end is None or ticket is None or ticket.decode is None:
        return {}
    ids = [*request.prompt_ids, *end.generated_ids][:MAX_CONTENT_TOKENS]
    return {"tokens": [ticket.decode(token) for token in ids]}


MAX_CONTENT_TOKENS = 2048
"""Text of a CLOSE must fit one message of the wire; longer requests keep their first tokens."""
