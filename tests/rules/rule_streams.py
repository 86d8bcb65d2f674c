"""Random programs and random traffic for the tests that compare the kernel with the reference."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from dosimeter.detectors.frames import CODE_UNSCORED, SEGMENTS, Codes, Scope, ScoreFrame
from dosimeter.detectors.levels import WHOLE, WINDOWED
from dosimeter.rules.atoms import SHAPES, Atom, Clause, CompiledRule, Literal, Logic
from dosimeter.rules.engine import Engine, Hit
from dosimeter.rules.program import Program

COLUMNS = 3
SHA = "0" * 64


def literal(atom: int) -> Literal:
    return Literal(atom, "deception", "a" * 64, "b" * 64, "1 in 1000 answers")


def one(atom: int, clear: int | None = None) -> Logic:
    """A rule of one condition."""
    return Logic((Clause((literal(atom),)),), clear=clear)


def rule(name: str, logic: int | Logic, status: str = "live") -> CompiledRule:
    text = {
        "rule": name,
        "when": {"feature": "deception", "in": "answer", "above": "1 in 1000 answers"},
        "status": status,
        "severity": "high",
        "summary": "{feature} reached {value} in {scope}",
        "owner": "trust-and-safety",
    }
    return CompiledRule(name, SHA, one(logic) if isinstance(logic, int) else logic, text)


def program_of(*atoms: Atom, columns: int = COLUMNS) -> Program:
    """A program with one rule an atom, `r0`, `r1` ..."""
    unique = list(dict.fromkeys(atoms))
    return program_with(unique, [one(unique.index(atom)) for atom in atoms], columns)


def program_with(atoms: Sequence[Atom], logics: Sequence[Logic], columns: int = COLUMNS) -> Program:
    rules = tuple(rule(f"r{i}", logic) for i, logic in enumerate(logics))
    return Program(tuple(f"f{i}" for i in range(columns)), tuple(atoms), rules)


def frame(*segments: tuple[int, int, Scope, Codes]) -> ScoreFrame:
    """Segments as (key, start, scope, codes [n, F])."""
    rows = [(key, start, len(codes), int(scope)) for key, start, scope, codes in segments]
    codes = np.concatenate([codes for *_, codes in segments])
    return ScoreFrame(np.array(rows, SEGMENTS), codes, hook_ns=0, time_ns=0)


def column(*values: int) -> Codes:
    """One column of codes."""
    return np.array(values, np.int16)[:, None]


@st.composite
def atoms(draw: st.DrawFn) -> Atom:
    shape = draw(st.sampled_from(SHAPES))
    n = draw(st.integers(1, 9)) if shape in WINDOWED else 1
    k = draw(st.integers(1, {"at_least": n, "share": 100}.get(shape, 1)))
    enough = shape in WHOLE and draw(st.booleans())
    return Atom(
        column=draw(st.integers(0, COLUMNS - 1)),
        scope=draw(st.sampled_from([Scope.ANSWER, Scope.ANSWER, Scope.MESSAGE, Scope.TOOL])),
        direction=draw(st.sampled_from([1, 1, -1])),
        shape=shape,
        n=n,
        threshold=draw(st.integers(-4, 6)),
        k=k,
        least=draw(st.integers(0, 12)) if enough else 0,
        coverage=draw(st.integers(0, 100)) if enough else 0,
    )


@st.composite
def logics(draw: st.DrawFn, atoms: int) -> Logic:
    """A rule over this many atoms."""
    index = st.integers(0, atoms - 1)
    kind = draw(st.sampled_from(["all", "all", "sequence"]))
    count = draw(st.integers(2, 4) if kind == "sequence" else st.integers(1, 4))
    clauses = [Clause(tuple(map(literal, draw(st.lists(index, min_size=1, max_size=3)))))]
    for _ in range(count - 1):
        of = draw(st.lists(index, min_size=1, max_size=3))
        negated = kind == "all" and draw(st.integers(0, 3)) == 0
        clauses.append(Clause(tuple(map(literal, of)), negated))
    clear = draw(st.none() | index)
    return Logic(tuple(clauses), kind, draw(st.sampled_from([0, 1, 2, 5, 17, 40])), clear)


@st.composite
def programs(draw: st.DrawFn) -> Program:
    of = list(dict.fromkeys(draw(st.lists(atoms(), min_size=1, max_size=10))))
    return program_with(of, draw(st.lists(logics(len(of)), min_size=1, max_size=10)))


@dataclass(frozen=True)
class Traffic:
    """What happened to a few requests: per request the scope of each position and the codes, and
    which positions never arrived; plus what their end was."""

    scopes: dict[int, list[Scope]]
    codes: dict[int, Codes]
    missing: dict[int, set[int]]
    finished: dict[int, bool]


def traffic(seed: int, requests: int, longest: int) -> Traffic:
    """Codes are small integers so that ties and near misses are common, a few are extreme."""
    rng = np.random.default_rng(seed)
    found = Traffic({}, {}, {}, {})
    for key in range(1, requests + 1):
        n = int(rng.integers(1, longest))
        scopes: list[Scope] = []
        while len(scopes) < n:
            scopes += [Scope(int(rng.choice([0, 1, 2, 3, 3, 5])))] * int(rng.integers(1, 14))
        codes = rng.integers(-6, 9, (n, COLUMNS)).astype(np.int16)
        codes += np.repeat(rng.integers(-3, 4, (-(-n // 8), COLUMNS)), 8, axis=0)[:n].astype(
            np.int16
        )
        codes[rng.random(codes.shape) < 0.01] = 32767
        codes[rng.random(codes.shape) < 0.01] = -32767
        codes[rng.random(codes.shape) < 0.04] = CODE_UNSCORED
        gone = set(np.flatnonzero(rng.random(n) < 0.03).tolist()) if rng.random() < 0.6 else set()
        found.scopes[key], found.codes[key] = scopes[:n], codes
        found.missing[key], found.finished[key] = gone, bool(rng.random() < 0.7)
    return found


def batched(
    t: Traffic, seed: int, most_rows: int, replays: bool
) -> Iterator[ScoreFrame | tuple[int, bool]]:
    """The traffic as frames, cut and interleaved at random; (key, finished) closes a request.

    With `replays`, rows that were sent before are sent again, as after a preemption.
    """
    rng = np.random.default_rng(seed)
    position = dict.fromkeys(t.scopes, 0)
    live = list(t.scopes)
    while live:
        segments: list[tuple[int, int, Scope, Codes]] = []
        chosen = [key for key in live if rng.random() < 0.7] or live[:1]
        rng.shuffle(chosen)
        for key in chosen:
            start = position[key]
            if replays and start and rng.random() < 0.3:
                start -= int(rng.integers(1, start + 1))
            end = min(len(t.scopes[key]), position[key] + int(rng.integers(0, most_rows + 1)))
            segments += _segments(t, key, start, end)
            position[key] = max(position[key], end)
        if segments:
            yield frame(*segments)
        for key in list(live):
            if position[key] == len(t.scopes[key]):
                live.remove(key)
                yield key, t.finished[key]


def _segments(t: Traffic, key: int, start: int, end: int) -> list[tuple[int, int, Scope, Codes]]:
    """Cut where the scope changes and where positions are missing."""
    scopes = t.scopes[key]
    found: list[tuple[int, int, Scope, Codes]] = []
    first = start
    for p in range(start, end):
        if p in t.missing[key]:
            first = p + 1
        elif p + 1 == end or p + 1 in t.missing[key] or scopes[p + 1] is not scopes[p]:
            found.append((key, first, scopes[p], t.codes[key][first : p + 1]))
            first = p + 1
    return found


def run(
    engine: Engine,
    t: Traffic,
    seed: int,
    most_rows: int,
    replays: bool,
    second: Program | None = None,
) -> dict[int, list[Hit]]:
    """Hits of each request, in the order in which the engine returned them.

    With `second`, that program is swapped in when half of the requests are open.
    """
    hits: dict[int, list[Hit]] = defaultdict(list)
    for i, key in enumerate(t.scopes):
        if second is not None and i == len(t.scopes) // 2:
            engine.swap(second)
        engine.open(key, {})
    for event in batched(t, seed, most_rows, replays):
        found = (
            engine.step(event)
            if isinstance(event, ScoreFrame)
            else engine.close(event[0], finished=event[1])
        )
        for hit in found:
            hits[hit.key].append(hit)
    return hits


def as_decided(hits: dict[int, list[Hit]]) -> dict[int, list[Hit]]:
    """Per request by deciding token, then by rule id."""
    return {
        key: sorted(found, key=lambda h: (h.position, h.rule))
        for key, found in hits.items()
        if found
    }
