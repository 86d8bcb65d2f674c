"""Which requests the archive keeps, and what each that it keeps stands for.

    flagged  a running rule fired on it: kept, stands for itself
    near     one would have, were every threshold half a standard deviation closer to the ordinary: kept, for itself
    rest     kept once in `one_in`, by a keyed hash of the request's identity, which no client has a say in

Whatever a stratum is taken for, its weights make totals right in expectation. Owns that decision; it never learns where
requests come from or go.
"""

from __future__ import annotations

import hashlib
import logging
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from dosimeter.detectors.frames import CODE_MAX, CODES_PER_SD, SEGMENTS, ScoreFrame
from dosimeter.monitor.history.assembly import Request
from dosimeter.monitor.history.chunk import ProgramText
from dosimeter.rules.atoms import Atom, Clause, CompiledRule
from dosimeter.rules.engine import Engine
from dosimeter.rules.program import Program

log = logging.getLogger(__name__)

NEAR_CODES = CODES_PER_SD // 2
BATCH_TOKENS, BATCH_REQUESTS = 1 << 19, 1024
MAX_ENGINES = 16


class Stratum(IntEnum):
    FLAGGED = 0
    NEAR = 1
    REST = 2


@dataclass(frozen=True, slots=True)
class Sampler:
    """One request in `one_in`, the same ones whenever it is asked. key: secret, so that nobody can aim."""

    key: bytes
    one_in: int

    def takes(self, epoch: int, key: int) -> bool:
        identity = struct.pack("<QQ", epoch, key)
        digest = hashlib.blake2b(identity, key=self.key, digest_size=8).digest()
        return int.from_bytes(digest, "little") % self.one_in == 0


def loosened(program: Program, codes: int = NEAR_CODES) -> Program:
    """Fires wherever `program` does, and where its thresholds are missed by less than so many codes."""
    atoms: dict[Atom, int] = {}

    def moved(atom: Atom, by: int) -> int:
        threshold = max(-CODE_MAX, min(CODE_MAX, atom.threshold - atom.direction * by))
        return atoms.setdefault(replace(atom, threshold=threshold), len(atoms))

    def clause(one: Clause) -> Clause:
        by = -codes if one.negated else codes  # what forbids must be missed by as much
        literals = (replace(x, atom=moved(program.atoms[x.atom], by)) for x in one.literals)
        return replace(one, literals=tuple(literals))

    def rule(one: CompiledRule) -> CompiledRule:
        logic, clear = one.logic, one.logic.clear
        return replace(
            one,
            logic=replace(
                logic,
                clauses=tuple(clause(part) for part in logic.clauses),
                clear=None if clear is None else moved(program.atoms[clear], 0),
            ),
        )

    rules = tuple(rule(one) for one in program.rules)
    return replace(program, atoms=tuple(atoms), rules=rules)


class Nearness:
    """Runs the loosened form of the program that each request ran. unknown: programs that cannot be run here."""

    def __init__(self) -> None:
        self._engines: dict[tuple[str, str], Engine | None] = {}  # by program and model

    def of(self, requests: Sequence[Request], program: ProgramText | None) -> list[bool]:
        """For requests that ran one program on one bank. Where it cannot be run, none is near."""
        engine = None
        if program is not None and requests:
            engine = self._engine(program, requests[0].bank.model)
        if engine is None or not engine.program.rules:
            return [False] * len(requests)
        found: list[bool] = []
        for batch in _batches(requests):
            near = _fires(engine, batch)
            found += [index in near for index in range(len(batch))]
        return found

    def _engine(self, program: ProgramText, model: str) -> Engine | None:
        at = program.digest, model
        if at not in self._engines:
            if len(self._engines) >= MAX_ENGINES:
                del self._engines[next(iter(self._engines))]
            try:
                loose = loosened(Program.from_json(program.text))
                self._engines[at] = Engine(loose, model=model)
            except ValueError as error:
                log.warning("no request of program %s is near: %s", program.digest[:12], error)
                self._engines[at] = None
        return self._engines[at]


def _batches(requests: Sequence[Request]) -> Iterator[list[Request]]:
    batch: list[Request] = []
    tokens = 0
    for request in requests:
        if batch and (len(batch) >= BATCH_REQUESTS or tokens >= BATCH_TOKENS):
            yield batch
            batch, tokens = [], 0
        batch.append(request)
        tokens += len(request.codes)
    if batch:
        yield batch


def _fires(engine: Engine, batch: list[Request]) -> set[int]:
    """Indices of the requests on which a rule fires."""
    if any(request.codes.shape[1] != len(engine.program.columns) for request in batch):
        return set()
    segments = np.concatenate([np.empty(0, SEGMENTS), *(r.segments for r in batch)])
    segments["key"] = np.repeat(np.arange(len(batch)), [len(r.segments) for r in batch])
    codes = np.concatenate([request.codes for request in batch])
    for index, request in enumerate(batch):
        labels = {"tenant": request.opened.tenant, "route": request.opened.route}
        known = {name: value for name, value in labels.items() if value}
        engine.open(index, known, frozenset(known))
    hits = engine.step(ScoreFrame(segments, codes, 0, 0))
    for index, request in enumerate(batch):
        hits += engine.close(index, finished=request.ended is not None and request.ended.finished)
    return {hit.key for hit in hits}
