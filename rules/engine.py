"""Scores in, hits out: the one engine of live, test, backtest and reproduction.

Owns the life of a request (open, step, close) and which program each request runs. It is pure: no
clock, no I/O, and never learns what a label means or where a hit goes. A rule fires at most once
in a request, at the first token where its condition is true, so a flood of tokens is one alert.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.frames import Scope, ScoreFrame
from dosimeter.rules import native
from dosimeter.rules.atoms import CompiledRule
from dosimeter.rules.crossing import Crossing, Firing
from dosimeter.rules.native import NativeKernel
from dosimeter.rules.program import Program
from dosimeter.rules.reference import PlainKernel

AnyKernel = NativeKernel | PlainKernel
KERNEL: type[AnyKernel] = NativeKernel if native.found else PlainKernel
"""Both decide the same; the plain one is for machines without a compiler."""


class AlreadyOpenError(ValueError):
    """`open` for a key that is open: keys are unique in an epoch, so the caller lost a close."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A rule's condition met in one request. Positions count tokens of the request's sequence."""

    rule: str
    key: int
    scope: Scope
    start: int  # the span that satisfied the shape, half open
    end: int
    position: int  # the deciding token
    value_sum: int  # the statistic is value_sum / value_n, in codes
    value_n: int
    threshold_code: int
    feature: str
    column: int
    program: str  # digest
    tokens_scored: int  # in this scope, up to the deciding token
    tokens_unscored: int
    compiled: CompiledRule  # as the request's program has it, whatever was swapped in since


@dataclass(frozen=True, slots=True)
class Request:
    """What the engine was told about an open request."""

    labels: Mapping[str, str]
    trusted: frozenset[str]


class _Run:
    """One program and the state of the requests that started with it."""

    def __init__(self, program: Program, kernel: type[AnyKernel]) -> None:
        self.program = program
        self.kernel = kernel(program.atoms, [r.atom for r in program.rules])
        self.slots: dict[int, int] = {}  # by key
        self.keys: dict[int, int] = {}  # by slot

    def open(self, key: int) -> None:
        slot = self.kernel.open()
        self.slots[key], self.keys[slot] = slot, key

    def close(self, key: int) -> list[Hit]:
        slot = self.slots.pop(key)
        hits = self.hits(self.kernel.close(slot))
        del self.keys[slot]
        return hits

    def hits(self, firings: list[Firing]) -> list[Hit]:
        return [self._hit(*firing) for firing in firings]

    def _hit(self, index: int, crossing: Crossing) -> Hit:
        rule = self.program.rules[index]
        atom = self.program.atoms[rule.atom]
        return Hit(
            rule=rule.rule,
            key=self.keys[crossing.slot],
            scope=atom.scope,
            start=crossing.start,
            end=crossing.end,
            position=crossing.position,
            value_sum=crossing.value_sum,
            value_n=crossing.value_n,
            threshold_code=atom.threshold,
            feature=rule.feature,
            column=atom.column,
            program=self.program.digest,
            tokens_scored=crossing.scored,
            tokens_unscored=crossing.unscored,
            compiled=rule,
        )


class Engine:
    """Evaluates a program over the score frames of many requests.

    rows_unknown counts rows of keys that were not open: they were not evaluated, and the caller
    must account for them.
    """

    def __init__(self, program: Program, kernel: type[AnyKernel] = KERNEL) -> None:
        self._kernel = kernel
        self._runs = [_Run(program, kernel)]  # the last one is current; others have open requests
        self._requests: dict[int, Request] = {}
        self.rows_unknown = 0

    @property
    def program(self) -> Program:
        """What requests that open now will run."""
        return self._runs[-1].program

    @property
    def programs(self) -> Mapping[str, Program]:
        """By digest: the current program and those that open requests still run."""
        return {run.program.digest: run.program for run in self._runs}

    @property
    def open_requests(self) -> int:
        return len(self._requests)

    def request(self, key: int) -> Request | None:
        """What an open request came with."""
        return self._requests.get(key)

    def open(
        self, key: int, labels: Mapping[str, str], trusted: frozenset[str] = frozenset()
    ) -> None:
        """Begins a request under the current program. Raises AlreadyOpenError."""
        if key in self._requests:
            raise AlreadyOpenError(f"key {key} is open")
        self._runs[-1].open(key)
        self._requests[key] = Request(dict(labels), trusted)

    def step(self, frame: ScoreFrame) -> list[Hit]:
        """Takes one frame; the hits it decided, per request in the order of their tokens.

        Raises ValueError if the segments do not cover the codes, or the codes have other columns
        than a program that must read them; nothing of the frame was taken then.
        """
        segments, codes = frame.segments, frame.codes
        ns = segments["n"]
        if codes.ndim != 2 or int(ns.sum()) != len(codes) or (ns < 0).any():
            raise ValueError(f"segments of {int(ns.sum())} rows do not fit codes {codes.shape}")
        unknown = ns > 0
        work: list[tuple[_Run, npt.NDArray[np.int64], npt.NDArray[np.bool_]]] = []
        keys = segments["key"].tolist()
        for run in self._runs:
            find = run.slots.get
            slots = np.array([find(key, -1) for key in keys], np.int64)
            mine = (slots >= 0) & (ns > 0)
            if mine.any():
                unknown &= ~mine
                work.append((run, slots, mine))
                if codes.shape[1] != len(run.program.columns):
                    wanted = len(run.program.columns)
                    raise ValueError(f"codes have {codes.shape[1]} columns, the program {wanted}")
        self.rows_unknown += int(ns[unknown].sum())
        rows = np.cumsum(ns) - ns
        hits: list[Hit] = []
        for run, slots, mine in work:
            part, at = segments, rows
            if not mine.all():
                part, slots, at = segments[mine], slots[mine], rows[mine]
            firings = run.kernel.step(
                slots, part["scope"].astype(np.int64), part["start"], part["n"], at, codes
            )
            hits += run.hits(firings)
        return hits

    def close(self, key: int, *, finished: bool) -> list[Hit]:
        """Ends a request and frees its state; what waits for the end of a scope is decided now.

        A request that was cancelled (`finished` false) is decided on what was scored until then:
        its reader has seen that much. Closing a key that is not open returns nothing.
        """
        if self._requests.pop(key, None) is None:
            return []
        run = next(run for run in self._runs if key in run.slots)
        hits = run.close(key)
        self._forget_finished()
        return hits

    def swap(self, program: Program) -> None:
        """Requests that open from now on run `program`; open ones keep the one they began with."""
        if program.digest != self.program.digest:
            self._runs.append(_Run(program, self._kernel))
            self._forget_finished()

    def _forget_finished(self) -> None:
        if len(self._runs) > 1:
            self._runs = [*(run for run in self._runs[:-1] if run.slots), self._runs[-1]]
