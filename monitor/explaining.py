"""Why an alert came: its rule, each condition with its level and how rare such a value is, what ordinary traffic looks
most like it, and what became of it.

It owns the facts. The arithmetic is in `rules/backtesting/rarity`; records, evidence and blobs come from whoever asks,
a ledger or a history, and it never learns how the facts are drawn.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.frames import Scope
from dosimeter.monitor.history.evidence import Evidence
from dosimeter.rules.alert import in_sd, value_text
from dosimeter.rules.atoms import Atom
from dosimeter.rules.backtesting.rarity import lookalikes, share_beyond
from dosimeter.rules.language.expr import ExprError, parse
from dosimeter.rules.placing import Measured
from dosimeter.rules.program import Program

Blobs = Callable[[str], bytes | None]
"""What has this hash, or None."""


def explain(
    record: Mapping[str, Any],
    evidence: Evidence | None,
    blob: Blobs,
    folders: Sequence[Path],
) -> dict[str, Any]:
    """The facts, as one JSON object. folders: calibrations. Raises InputError for one that cannot be read."""
    calibrations = [Calibration.load(folder) for folder in folders]
    program = _program(blob, record)
    each = [record, *(one for one in record.get("also", ()) if isinstance(one, dict))]
    each.sort(key=lambda one: int(one.get("clause", 0)))
    return {
        "event_id": record.get("event_id"),
        "request": f"{record['epoch']}/{record['key']}",
        "rule": record.get("rule"),
        "decision": record.get("decision"),
        "reason": record.get("reason"),
        "would_act": record.get("would_act"),
        "status": record.get("status"),
        "conditions": [_condition(one, record, program, calibrations) for one in each],
        "lacking": {
            str(f): _lacking(c, each)
            for f, c in zip(folders, calibrations, strict=True)
            if _lacking(c, each)
        },
        "lookalikes": list(
            _lookalikes(record, evidence, [c for c in calibrations if not _lacking(c, each)])
        ),
        "text": _text(blob, record),
    }


def _program(blob: Blobs, record: Mapping[str, Any]) -> Program | None:
    """The program that decided; None where nobody has it, or another version wrote it."""
    body = blob(str(record.get("program_sha256")))
    try:
        return None if body is None else Program.from_json(body)
    except ValueError:
        return None


def _text(blob: Blobs, record: Mapping[str, Any]) -> Any:
    body = blob(str(record.get("rule_sha256")))
    return None if body is None else json.loads(body)


def _condition(
    one: Mapping[str, Any],
    record: Mapping[str, Any],
    program: Program | None,
    calibrations: Sequence[Calibration],
) -> dict[str, Any]:
    value, n = int(one["value_sum"]), int(one["value_n"])
    shape, feature = str(one["shape"]), str(one["feature"])
    atom = None if program is None else _atom(program, record, one)
    rare = "" if atom is None else _rare(one, atom, calibrations)
    unit = "" if shape == "share" else " sd"
    return {
        "condition": f"{feature} in {one['scope']}, {_words(atom, shape)}",
        "value": value_text(shape, value, n) + unit,
        "threshold": in_sd(int(one["threshold_code"])) + " sd",
        "level": one["level"],
        "as rare as": rare,
        "tokens": f"{one['start']} to {one['end']}",
    }


def _words(atom: Atom | None, shape: str) -> str:
    if atom is None:
        return shape.replace("_", " ")
    return {
        "once": "one token",
        "for": f"for {atom.n} tokens",
        "average": f"average of {atom.n} tokens",
        "at_least": f"at least {atom.k} of {atom.n} tokens",
        "average_last": f"average of the last {atom.n} tokens",
        "average_scope": "average of all of it",
        "share": f"at least {atom.k} % of it beyond",
    }[shape]


def _atom(program: Program, record: Mapping[str, Any], one: Mapping[str, Any]) -> Atom | None:
    try:
        clause = program.rule(str(record["rule"])).logic.clauses[int(one["clause"])]
    except (KeyError, IndexError):
        return None
    atoms = [program.atoms[literal.atom] for literal in clause.literals
             if (literal.feature, literal.level) == (one["feature"], one["level"])]  # fmt: skip
    return next((atom for atom in atoms if _fits(atom, one)), None)


def _fits(atom: Atom, one: Mapping[str, Any]) -> bool:
    """Under `any` may stand conditions that differ in scope, side or length alone, and the record names no length."""
    said = (one["scope"], one["shape"], one["threshold_code"])
    if (atom.scope.name.lower(), atom.shape, atom.threshold) != said:
        return False
    value, n = int(one["value_sum"]), int(one["value_n"])
    if atom.shape == "share":
        return 100 * value >= atom.k * n
    length = int(one["end"]) - int(one["start"])
    long = {
        "for": length >= atom.n,
        "average": length == atom.n,
        "at_least": length <= atom.n,
        "average_last": length <= atom.n,
    }
    return atom.direction * (value - atom.threshold * n) > 0 and long.get(atom.shape, True)


def _rare(one: Mapping[str, Any], atom: Atom, calibrations: Sequence[Calibration]) -> str:
    for calibration in calibrations:
        stream = _levels(calibration, str(one["feature"]), str(one["pack_sha256"]))
        if stream is None:
            continue
        share = share_beyond(
            stream.calibration.stream(str(one["feature"])),
            atom,
            int(one["value_sum"]),
            int(one["value_n"]),
        )
        other = stream.digest != one["calibration_sha256"]
        return f"{share}{' (another calibration than the rule had)' if other else ''}"
    return ""


def _lacking(calibration: Calibration, conditions: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The features of these conditions that it has no scores of."""
    found: dict[str, None] = {}
    for one in conditions:
        name = str(one["feature"])
        try:
            found |= dict.fromkeys(parse(name).features)
        except ExprError:
            found[name] = None
    return tuple(name for name in found if name not in calibration.features)


def _levels(calibration: Calibration, feature: str, pack: str) -> Measured | None:
    """The calibration with this column: one of its features, or a score over them."""
    if (feature, pack) in zip(calibration.features, calibration.packs, strict=True):
        return Measured(calibration)
    try:
        score = parse(feature)
    except ExprError:
        return None
    if not set(score.features) <= set(calibration.features) or pack not in calibration.packs:
        return None
    return Measured(calibration).of_score(score, pack)


def _lookalikes(
    record: Mapping[str, Any], evidence: Evidence | None, calibrations: Sequence[Calibration]
) -> Iterator[dict[str, Any]]:
    if evidence is None or not calibrations:
        return
    low = max(0, int(record["start"]) - evidence.first)
    codes = evidence.codes[low : int(record["end"]) - evidence.first]
    scope = Scope[str(record["scope"]).upper()]
    for calibration in calibrations:
        shared = [name for name in evidence.columns if name in calibration.features]
        for one in lookalikes(calibration, scope, codes, evidence.columns):
            yield {
                "request": one.request,
                "route": one.route,
                "distance": round(one.distance, 3),
                "scores": dict(zip(shared, (round(x, 3) for x in one.scores), strict=True)),
            }
