"""What the engine evaluates: an atom is one column, one scope, one shape and one integer threshold; a rule is a few of
them under `all`, `any`, `not` or `sequence`.

Owns the compiled form that `rules/program.py` makes out of rules and calibrations, and the words of the shapes. It
never learns where a threshold came from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dosimeter.detectors.frames import CODE_MAX, Scope
from dosimeter.detectors.levels import MOST_OF, WHOLE, WINDOWED
from dosimeter.rules.policy import EVERYONE, Policy

KERNEL_VERSION = 4
"""Part of every digest: raised whenever equal atoms and codes could decide differently."""

SHAPES = ("once", "for", "average", "average_scope", "at_least", "average_last", "share")
MAX_TOKENS = 4096
"""Longest window: its int16 codes then always sum within int32."""
MAX_WITHIN = 1_000_000
MAX_STAGES, MAX_CONDITIONS = 6, 16

STATUSES = ("draft", "shadow", "live", "retired")
SEVERITIES = ("low", "medium", "high", "critical")
RUNNING = ("shadow", "live")

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, order=True)
class Atom:
    """One condition: `direction * statistic > direction * threshold`, strictly, in code units.

    The statistic is the code (`once`), the least code of n tokens in a row (`for`; the greatest
    when direction is -1), the k-th of the last n in a row, counted from the greatest (`at_least`),
    the mean of n tokens in a row (`average`), or, decided when the scope ends, the mean of what
    was scored of it (`average_scope`), of its last n tokens, if none is missing (`average_last`), or the
    largest code that k per cent of what was scored reach (`share`; the smallest when direction is -1).
    n and k are 1 where they mean nothing; `least` scored tokens and `coverage` per cent of the scope are asked for
    by shapes of a whole scope alone.
    """

    column: int
    scope: Scope
    direction: int
    shape: str
    n: int
    threshold: int
    k: int = 1
    least: int = 0
    coverage: int = 0

    def __post_init__(self) -> None:
        most = MOST_OF if self.shape == "at_least" else MAX_TOKENS if self.shape in WINDOWED else 1
        most_k = {"at_least": self.n, "share": 100}.get(self.shape, 1)
        numbers = (
            self.column, self.direction, self.n, self.threshold, self.k, self.least, self.coverage
        )  # fmt: skip
        good = (
            all(type(v) is int for v in numbers)
            and self.shape in SHAPES
            and self.direction in (1, -1)
            and self.column >= 0
            and 1 <= self.n <= most
            and 1 <= self.k <= most_k
            and abs(self.threshold) <= CODE_MAX
            and 0 <= self.least < 1 << 31
            and 0 <= self.coverage <= 100
            and (self.shape in WHOLE or self.least == self.coverage == 0)
        )
        if not good:
            raise ValueError(f"no such atom: {self.as_json()}")

    def as_json(self) -> dict[str, Any]:
        return {
            "column": self.column,
            "coverage": self.coverage,
            "direction": self.direction,
            "k": self.k,
            "least": self.least,
            "n": self.n,
            "scope": int(self.scope),
            "shape": self.shape,
            "threshold": self.threshold,
        }


def ends_scope(atom: Atom) -> bool:
    """Whether it is decided when its scope ends, and not at a token."""
    return atom.shape in (*WHOLE, "average_last")


@dataclass(frozen=True, slots=True)
class Literal:
    """An atom as one rule names it. Two rules can share an atom and say its level in other words."""

    atom: int  # index into the program's atoms
    feature: str
    pack: str  # digest of the pack behind the feature's column
    calibration: str  # digest of the calibration that placed the threshold
    level: str  # as the rule says it, with unit and noun

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Clause:
    """Conditions of which one suffices; negated: of which none may hold."""

    literals: tuple[Literal, ...]
    negated: bool = False

    def as_json(self) -> dict[str, Any]:
        return {"literals": [one.as_json() for one in self.literals], "negated": self.negated}


@dataclass(frozen=True, slots=True)
class Logic:
    """When a rule fires.

    It is decided at moments: a token, or the end of a scope, at which some atom is true.

    all       some atom of a clause that is not negated is true at this moment, every such clause was true
              at this moment or less than `within` positions before, and no negated one was.
    sequence  the last clause is true at this moment, each one before it was true at an earlier moment than the one
              behind it, and the first less than `within` positions before.

    Positions count over the whole request; `within` 0 is all of it. A rule fires once in a request, or, where it has
    a `clear`, again after a later moment at which that atom was true and the rule's own condition was not.
    """

    clauses: tuple[Clause, ...]
    kind: str = "all"
    within: int = 0
    clear: int | None = None  # index into the program's atoms

    def __post_init__(self) -> None:
        positive = sum(not c.negated for c in self.clauses)
        count = sum(len(c.literals) for c in self.clauses)
        good = (
            self.kind in ("all", "sequence")
            and 0 <= self.within <= MAX_WITHIN
            and 1 <= count <= MAX_CONDITIONS
            and all(c.literals for c in self.clauses)
            and positive >= 1
        )
        if self.kind == "sequence":
            good = good and positive == len(self.clauses) and 2 <= positive <= MAX_STAGES
        if not good:
            raise ValueError(f"no such condition of a rule: {self.as_json()}")

    @property
    def literals(self) -> Iterator[Literal]:
        for clause in self.clauses:
            yield from clause.literals

    @property
    def atoms(self) -> Iterator[int]:
        """Every atom that it looks at."""
        yield from (literal.atom for literal in self.literals)
        if self.clear is not None:
            yield self.clear

    def as_json(self) -> dict[str, Any]:
        return {
            "clauses": [clause.as_json() for clause in self.clauses],
            "clear": self.clear,
            "kind": self.kind,
            "within": self.within,
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Logic:
        clauses = tuple(
            Clause(tuple(Literal(**one) for one in clause["literals"]), clause["negated"])
            for clause in body["clauses"]
        )
        return cls(clauses, body["kind"], body["within"], body["clear"])


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """One running rule: what it says (`text`, its canonical form) and what it became."""

    rule: str
    sha256: str  # of the rule's canonical JSON
    logic: Logic
    text: Mapping[str, Any]
    policy: Policy = EVERYONE  # of the text, on the day of the program

    def __post_init__(self) -> None:
        if self.status not in RUNNING or self.severity not in SEVERITIES:
            raise ValueError(f"rule `{self.rule}` cannot run: `{self.status}`, `{self.severity}`")
        if _SHA256.fullmatch(self.sha256) is None:
            raise ValueError(f"rule `{self.rule}` has no sha256")

    @property
    def status(self) -> str:
        return str(self.text["status"])

    @property
    def severity(self) -> str:
        return str(self.text["severity"])

    @property
    def owner(self) -> str:
        return str(self.text.get("owner", ""))

    @property
    def summary(self) -> str:
        return str(self.text["summary"])

    @property
    def runbook(self) -> str:
        return str(self.text.get("runbook", ""))

    def as_json(self) -> dict[str, Any]:
        return {
            "logic": self.logic.as_json(),
            "policy": self.policy.as_json(),
            "rule": self.rule,
            "sha256": self.sha256,
            "text": dict(self.text),
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> CompiledRule:
        logic, policy = Logic.from_json(body["logic"]), Policy.from_json(body["policy"])
        return cls(body["rule"], body["sha256"], logic, body["text"], policy)
