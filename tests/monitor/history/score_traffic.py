"""Made-up scores as the line hands them to the archive, beside what each request really was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from dosimeter.detectors.frames import SEGMENTS, Codes, Scope, ScoreFrame
from dosimeter.monitor.history.archive_folder import ArchiveFolder
from dosimeter.monitor.history.chunk import (
    Bank,
    Ended,
    Fired,
    Opened,
    ProgramText,
    Record,
    Rows,
    encode,
    header,
)
from dosimeter.monitor.history.chunk import Seal as Sealed
from dosimeter.rules.atoms import Atom, Clause, CompiledRule, Literal, Logic
from dosimeter.rules.engine import Engine
from dosimeter.rules.program import Program

EPOCH = 0xAB
NOON_NS = 1_764_417_600_000_000_000  # 2025-11-29 12:00:00 UTC
SECOND_NS = 1_000_000_000
THRESHOLD = 700  # one token in about 300 of a standard normal of 256 codes


def bank_of(features: int = 2, model: str = "lab") -> Bank:
    return Bank(tuple((f"feature_{i}", f"{i:064x}") for i in range(features)), model, "ab" * 32)


def rule(name: str, logic: Logic) -> CompiledRule:
    text = {"rule": name, "status": "live", "severity": "high", "summary": "it fired"}
    return CompiledRule(name, "0" * 64, logic, text)


def literal(atom: int) -> Literal:
    return Literal(atom, "feature_0", "0" * 64, "b" * 64, "1 in 1000 answers")


def program_of(threshold: int = THRESHOLD, features: int = 2) -> Program:
    """One rule: a token of an answer above the threshold, in the first column."""
    atom = Atom(0, Scope.ANSWER, 1, "once", 1, threshold)
    logic = Logic((Clause((literal(0),)),))
    return Program(
        tuple(name for name, _ in bank_of(features).columns), (atom,), (rule("r0", logic),)
    )


@dataclass
class Truth:
    """A request as it was."""

    codes: Codes
    prompt: int
    fired: list[int] = field(default_factory=list)

    @property
    def runs(self) -> list[tuple[int, int, int]]:
        """start, tokens, scope"""
        answer = len(self.codes) - self.prompt
        return [(0, self.prompt, int(Scope.MESSAGE)), (self.prompt, answer, int(Scope.ANSWER))]


@dataclass
class Traffic:
    """records: in the order of the line; truth: by key."""

    bank: Bank
    program: Program
    records: list[Record] = field(default_factory=list)
    truth: dict[int, Truth] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        return sum(len(one.codes) for one in self.truth.values())


def traffic(
    requests: int, *, seed: int = 0, features: int = 2, threshold: int = THRESHOLD, most: int = 40
) -> Traffic:
    """Requests that overlap, each with a prompt in one frame and an answer token by token; no two alike."""
    random = np.random.default_rng(seed)
    found = Traffic(bank_of(features), program_of(threshold, features))
    engine, text = Engine(found.program), ProgramText(found.program.canonical)
    waiting = list(range(1, requests + 1))
    live: dict[int, int] = {}
    now_ns = NOON_NS
    while waiting or live:
        now_ns += SECOND_NS // 100
        while waiting and len(live) < 5:
            key = waiting.pop(0)
            length = int(random.integers(3, most))
            codes = np.rint(random.standard_normal((length, features)) * 256).astype(np.int16)
            found.truth[key] = Truth(codes, int(random.integers(1, length)))
            live[key] = 0
            engine.open(key, {})
            tenant = f"tenant-{key % 3}"
            opened = Opened(EPOCH, key, found.bank.digest, text.digest, now_ns, tenant, "chat")
            found.records += [found.bank, text, opened]
        frame = _frame(live, found.truth, now_ns)
        found.records.append(Rows(EPOCH, now_ns, frame.segments, frame.codes))
        hits = engine.step(frame)
        over = [key for key, at in live.items() if at == len(found.truth[key].codes)]
        for key in over:
            hits += engine.close(key, finished=True)
        for hit in hits:
            found.truth[hit.key].fired.append(hit.position)
            found.records.append(
                Fired(EPOCH, hit.key, hit.rule, "notified", f"{hit.key:032x}", hit.position)
            )
        for key in over:
            served = len(found.truth[key].codes)
            found.records.append(Ended(EPOCH, key, True, now_ns, served))
            del live[key]
    return found


def _frame(live: dict[int, int], truth: dict[int, Truth], now_ns: int) -> ScoreFrame:
    pieces, segments = [], []
    for key, at in live.items():
        one = truth[key]
        n = one.prompt if at == 0 else 1
        scope = Scope.MESSAGE if at == 0 else Scope.ANSWER
        segments.append((key, at, n, int(scope)))
        pieces.append(one.codes[at : at + n])
        live[key] = at + n
    return ScoreFrame(np.array(segments, SEGMENTS), np.concatenate(pieces), now_ns, now_ns)


def chunk_bytes(records: Sequence[Record], sequence: int = 0, *, sealed: bool = True) -> bytes:
    rows = sum(len(one.codes) for one in records if isinstance(one, Rows))
    end = [Sealed(rows)] if sealed else []
    body = b"".join(encode(record) for record in (*records, *end))
    return header(sequence, NOON_NS) + body


def spooled(folder: ArchiveFolder, records: Sequence[Record], pieces: int = 1) -> None:
    """Chunks in the spool, of about as many records each, each with the banks and programs that it needs."""
    folder.make()
    for sequence, part in enumerate(_split(records, pieces)):
        rows = sum(len(one.codes) for one in part if isinstance(one, Rows))
        folder.sealed_chunk(sequence, rows).write_bytes(chunk_bytes(part, sequence))


def _split(records: Sequence[Record], pieces: int) -> Iterator[Sequence[Record]]:
    cuts = [len(records) * i // pieces for i in range(pieces + 1)]
    known = [one for one in records if isinstance(one, Bank | ProgramText)][:2]
    for low, high in pairwise(cuts):
        yield [*known, *records[low:high]]
