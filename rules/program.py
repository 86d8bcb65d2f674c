"""Rules and calibrations become one program: what live, test, backtest and reproduction all run.

Owns the compiled form, its canonical JSON and its digest, and the list of rules that may not
alert with the reason. It never learns how a threshold is estimated: `detectors/calibrate.py`
places every level.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Protocol

import numpy as np

from dosimeter.detectors.calibrate import Calibration, NotCalibrated, NotEnough
from dosimeter.detectors.frames import CODE_MAX, CODE_UNSCORED, Scope
from dosimeter.detectors.levels import LevelError
from dosimeter.rules.atoms import KERNEL_VERSION, RUNNING, Atom, CompiledRule
from dosimeter.rules.canonical import canonical, digest
from dosimeter.rules.schema import RuleSet
from dosimeter.rules.when import When

FORMAT = 2


class BankColumn(Protocol):
    """What a column of the bank reads: the feature, and the digest of the pack it came from."""

    @property
    def feature(self) -> str: ...
    @property
    def pack(self) -> str: ...


def compile_program(
    ruleset: RuleSet, columns: Sequence[BankColumn], calibrations: Sequence[Calibration]
) -> Program:
    """Every shadow and live rule placed on this bank (columns in its order) and this traffic.

    A rule that cannot be placed (no column, no calibration for the column's pack, too little
    benign traffic, a threshold that no code is beyond) is inactive, with the reason. Raises
    ValueError where two calibrations stand for one feature and pack.
    """
    by_column: dict[tuple[str, str], Calibration] = {}
    for calibration in calibrations:
        for pair in zip(calibration.features, calibration.packs, strict=True):
            if by_column.setdefault(pair, calibration).digest != calibration.digest:
                raise ValueError(f"two calibrations of `{pair[0]}` with pack {pair[1][:12]}")
    atoms: dict[Atom, int] = {}
    rules: list[CompiledRule] = []
    inactive: dict[str, str] = {}
    for rule in sorted(ruleset.rules, key=lambda r: r.id):
        if rule.status not in RUNNING:
            continue
        try:
            atom, calibration = _place(rule.when, columns, by_column)
        except (_Inactive, NotCalibrated, NotEnough, LevelError) as error:
            inactive[rule.id] = str(error).replace("\n  hint: ", "; ")
            continue
        rules.append(
            CompiledRule(
                rule=rule.id,
                sha256=rule.sha256,
                atom=atoms.setdefault(atom, len(atoms)),
                feature=rule.when.feature,
                pack=columns[atom.column].pack,
                calibration=calibration.digest,
                text=rule.as_json(),
            )
        )
    return Program(tuple(c.feature for c in columns), tuple(atoms), tuple(rules), inactive)


class _Inactive(ValueError):
    """Why a rule may not alert, where no calibration could say so."""


def _place(
    when: When, columns: Sequence[BankColumn], calibrations: Mapping[tuple[str, str], Calibration]
) -> tuple[Atom, Calibration]:
    feature, shape = when.feature, when.shape
    features = [c.feature for c in columns]
    if feature not in features:
        raise _Inactive(f"no loaded pack scores `{feature}`; scored here: {_listed(features)}")
    column = features.index(feature)
    pack = columns[column].pack
    calibration = calibrations.get((feature, pack))
    if calibration is None:
        others = sorted(p[:12] for f, p in calibrations if f == feature)
        if others:
            raise _Inactive(
                f"`{feature}` was calibrated with pack {', '.join(others)}, "
                f"loaded is {pack[:12]}: it may not alert; calibrate again"
            )
        raise NotCalibrated(feature, sorted({f for f, _ in calibrations}))
    if when.direction == 1 or when.level.noun == "z":
        threshold = calibration.place(when.level, feature, when.scope, shape).threshold
    else:  # the lower tail is the upper tail of the negated codes
        codes = calibration.stream(feature).codes
        negated = np.where(codes == CODE_UNSCORED, codes, -codes)[:, None]
        mirror = replace(calibration, features=(feature,), packs=(pack,), codes=negated)
        threshold = -mirror.place(when.level, feature, when.scope, shape).threshold
    if threshold * when.direction >= CODE_MAX:
        text = when.level.text
        raise _Inactive(f"`{text}` of `{feature}` lies where codes saturate: nothing is beyond")
    return Atom(
        column, when.scope, when.direction, shape.kind, shape.n, threshold, shape.k
    ), calibration


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "nothing"


@dataclass(frozen=True)
class Program:
    """Atoms (no two equal), the rules over them, and the rules that are inactive, with the
    reason.

    columns: the features of the bank that the atoms' column numbers index, in its order.
    """

    columns: tuple[str, ...]
    atoms: tuple[Atom, ...]
    rules: tuple[CompiledRule, ...]
    inactive: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(set(self.atoms)) != len(self.atoms):
            raise ValueError("a program has each atom once")
        if any(a.column >= len(self.columns) for a in self.atoms):
            raise ValueError(f"an atom reads a column beyond the {len(self.columns)} of the bank")
        if any(not 0 <= r.atom < len(self.atoms) for r in self.rules):
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
                tuple(CompiledRule(**r) for r in body["rules"]),
                {str(k): str(v) for k, v in body["inactive"].items()},
            )
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"not a program: {type(error).__name__}: {error}") from None
        if program.canonical != data:
            raise ValueError("not a program: its bytes are not canonical")
        return program
