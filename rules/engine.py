"""Scores in, hits out: the one engine of live, test, backtest and reproduction.

Owns the life of a request (open, step, close) and which program each request runs. It is pure: no
clock, no I/O, and never learns what a label means or where a hit goes. A rule fires at most once
in a request, at the first token where its condition is true, so a flood of tokens is one alert; a rule with `clear`
fires again once it has been calm.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.frames import Codes, ScoreFrame
from dosimeter.rules import native
from dosimeter.rules.atoms import Atom, CompiledRule, Literal, ends_scope
from dosimeter.rules.crossing import Firing, Met
from dosimeter.rules.native import NativeKernel
from dosimeter.rules.policy import Exemption
from dosimeter.rules.program import Program
from dosimeter.rules.reference import PlainKernel

AnyKernel = NativeKernel | PlainKernel
KERNEL: type[AnyKernel] = NativeKernel if native.found else PlainKernel
"""Both decide the same; the plain one is for machines without a compiler."""


class AlreadyOpenError(ValueError):
    """`open` for a key that is open: keys are unique in an epoch, so the caller lost a close."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of a rule as it was last true. Positions count tokens of the request's sequence."""

    clause: int  # index into the clauses of the rule's logic
    literal: Literal  # what the rule says: feature, level
    atom: Atom  # what was decided: scope, shape, threshold
    start: int  # the span that satisfied the shape, half open
    end: int
    value_sum: (
        int  # the statistic is value_sum / value_n, in codes; of `share` the share of the tokens
    )
    value_n: int
    tokens_scored: int  # in this scope, up to the deciding token
    tokens_unscored: int

    @property
    def position(self) -> int:
        """The deciding token."""
        return self.end - 1


@dataclass(frozen=True, slots=True)
class Hit:
    """A rule's condition met in one request."""

    rule: str
    key: int
    position: int  # the token that decided
    decided: Condition  # the first, in the rule's order, of those that are true there
    also: tuple[Condition, ...]  # the others that the rule asked for, in its order
    program: str  # digest
    compiled: CompiledRule  # as the request's program has it, whatever was swapped in since
    exempt: Exemption | None = None  # the `unless` that holds for the request

    @property
    def start(self) -> int:
        """The first token that any of its conditions looked at."""
        return min(c.start for c in (self.decided, *self.also))


@dataclass(frozen=True, slots=True)
class Request:
    """What the engine was told about an open request."""

    labels: Mapping[str, str]
    trusted: frozenset[str]

    @property
    def vouched(self) -> Mapping[str, str]:
        """The labels that somebody vouches for: only these decide anything."""
        return {name: self.labels[name] for name in self.labels if name in self.trusted}


class _Run:
    """One program and the state of the requests that started with it."""

    def __init__(self, program: Program, kernel: type[AnyKernel]) -> None:
        self.program = program
        self.kernel = kernel(program.atoms, [r.logic for r in program.rules])
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

    def codes(self, codes: Codes) -> Codes:
        """With the computed columns behind those of the bank."""
        if not self.program.computed:
            return codes
        at = self.program.columns.index
        more = [
            score.codes([codes[:, at(feature)] for feature in score.features])
            for score in self.program.computed
        ]
        return np.column_stack([codes, *more])

    def hits(self, firings: list[Firing]) -> list[Hit]:
        return [self._hit(firing) for firing in firings]

    def _hit(self, firing: Firing) -> Hit:
        rule = self.program.rules[firing.rule]
        conditions = [self._condition(rule, met) for met in firing.met]
        fresh = [c for c in conditions if c.position == firing.position]
        decided = next((c for c in fresh if ends_scope(c.atom) is firing.ended), fresh[0])
        return Hit(
            rule=rule.rule,
            key=self.keys[firing.slot],
            position=firing.position,
            decided=decided,
            also=tuple(c for c in conditions if c is not decided),
            program=self.program.digest,
            compiled=rule,
        )

    def _condition(self, rule: CompiledRule, met: Met) -> Condition:
        clause = rule.logic.clauses[met.clause]
        return Condition(
            clause=met.clause,
            literal=next(one for one in clause.literals if one.atom == met.atom),
            atom=self.program.atoms[met.atom],
            start=met.start,
            end=met.position + 1,
            value_sum=met.value_sum,
            value_n=met.value_n,
            tokens_scored=met.scored,
            tokens_unscored=met.unscored,
        )


class Engine:
    """Evaluates a program over the score frames of many requests. model: its name, as `only` and `unless` say it.

    model may be set when it becomes known, and holds for open requests too.
    rows_unknown counts rows of keys that were not open: they were not evaluated, and the caller
    must account for them.
    """

    def __init__(self, program: Program, kernel: type[AnyKernel] = KERNEL, model: str = "") -> None:
        self.model = model
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
                slots,
                part["scope"].astype(np.int64),
                part["start"],
                part["n"],
                at,
                run.codes(codes),
            )
            hits += run.hits(firings)
        return list(self._applying(hits, self._requests))

    def close(self, key: int, *, finished: bool) -> list[Hit]:
        """Ends a request and frees its state; what waits for the end of a scope is decided now.

        A request that was cancelled (`finished` false) is decided on what was scored until then:
        its reader has seen that much. Closing a key that is not open returns nothing.
        """
        request = self._requests.pop(key, None)
        if request is None:
            return []
        run = next(run for run in self._runs if key in run.slots)
        hits = run.close(key)
        self._forget_finished()
        return list(self._applying(hits, {key: request}))

    def swap(self, program: Program) -> None:
        """Requests that open from now on run `program`; open ones keep the one they began with."""
        if program.digest != self.program.digest:
            self._runs.append(_Run(program, self._kernel))
            self._forget_finished()

    def _applying(self, hits: Sequence[Hit], of: Mapping[int, Request]) -> Iterator[Hit]:
        """The hits of rules that are for these requests, with the exemption that holds."""
        for hit in hits:
            policy = hit.compiled.policy
            if not (policy.only.labels or policy.unless):
                yield hit
                continue
            labels = of[hit.key].vouched
            if policy.applies(labels, self.model):
                yield replace(hit, exempt=policy.exemption(labels, self.model))

    def _forget_finished(self) -> None:
        if len(self._runs) > 1:
            self._runs = [*(run for run in self._runs[:-1] if run.slots), self._runs[-1]]
