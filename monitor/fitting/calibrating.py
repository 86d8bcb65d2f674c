"""Benign or unlabelled texts through a pack's own op: the score streams that levels are placed on.

A conversation gives the scopes it has; a plain text stands for an answer or a message, as the watched features are
read, and where both are, for both of one request. A reader sees one message at a time, so it is given those of a
conversation's last two that are watched.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from typing import Any

import numpy as np

from dosimeter.detectors.bank import ProbeBank
from dosimeter.detectors.calibrate import (
    EVERYWHERE,
    MAX_ROUTES,
    Calibration,
    Certificate,
    NotEnough,
)
from dosimeter.detectors.examples import Example
from dosimeter.detectors.findings import InputError, visible
from dosimeter.detectors.frames import CODE_UNSCORED, CODES_PER_SD, Codes, Scope, to_codes
from dosimeter.detectors.levels import Level, Shape
from dosimeter.detectors.pack import Pack
from dosimeter.detectors.registry import Feature, load_features
from dosimeter.monitor.fitting.subject import Subject, Tokens

SHARES = (1000, 500, 200, 100, 50, 20, 10)
"""Levels that are tried, rarest first: the rarest that can be placed is shown, and what the next one lacks."""

MOST_ROUTES = 12


@dataclass(frozen=True, slots=True)
class Request:
    """What stands for one request of traffic. parts: what is read for it, each with whose a plain text is."""

    row: Example
    parts: tuple[tuple[Scope, Tokens], ...]


def requests_of(
    subject: Subject,
    packs: Sequence[Pack] | Sequence[Feature],
    examples: Sequence[Example],
    scopes: Collection[Scope] | None = None,
) -> list[Request]:
    """One an example that has what is watched, in their order. Raises InputError where one leaves nothing to read.

    scopes: that are watched; None: those of the features
    """
    if len(kinds := {example.kind for example in examples}) > MAX_ROUTES:
        raise InputError.at(
            examples[0].place.name,
            f"its rows have {len(kinds)} kinds or routes, at most {MAX_ROUTES} are kept apart",
            "`kind`, `route`, `format` or `type` names a route: leave it out where it names a row",
        )
    known = load_features()
    names = [n for p in packs for n in (p.features if isinstance(p, Pack) else (p.name,))]
    if scopes is None:
        scopes = {known[n].read.scope if n in known else Scope.ANSWER for n in names}
    watched = sorted(scopes, reverse=True)
    found = []
    for example in examples:
        parts = _parts(subject, example, watched)
        if parts:
            read = tuple((scope, subject.tokens(row, scope)) for row, scope in parts)
            found.append(Request(example, read))
    return found


def calibrate(
    subject: Subject,
    packs: Sequence[Pack],
    requests: Sequence[Request],
    tell: Callable[[int, int], None],
    *,
    corpus: str,
    date: str,
    labelled: bool,
    answers_per_day: int | None = None,
) -> Calibration:
    """Route: the example's kind. What is longer than the subject reads at once is cut, and the corpus says so."""
    bank = ProbeBank.from_packs(packs)
    found = streams(subject, packs, requests, tell)
    tokens = [read for request in requests for _, read in request.parts]
    cut = sum(one.cut for one in tokens)
    return Calibration.from_requests(
        bank.columns,
        found,
        corpus=f"{corpus} ({cut} of {len(tokens)} cut for length)" if cut else corpus,
        date=date,
        answers_per_day=answers_per_day,
        routes=[visible(request.row.kind) or EVERYWHERE for request in requests],
        labelled=labelled,
    )


def streams(
    subject: Subject,
    packs: Sequence[Pack],
    requests: Sequence[Request],
    tell: Callable[[int, int], None],
) -> list[tuple[Codes, Any]]:
    """(codes int16 [T, F], scopes uint8 [T]) of each request, its parts end to end."""
    parts = [(request, *part) for request in requests for part in request.parts]
    tokens = [read for _, _, read in parts]
    found: dict[int, Any] = {}
    for index, scores in subject.scores(tokens, packs, tell):
        codes, scopes = to_codes(scores), tokens[index].scopes[: len(scores)]
        request, scope, _ = parts[index]
        if request.row.text is not None:  # a request that we made up around it is nobody's
            codes[scopes != scope] = CODE_UNSCORED
        found[index] = (codes, scopes)
    each = (found[i] for i in range(len(parts)))
    return [_end_to_end(islice(each, len(request.parts))) for request in requests]


def _end_to_end(parts: Iterable[tuple[Codes, Any]]) -> tuple[Codes, Any]:
    """Codes and scopes of one request; parts next to each other are of different scopes."""
    codes, scopes = zip(*parts, strict=True)
    return np.concatenate(codes), np.concatenate(scopes)


def levels(
    calibration: Calibration, feature: str, scope: Scope, shape: Shape
) -> list[dict[str, Any]]:
    """For all traffic and every route: the rarest share that can be placed, and what keeps it from being promised."""
    routes: list[str | None] = [None]
    if len(calibration.routes) > 1:
        sizes = np.bincount(calibration.by_route, minlength=len(calibration.routes))
        routes += [calibration.routes[i] for i in np.argsort(-sizes, kind="stable")[:MOST_ROUTES]]
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
            # Above a threshold that is certified lies no more than above itself.
            "certified": certificate.threshold is not None
            and placed.threshold >= certificate.threshold,
            "says": _says(_promised(certificate, calibration.labelled), missing, placed.own),
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


def _promised(certificate: Certificate, labelled: bool) -> str:
    """A certificate belongs to a threshold of its own, above the one that was placed."""
    if certificate.threshold is None:
        return certificate.sentence
    what = "" if labelled else ", counting alerts that are right"
    return f"certified from {certificate.threshold / CODES_PER_SD:.2f} sd on{what}"


def _says(certificate: str, missing: NotEnough | None, own: float) -> str:
    said = [certificate]
    if own < 1:
        said.append(f"{own:.0%} of it is the route's own, the rest the pool's")
    if missing is not None:
        said.append(f"the next rarer one needs {missing.need:,} texts")
    return "; ".join(said)


def _shape(shape: Shape) -> str:
    return {
        "average": f"average {shape.n} tokens",
        "for": f"for {shape.n} tokens",
        "once": "once",
        "average_scope": "average of the scope",
        "at_least": f"at least {shape.k} of {shape.n} tokens",
        "average_last": f"average of the last {shape.n} tokens",
    }[shape.kind]


def _parts(
    subject: Subject, example: Example, scopes: Sequence[Scope]
) -> list[tuple[Example, Scope]]:
    """A plain text once for every scope that is watched; of a conversation a reader gets each such message."""
    if example.text is not None:
        return [(example, scope) for scope in scopes]
    if subject.reads != "reader":
        return [(example, Scope.ANSWER)]
    by_role = {"assistant": Scope.ANSWER, "user": Scope.MESSAGE}
    found = {}
    for message in example.messages[-2:]:  # of two of one role the last
        scope = by_role.get(message["role"])
        if scope in scopes and scope is not None:
            found[scope] = replace(example, text=message["content"], messages=())
    return [(row, scope) for scope, row in found.items()]
