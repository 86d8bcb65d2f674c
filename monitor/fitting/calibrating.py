"""Benign or unlabelled texts through a pack's own op: the score streams that levels are placed on.

A conversation gives the scopes it has; a plain text can be a user's message as well as a model's answer, so it
stands for both. A reader sees one message at a time, so it is given each of a conversation's last two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from dosimeter.detectors.bank import ProbeBank
from dosimeter.detectors.calibrate import Calibration, NotEnough
from dosimeter.detectors.examples import Example
from dosimeter.detectors.frames import CODES_PER_SD, Scope, to_codes
from dosimeter.detectors.levels import Level, Shape
from dosimeter.detectors.pack import Pack
from dosimeter.monitor.fitting.subject import Subject

SHARES = (1000, 500, 200, 100, 50, 20, 10)
"""Levels that are tried, rarest first: the rarest that can be placed is shown, and what the next one lacks."""

MOST_ROUTES = 12


def calibrate(
    subject: Subject,
    packs: Sequence[Pack],
    examples: Sequence[Example],
    tell: Callable[[int, int], None],
    *,
    corpus: str,
    date: str,
    labelled: bool,
    answers_per_day: int | None = None,
) -> Calibration:
    """Route: the example's kind. Raises InputError where an example leaves nothing to read."""
    rows = [row for example in examples for row in _as_requests(subject, example)]
    tokens = [subject.tokens(row, scope) for row, scope in rows]
    bank = ProbeBank.from_packs(packs)
    found: dict[int, Any] = {}
    for index, scores in subject.scores(tokens, packs, tell):
        found[index] = (to_codes(scores), tokens[index].scopes[: len(scores)])
    return Calibration.from_requests(
        bank.columns,
        [found[i] for i in range(len(rows))],
        corpus=corpus,
        date=date,
        answers_per_day=answers_per_day,
        routes=[row.kind or "all" for row, _ in rows],
        labelled=labelled,
    )


def levels(
    calibration: Calibration, feature: str, scope: Scope, shape: Shape
) -> list[dict[str, Any]]:
    """For all traffic and every route: the rarest share that can be placed, and what keeps it from being promised."""
    routes: list[str | None] = [None]
    if len(calibration.routes) > 1:
        routes += calibration.routes[:MOST_ROUTES]
    noun = "messages" if scope is Scope.MESSAGE else "answers"
    return [_row(calibration, feature, scope, shape, route, noun) for route in routes]


def _row(
    calibration: Calibration,
    feature: str,
    scope: Scope,
    shape: Shape,
    route: str | None,
    noun: str,
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "route": route or "all",
        "scope": scope.name.lower(),
        "shape": _shape(shape),
    }
    missing = None
    for share in SHARES:
        level = Level.parse(f"1 in {share} {noun}")
        try:
            placed = calibration.place(level, feature, scope, shape, route)
        except NotEnough as error:
            missing = error
            continue
        certificate = calibration.certify(level, feature, scope, shape, route)
        return row | {
            "level": level.text,
            "threshold_sd": round(float(Fraction(placed.threshold, CODES_PER_SD)), 3),
            "units": placed.n_units,
            "exceedances": placed.exceedances,
            "bound95": round(placed.bound95, 6),
            "certified": certificate.certified,
            "says": _says(certificate.sentence, missing),
        }
    return row | {
        "level": "none",
        "threshold_sd": None,
        "units": missing.have if missing else 0,
        "exceedances": None,
        "bound95": None,
        "certified": False,
        "says": str(missing).replace("\n  hint: ", "; ") if missing else "no benign texts",
    }


def _says(certificate: str, missing: NotEnough | None) -> str:
    if missing is None:
        return certificate
    return f"{certificate}; the next rarer one needs {missing.need:,} texts"


def _shape(shape: Shape) -> str:
    return {
        "average": f"average {shape.n} tokens",
        "for": f"for {shape.n} tokens",
        "once": "once",
        "average_scope": "average of the scope",
    }[shape.kind]


def _as_requests(subject: Subject, example: Example) -> list[tuple[Example, Scope]]:
    if example.text is not None:
        return [(example, Scope.ANSWER), (example, Scope.MESSAGE)]
    if subject.reads != "reader":
        return [(example, Scope.ANSWER)]
    parts = [(m, s) for m, s in zip(example.messages[-2:], _scopes(example), strict=True)]
    return [(replace(example, text=m["content"], messages=()), scope) for m, scope in parts]


def _scopes(example: Example) -> list[Scope]:
    return [
        Scope.ANSWER if message["role"] == "assistant" else Scope.MESSAGE
        for message in example.messages[-2:]
    ]
