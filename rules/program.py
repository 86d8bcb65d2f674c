"""Rules and calibrations become one program: what live, test, backtest and reproduction all run.

Owns the compiled form, its canonical JSON and its digest, and the list of rules that may not
alert with the reason. How a rule finds its columns and thresholds is `placing.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from types import MappingProxyType

from dosimeter.detectors.calibrate import Calibration, NotCalibrated, NotEnough
from dosimeter.detectors.frames import Scope
from dosimeter.detectors.levels import LevelError
from dosimeter.rules.atoms import KERNEL_VERSION, RUNNING, Atom, CompiledRule
from dosimeter.rules.canonical import canonical, digest
from dosimeter.rules.language.expr import Expr, parse
from dosimeter.rules.language.schema import RuleSet
from dosimeter.rules.placing import BankColumn, Builder, Inactive

FORMAT = 3


def compile_program(
    ruleset: RuleSet,
    columns: Sequence[BankColumn],
    calibrations: Sequence[Calibration],
    day: date | None = None,
) -> Program:
    """Every shadow and live rule placed on this bank (columns in its order) and this traffic.

    A rule that cannot be placed (no column, no calibration for the column's pack, too little
    benign traffic, a threshold that no code is beyond) is inactive, with the reason. day: the one for which
    it is made; what has expired by then is left out (None: nothing has). Raises ValueError where two calibrations
    stand for one feature and pack.
    """
    builder = Builder(columns, calibrations)
    rules: list[CompiledRule] = []
    inactive: dict[str, str] = {}
    for rule in sorted(ruleset.rules, key=lambda r: r.id):
        if rule.status not in RUNNING:
            continue
        if day is not None and rule.policy.expired(day):
            inactive[rule.id] = (
                f"it expired on {rule.policy.expires}; renew `expires`, or retire it"
            )
            continue
        try:
            logic = builder.logic(rule)
        except (Inactive, NotCalibrated, NotEnough, LevelError) as error:
            inactive[rule.id] = str(error).replace("\n  hint: ", "; ")
            continue
        policy = rule.policy if day is None else rule.policy.on(day)
        rules.append(CompiledRule(rule.id, rule.sha256, logic, rule.as_json(), policy))
    names = tuple(c.feature for c in columns)
    return Program(names, builder.used, tuple(rules), inactive, builder.computed)


@dataclass(frozen=True)
class Program:
    """Atoms (no two equal), the rules over them, and the rules that are inactive, with the
    reason.

    columns: the features of the bank that the atoms' column numbers index, in its order; computed: what stands in
    the columns behind them.
    """

    columns: tuple[str, ...]
    atoms: tuple[Atom, ...]
    rules: tuple[CompiledRule, ...]
    inactive: Mapping[str, str] = field(default_factory=dict)
    computed: tuple[Expr, ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.atoms)) != len(self.atoms):
            raise ValueError("a program has each atom once")
        if any(a.column >= len(self.columns) + len(self.computed) for a in self.atoms):
            raise ValueError(f"an atom reads a column beyond the {len(self.columns)} of the bank")
        if any(
            feature not in self.columns for score in self.computed for feature in score.features
        ):
            raise ValueError("a score reads a feature that the bank does not have")
        if any(not 0 <= atom < len(self.atoms) for r in self.rules for atom in r.logic.atoms):
            raise ValueError("a rule points to an atom that the program does not have")
        names = [r.rule for r in self.rules] + list(self.inactive)
        if len(set(names)) != len(names):
            raise ValueError("a program has each rule once, running or inactive")
        object.__setattr__(self, "inactive", MappingProxyType(dict(self.inactive)))

    @cached_property
    def canonical(self) -> bytes:
        """Everything that decides what fires, in canonical JSON; `from_json` reads it back."""
        return canonical(
            {
                "atoms": [a.as_json() for a in self.atoms],
                "columns": list(self.columns),
                "computed": [score.text for score in self.computed],
                "format": FORMAT,
                "inactive": dict(self.inactive),
                "kernel": KERNEL_VERSION,
                "rules": [r.as_json() for r in self.rules],
            }
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of `canonical`: equal programs decide equally."""
        return digest(self.canonical)

    def rule(self, name: str) -> CompiledRule:
        """A running rule by its id. Raises KeyError."""
        for rule in self.rules:
            if rule.rule == name:
                return rule
        raise KeyError(name)

    def blobs(self) -> dict[str, bytes]:
        """Content by SHA-256: this program and the text of each of its rules."""
        texts = {r.sha256: canonical(r.text) for r in self.rules}
        return {self.digest: self.canonical, **texts}

    @classmethod
    def from_json(cls, data: bytes) -> Program:
        """The program that wrote `data`; ValueError where this version would decide otherwise."""
        try:
            body = json.loads(data)
            found = (body["format"], body["kernel"])
            if found != (FORMAT, KERNEL_VERSION):
                raise ValueError(
                    f"program format {found[0]} for kernel {found[1]}; "
                    f"this version runs format {FORMAT} for kernel {KERNEL_VERSION}"
                )
            program = cls(
                tuple(str(c) for c in body["columns"]),
                tuple(Atom(**{**a, "scope": Scope(a["scope"])}) for a in body["atoms"]),
                tuple(map(CompiledRule.from_json, body["rules"])),
                {str(k): str(v) for k, v in body["inactive"].items()},
                tuple(map(parse, body["computed"])),
            )
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"not a program: {type(error).__name__}: {error}") from None
        if program.canonical != data:
            raise ValueError("not a program: its bytes are not canonical")
        return program
