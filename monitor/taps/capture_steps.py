"""A capture as the server's own thread meets it: which rows of a step are copied, and where they wait to be sent.

Requests are sampled by a hash of their key, once each, when their first rows run. Nothing here waits, and nothing is
raised: what does not fit is dropped and counted, and an error ends the capture, never the step. Who asked and where
the rows go is `capturing`'s.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.compiler import is_dynamo_compiling

from dosimeter.monitor.taps.capture_wire import MILLION, Order
from dosimeter.monitor.taps.probe_op import Array, CaptureOp, Hook, Residual, first
from dosimeter.monitor.taps.requests import Request
from dosimeter.monitor.taps.rows import Rows

QUEUE_BYTES = 256 << 20
"""Of activations that wait in the server's memory to be sent; what comes above it is dropped: the reader is slow."""
KNOWN = 1 << 16
"""Requests whose lot is remembered; the oldest give way, and are not drawn again: they are no new ones by then."""


@dataclass(slots=True, eq=False)
class Taken:
    """One sampled request. first: position of its first row; next: where the next is due."""

    request: Request
    first: int
    next: int
    lost: str | None = None  # why a row is missing: from then on nothing of it is taken

    @property
    def rows(self) -> int:
        return self.next - self.first


@dataclass(slots=True)
class _Part:
    """Rows of one request in a step, beside each other in what is copied."""

    of: Taken
    start: int
    n: int


class Job:
    """One capture in a model. Its methods run on the server's thread; `queue` and the counts are read by another."""

    def __init__(
        self,
        order: Order,
        width: int,
        op: CaptureOp,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """width: of the model; op: on its blocks that the order names."""
        self.order, self.op = order, op
        self._row_bytes = 4 * width * len(order.layers)
        self._monotonic = monotonic
        self.until_s = monotonic() + order.for_s
        self.over: str | None = None  # why no row is taken any more
        self.queue: deque[tuple[Taken, int, Array]] = deque()  # request, start, [n, L * D]
        self.queued = 0  # bytes put in; whoever sends counts what came out
        self.sent = 0
        self.requests = self.rows = 0
        self.lost: Counter[str] = Counter()  # requests, by why
        self.open: dict[int, Taken] = {}  # until they are sent as over
        self._lots: dict[int, Taken | None] = {}
        self._parts: list[_Part] = []

    @property
    def bytes(self) -> int:
        """Of activations taken."""
        return self.rows * self._row_bytes

    def end(self, why: str) -> None:
        """The first reason stands."""
        self.over = self.over or why

    def begin(self, rows: Rows, select: npt.NDArray[np.int64] | None) -> bool:
        """Before a step; whether it is read."""
        if self.over is None and self._monotonic() >= self.until_s:
            self.end("its time is up")
        if self.over is not None:
            return False
        self._parts, wanted, at, so_far = [], [], 0, 0
        for request, start, n in rows:
            taken = self._taken(request, start)
            if taken is not None and taken.lost is None:
                fresh = self._fresh(taken, start, n, so_far)
                if fresh:
                    low, high = at + n - fresh, at + n
                    wanted.append(np.arange(low, high) if select is None else select[low:high])
                    self._parts.append(_Part(taken, start + n - fresh, fresh))
                    so_far += fresh
            at += n
        if not self._parts:
            return False
        self.op.begin(np.concatenate(wanted))
        return True

    def read(self) -> None:
        """After the step. Raises HookError: its blocks did not run, as in a compiled graph."""
        total, at = sum(part.n for part in self._parts), 0
        values = self.op.read(total)
        parts, self._parts = self._parts, []
        for part in parts:
            size = part.n * self._row_bytes
            if self.bytes + size > self.order.max_bytes:
                self.end("as many bytes as were asked for")
                break
            # A copy of its own: what waits of one request must not hold all of the step's rows.
            mine = values if part.n == total else values[at : at + part.n].copy()
            part.of.next += part.n
            self.rows += part.n
            self.queued += size
            self.queue.append((part.of, part.start, mine))
            at += part.n

    def drop(self, why: str) -> None:
        """Of this step nothing is kept."""
        self.op.drop()
        for part in self._parts:
            self._lose(part.of, why)
        self._parts = []

    def forsake(self) -> None:
        """What waits when it is over is not sent any more."""
        for of, _, _ in list(self.queue):
            self._lose(of, "slow_reader")
        self.queue.clear()

    def _taken(self, request: Request, start: int) -> Taken | None:
        if request.key in self._lots:
            return self._lots[request.key]
        begun = request.next_position or request.emitted or request.unscored
        taken = None
        if not begun and self.requests < self.order.max_requests and drawn(self.order, request.key):
            taken = self.open[request.key] = Taken(request, start, start)
            self.requests += 1
        if len(self._lots) >= KNOWN:
            del self._lots[next(iter(self._lots))]
        self._lots[request.key] = taken
        return taken

    def _fresh(self, taken: Taken, start: int, n: int, in_step: int) -> int:
        """How many of these rows, the last ones, are wanted: those before were run already."""
        if start > taken.next:
            self._lose(taken, "not_read")  # a step of it ran that nobody read
            return 0
        fresh = max(0, start + n - taken.next)
        size = (in_step + fresh) * self._row_bytes
        if size > QUEUE_BYTES:
            self._lose(taken, "too_large")
            return 0
        if self.queued - self.sent + size > QUEUE_BYTES:
            self._lose(taken, "slow_reader")
            return 0
        return fresh

    def _lose(self, taken: Taken, why: str) -> None:
        if taken.lost is None:
            taken.lost = why
            self.lost[why] += 1


def drawn(order: Order, key: int) -> bool:
    """By lot, the same whenever it is asked; nobody outside can tell beforehand, for the id is random."""
    found = blake2b(key.to_bytes(8, "little"), digest_size=8, key=order.id.encode()).digest()
    return int.from_bytes(found, "little") * MILLION < order.sample_ppm << 64


class Place:
    """Where a tap keeps its captures, one at a time: a hook on every block, which returns at once but in a read step.

    They are put there with the tap and stay: a hook that came or went later would have a compiler trace the server's
    graphs once more, and in a graph they leave nothing.
    """

    def __init__(self, blocks: Sequence[nn.Module], residual: Residual = first) -> None:
        """residual: how the stream is found in what a block returns."""
        self.blocks = len(blocks)
        self._device: torch.device = next(blocks[0].parameters()).device
        self._residual = residual
        self.wanted: Job | None = None  # set from outside
        self._job: Job | None = None
        self._reading = False
        self._hooks: list[Hook | None] = [None] * len(blocks)
        for at, block in enumerate(blocks):
            block.register_forward_hook(self._asleep(at))

    def op(self, layers: Sequence[int]) -> CaptureOp:
        return CaptureOp(layers, self._device, self._residual)

    def _asleep(self, at: int) -> Hook:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if is_dynamo_compiling():
                return
            awake = self._hooks[at]
            if awake is not None:
                awake(module, args, output)

        return hook

    def begin(self, rows: Rows, select: npt.NDArray[np.int64] | None) -> None:
        """Before a step that the tap reads; one of `end`, `drop` follows."""
        try:
            if self._job is not self.wanted:
                self._change(self.wanted)
            self._reading = self._job is not None and self._job.begin(rows, select)
        except Exception as error:
            self._failed(error)

    def end(self) -> None:
        """After it."""
        if not self._reading or self._job is None:
            return
        self._reading = False
        try:
            self._job.read()
        except Exception as error:
            self._failed(error)

    def drop(self, why: str) -> None:
        """The server may take its rows back, or has."""
        if self._reading and self._job is not None:
            self._reading = False
            self._job.drop(why)

    def _change(self, wanted: Job | None) -> None:
        self._job = wanted
        self._hooks = [None] * self.blocks
        if wanted is not None:
            for index, layer in enumerate(wanted.order.layers):
                self._hooks[layer] = wanted.op.hook(index)

    def _failed(self, error: Exception) -> None:
        self._reading = False
        if self._job is not None:
            self._job.end(f"an error: {error!s:.200}")
            self._job.drop("not_read")


def over(taken: Taken) -> dict[str, Any]:
    """What is known of a sampled request, ended or not. Ids only where its tenant chose that text may leave."""
    request, end = taken.request, taken.request.ended
    served = end.served if end is not None else 0
    ticket = request.ticket
    found: dict[str, Any] = {
        "key": request.key,
        "first": taken.first,
        "rows": taken.rows,
        "served": served,
        "outcome": end.outcome if end is not None else "unfinished",
        "lost": taken.lost,
        # A server that schedules ahead of its results runs a row more than it serves.
        "whole": taken.lost is None and end is not None and taken.next >= served,
        "prompt_len": request.prompt_len,
        "spans": [list(span) for span in request.spans],
        "spans_exact": request.spans_exact,
        "labels": dict(ticket.labels) if ticket else {},
        "trusted": sorted(ticket.trusted) if ticket else [],
        "opened_ns": request.opened_ns,
    }
    if request.prompt_ids is not None and end is not None:
        ids = [*request.prompt_ids, *(int(token) for token in end.generated_ids)]
        if len(ids) >= taken.next:  # what was cut off may have run tokens that nobody told us
            found["ids"] = ids
    return found
