"""Stored scores in, hits out: a program run over whole requests as the archive keeps them, by the kernel of the line.

Owns the replay of columns and runs, and which hits `only` and `unless` let through. It is pure: arrays are arguments,
and it never learns where they were kept, what weight a request has, or what is made of the hits (`estimate.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.frames import Codes
from dosimeter.rules.atoms import CompiledRule
from dosimeter.rules.engine import KERNEL, AnyKernel
from dosimeter.rules.policy import Policy
from dosimeter.rules.program import Program

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

HITS = np.dtype([("request", "<i8"), ("position", "<i8"), ("rule", "<i4"), ("exempt", "?")])
"""request: index into what was replayed; rule: index into the program's rules; exempt: an `unless` holds."""


class Names(Protocol):
    """One name a request: names[of[a]]; an empty one is none."""

    @property
    def names(self) -> Sequence[str]: ...
    @property
    def of(self) -> npt.NDArray[np.int32]: ...


class Backtest:
    """One program over stored requests of one bank. model: its name, as `only` and `unless` say it.

    reads: the features whose codes `replay` takes, in that order.
    """

    def __init__(self, program: Program, model: str = "", kernel: type[AnyKernel] = KERNEL) -> None:
        self.program, self._model = program, model
        self._kernel = kernel(program.atoms, [rule.logic for rule in program.rules])
        used = {a.column for a in program.atoms}
        names = {program.columns[c] for c in used if c < len(program.columns)}
        self._scores = [
            score if len(program.columns) + i in used else None
            for i, score in enumerate(program.computed)
        ]
        names |= {name for score in self._scores if score for name in score.features}
        self.reads = tuple(name for name in program.columns if name in names)

    def columns(self, codes: Sequence[Codes]) -> list[Codes | None]:
        """What the atoms' column numbers index: of the bank, and computed ones behind them; None where none does."""
        held = dict(zip(self.reads, codes, strict=True))
        columns = [held.get(name) for name in self.program.columns]
        for score in self._scores:
            read = score.codes([held[name] for name in score.features]) if score else None
            columns.append(read)
        return columns

    def replay(
        self,
        codes: Sequence[Codes],
        runs: Ints,
        requests: int,
        labels: Mapping[str, Names],
    ) -> npt.NDArray[np.void]:
        """HITS, by request and position.

        codes     one int16 [T] for each of `reads`
        runs      int64 [R, 4]: request, first position, tokens, Scope, in the order of requests; their tokens stand
                  behind each other in `codes`
        labels    those that somebody vouches for

        Raises ValueError where runs and codes do not fit.
        """
        fired = self._kernel.replay(runs, requests, self.columns(codes))
        hits = np.zeros(len(fired), HITS)
        hits["request"], hits["position"], hits["rule"] = fired[:, 0], fired[:, 1], fired[:, 3]
        for index, rule in enumerate(self.program.rules):
            if rule.policy.only.labels or rule.policy.unless:
                mine = np.flatnonzero(hits["rule"] == index)
                applies, exempt = self._policy(rule.policy, hits["request"][mine], labels)
                hits["exempt"][mine] = exempt
                hits["rule"][mine[~applies]] = -1
        return hits[hits["rule"] >= 0]

    def _policy(
        self, policy: Policy, requests: Ints, labels: Mapping[str, Names]
    ) -> tuple[Bools, Bools]:
        """For each of these requests whether `only` lets it through, and whether an `unless` holds: asked once for
        all that have the same labels."""
        of = [labels[name].of[requests] for name in labels]
        kinds, which = np.unique(
            np.stack([*of, np.zeros(len(requests), np.int32)]), axis=1, return_inverse=True
        )
        said: list[tuple[bool, bool]] = []
        for kind in kinds.T.tolist():
            values = {name: labels[name].names[at] for name, at in zip(labels, kind, strict=False)}
            known = {name: value for name, value in values.items() if value}
            exempt = policy.exemption(known, self._model) is not None
            said.append((policy.applies(known, self._model), exempt))
        found = np.array(said, bool).reshape(-1, 2)[which.reshape(-1)]
        return found[:, 0], found[:, 1]


def asks_beyond(rule: CompiledRule, labels: Sequence[str]) -> tuple[str, ...]:
    """What its `only` and `unless` ask for beside these labels: a stored request cannot answer."""
    whose = (rule.policy.only, *(e.whose for e in rule.policy.unless))
    asked = {name for one in whose for name, _ in one.labels}
    return tuple(sorted(asked - {*labels, "model"}))
