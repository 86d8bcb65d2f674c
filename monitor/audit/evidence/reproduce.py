"""A stored record decided again: the same program, on the same codes, must say the same, to the bit.

Owns which codes are taken (those of the whole request, as the score archive keeps them, or else those around the span,
as the evidence keeps them) and what each is compared with. Where a record and its blobs come from it never learns:
`Store` and `Requests` say what it asks for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from dosimeter.detectors.frames import CODE_UNSCORED, Codes, Scope
from dosimeter.monitor.audit.evidence.archived import Archived
from dosimeter.monitor.audit.evidence.evidence_body import Body
from dosimeter.monitor.audit.evidence.reproduce_second import (
    Hits,
    reproduce_count,
    reproduce_digest,
)
from dosimeter.monitor.audit.evidence.reproduce_window import (
    NotMet,
    TooShort,
    hit_in_window,
    replayed,
)
from dosimeter.monitor.audit.evidence.reproduced import Reproduced, cannot, compared, said
from dosimeter.monitor.history.archive_part import NotAPart
from dosimeter.rules.alert import AlertContext, build_alert
from dosimeter.rules.atoms import CompiledRule
from dosimeter.rules.backtesting.backtest import asks_beyond
from dosimeter.rules.canonical import digest
from dosimeter.rules.decide import Decision
from dosimeter.rules.engine import Hit
from dosimeter.rules.program import Program

BY_REQUEST, BY_WINDOW = "by the whole request", "by the evidence window"
ARCHIVED = ("tenant", "route")
"""Labels that the archive keeps, where somebody vouches for them."""
MALFORMED = (KeyError, TypeError, AttributeError, IndexError, ValueError, OverflowError)
"""What a record that is none ends in."""


def claim_of(leaf: Mapping[str, Any], terms: Mapping[str, Any]) -> dict[str, Any]:
    """A leaf with its terms, as the record that they were made of, without what is personal."""
    record = {**leaf, **{name: value for name, value in terms.items() if name != "also"}}
    if "also" in leaf:
        constant = [*terms.get("also", ()), *[{}] * len(leaf["also"])]
        record["also"] = [{**one, **own} for one, own in zip(constant, leaf["also"], strict=False)]
    if "id" in leaf:
        record["event_id"] = leaf["id"]
    return record


class Requests(Protocol):
    """The score archive."""

    def find(self, epoch: int, key: int, event_id: str, time_ns: int) -> Archived | None:
        """Raises NotAPart."""


class Store(Hits, Protocol):
    """A ledger, or history."""

    def body(self, core: Mapping[str, Any]) -> Body | None:
        """The evidence of an alert, None where there is none any more. Raises EvidenceError."""

    def blob(self, sha256: str) -> bytes | None: ...


class Reproducer:
    """Decides records of any kind again. archive: None where scores are not kept."""

    def __init__(self, store: Store, archive: Requests | None) -> None:
        self.store, self._archive = store, archive
        self._program = lru_cache(maxsize=16)(self._read_program)

    def __call__(self, core: Mapping[str, Any]) -> Reproduced:
        """core: a record as the ledger has it; in history, a leaf with its terms."""
        kind = core.get("kind")
        try:
            if kind == "alert":
                program = self._program(core["program_sha256"])
                return reproduce(core, self.store.body(core), program, self._archive)
            if kind == "count":
                return reproduce_count(core, self._text(core), self.store)
            if kind == "digest":
                return reproduce_digest(core, self._text(core), self.store)
        except _Missing as error:
            return cannot(str(error))
        except MALFORMED as error:
            return cannot(f"it cannot be read: {type(error).__name__}: {error}")
        return cannot(f"of `{kind}` the input is not kept")

    def _read_program(self, sha256: str) -> Program:
        return Program.from_json(self._blob(sha256, "program"))

    def _text(self, core: Mapping[str, Any]) -> Mapping[str, Any]:
        found: dict[str, Any] = json.loads(self._blob(core["rule_sha256"], "rule"))
        return found

    def _blob(self, sha256: str, what: str) -> bytes:
        found = self.store.blob(sha256)
        if found is None:
            raise _Missing(f"the {what} {sha256[:12]} is not kept")
        if digest(found) != sha256:
            raise _Missing(f"what is stored as the {what} {sha256[:12]} is another one")
        return found


class _Missing(Exception):
    """What it takes is not there. Says what."""


def reproduce(
    core: Mapping[str, Any], body: Body | None, program: Program, archive: Requests | None
) -> Reproduced:
    """An alert. core: as above. body: its evidence, None where it was erased. Raises MALFORMED."""
    if core["program_sha256"] != program.digest:
        wrong = said("program_sha256", core["program_sha256"], program.digest)
        return Reproduced("differs", because=wrong)
    try:
        rule = program.rule(core["rule"])
    except KeyError:
        return Reproduced("differs", because=f"rule: the program does not run `{core['rule']}`")
    request, why = _find(core, archive)
    if request is not None:
        found = _by_request(core, body, program, rule, request)
        if found.status == "same" or (found.status == "differs" and request.whole):
            return found
        why = found.because or why
        if found.status == "differs":
            why = f"the archive lost tokens of this request; {why}"
    if body is None or not body.columns:
        return cannot(f"{why}; and its evidence is not there")
    found = _by_window(core, body, program, rule)
    return cannot(f"{why}; and {found.because}") if found.status == "cannot" else found


def _find(core: Mapping[str, Any], archive: Requests | None) -> tuple[Archived | None, str]:
    if archive is None:
        return None, "there is no score archive"
    epoch, key = int(core["epoch"], 16), int(core["key"], 16)
    try:
        found = archive.find(epoch, key, core["event_id"], core["time_ns"])
    except NotAPart as error:
        return None, str(error).replace("\n  hint: ", "; ")
    return found, "" if found else "the score archive does not have the request"


def _by_request(
    core: Mapping[str, Any],
    body: Body | None,
    program: Program,
    rule: CompiledRule,
    request: Archived,
) -> Reproduced:
    missing = [name for name in _read_by(program, rule) if name not in request.features]
    if missing:
        return Reproduced("cannot", because=f"the archive has no scores of `{missing[0]}`")
    if request.program != program.digest:
        wrong = said("program_sha256", program.digest, request.program)
        return Reproduced("differs", BY_REQUEST, f"{wrong} by the archive")
    labels = _vouched(core, body, request.vouched)
    beyond = asks_beyond(rule, ARCHIVED)
    if body is None and beyond:
        return Reproduced("cannot", because=f"`{beyond[0]}`, which the rule asks for, was erased")
    for contradiction in _contradictions(body, request) if body is not None else ():
        return Reproduced("differs", BY_REQUEST, contradiction)
    codes = np.full((len(request.codes), len(program.columns)), CODE_UNSCORED, np.int16)
    for index, name in enumerate(program.columns):
        if name in request.features:
            codes[:, index] = request.codes[:, request.features.index(name)]
    runs = [(start, n, Scope(scope)) for start, n, scope in request.runs.tolist()]
    hits = [
        hit
        for hit in replayed(
            program,
            runs,
            codes,
            key=int(core["key"], 16),
            labels=labels,
            model=core["model"]["name"],
        )
        if hit.rule == rule.rule
    ]
    mine = next((hit for hit in hits if hit.position == core["position"]), None)
    if mine is None:
        at = ", ".join(str(hit.position) for hit in hits)
        fires = f"fires at {at}" if hits else "does not fire"
        return Reproduced(
            "differs", BY_REQUEST, f"position: `{rule.rule}` {fires}, not at {core['position']}"
        )
    return _compared(core, body, mine, BY_REQUEST)


def _by_window(
    core: Mapping[str, Any], body: Body, program: Program, rule: CompiledRule
) -> Reproduced:
    labels = _vouched(core, body, {})
    model = core["model"]["name"]
    if not rule.policy.applies(labels, model):
        return Reproduced("differs", BY_WINDOW, f"rule: `{rule.rule}` is not for this request")
    try:
        hit = hit_in_window(core, body, program, rule, rule.policy.exemption(labels, model))
    except TooShort as error:
        return cannot(str(error))
    except NotMet as error:
        return Reproduced("differs", BY_WINDOW, str(error))
    return _compared(core, body, hit, BY_WINDOW)


def _read_by(program: Program, rule: CompiledRule) -> Iterator[str]:
    for index in rule.logic.atoms:
        beyond = program.atoms[index].column - len(program.columns)
        if beyond >= 0:
            yield from program.computed[beyond].features
        else:
            yield program.columns[beyond]


def _vouched(
    core: Mapping[str, Any], body: Body | None, archived: Mapping[str, str]
) -> dict[str, str]:
    """The labels that decide: as the archive has them, for those of a record may have been cut."""
    trusted = core.get("trusted", [])
    found = {n: v for n, v in (body.labels if body else {}).items() if n in trusted}
    return found | dict(archived)


def _contradictions(body: Body, request: Archived) -> Iterator[str]:
    """Where the evidence has other codes than the archive."""
    rows = np.concatenate(
        [np.arange(s, s + n) for s, n, _ in request.runs.tolist()] or [np.zeros(0)]
    )
    at = {position: row for row, position in enumerate(rows.astype(int).tolist())}
    kept = [(name, body.first, body.codes[:, i]) for i, name in enumerate(body.columns)]
    kept += [(name, body.at or 0, np.array([code])) for name, code in body.vector.items()]
    for name, first, codes in kept:
        if name not in request.features:
            continue
        column: Codes = request.codes[:, request.features.index(name)]
        for position, code in enumerate(codes.tolist(), first):
            archived = int(column[at[position]]) if position in at else CODE_UNSCORED
            if code != archived and (request.whole or CODE_UNSCORED not in (code, archived)):
                yield (
                    f"evidence: the code of `{name}` at {position} is {code}, in the archive it is {archived}"
                )


def _compared(core: Mapping[str, Any], body: Body | None, hit: Hit, by: str) -> Reproduced:
    """The record that this hit would have become beside the one that is stored."""
    context = AlertContext(
        time_ns=core["time_ns"],
        epoch=int(core["epoch"], 16),
        model=core["model"]["name"],
        model_digest=core["model"]["digest"],
        labels=body.labels if body else {},
        trusted=frozenset(core.get("trusted", [])),
        coverage="",
    )
    given = Decision(core["decision"], core["would_act"], core["reason"])
    again = build_alert(hit, context, given).core
    stored = {"also": [], **core}
    if body is None:
        del again["summary"]
    else:
        stored["summary"] = body.summary
    exempt = hit.exempt is not None
    if core["status"] == "live" and (core["decision"] == "exempt") is not exempt:
        wrong = said("decision", core["decision"], "exempt" if exempt else "not exempt")
        return Reproduced("differs", by, wrong)
    return compared(stored, again, by)
