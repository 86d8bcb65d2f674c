"""Alerts as the real engine decided them on made-up traffic, with what the archive and the evidence keep of each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

import numpy as np

from dosimeter.detectors.frames import CODE_UNSCORED, Codes
from dosimeter.monitor.audit.evidence.archived import Archived
from dosimeter.monitor.audit.evidence.evidence_body import Body, decode_body, encode_body
from dosimeter.monitor.audit.evidence.reproduce import reproduce
from dosimeter.monitor.audit.evidence.reproduced import Reproduced
from dosimeter.monitor.history.evidence import Evidence
from dosimeter.rules.alert import AlertContext, build_alert
from dosimeter.rules.decide import Decision
from dosimeter.rules.engine import Engine, Hit
from dosimeter.rules.program import Program
from tests.rules.rule_streams import Traffic, run, traffic

EPOCH = 0xAB
LABELS = {"tenant": "city-post", "user": "user-7", "route": "chat"}
TIME_NS = 1_796_003_016_949_372_968


@dataclass
class Kept:
    """One alert. archived, body: what is kept of its request; tests change them."""

    core: dict[str, Any]
    program: Program
    archived: Archived | None
    body: Body | None
    asked: list[tuple[int, int, str, int]] = field(default_factory=list)

    def find(self, epoch: int, key: int, event_id: str, time_ns: int) -> Archived | None:
        self.asked.append((epoch, key, event_id, time_ns))
        return self.archived

    def under(self, program: Program) -> None:
        """As if this program had decided it; its id as the format of alerts defines it."""
        core = self.core
        about = [core["epoch"], core["key"], program.digest, core["rule"], core["position"]]
        hashed = sha256(json.dumps(about, separators=(",", ":")).encode()).hexdigest()[:20]
        core["event_id"] = f"{TIME_NS // 1_000_000:012x}{hashed}"
        core["program_sha256"], self.program = program.digest, program
        if self.archived is not None:
            self.archived = replace(self.archived, program=program.digest)

    def again(self) -> Reproduced:
        return reproduce(self.core, self.body, self.program, self)


def alerts(
    program: Program, seed: int, *, requests: int = 4, longest: int = 60, gaps: bool = True
) -> list[Kept]:
    made = traffic(seed, requests, longest)
    if not gaps:
        made.missing.update({key: set() for key in made.missing})
    hits = run(Engine(program), made, seed, 7, replays=True)
    return [kept(program, made, hit) for of in hits.values() for hit in of]


def kept(program: Program, made: Traffic, hit: Hit) -> Kept:
    context = AlertContext(
        TIME_NS, EPOCH, "lab", "ab" * 32, LABELS, frozenset(LABELS), "all was scored"
    )
    core = build_alert(hit, context, Decision("notified", True, "")).core
    codes = made.codes[hit.key].copy()
    codes[sorted(made.missing[hit.key])] = CODE_UNSCORED
    body = body_of(core, codes, program.columns)
    return Kept(core, program, archived(program, made, hit.key), body)


def body_of(core: Mapping[str, Any], codes: Codes, columns: Sequence[str]) -> Body:
    """64 tokens on each side of the span that decided."""
    first = max(0, core["start"] - 64)
    evidence = Evidence(first, tuple(columns), codes[first : core["end"] + 64])
    return decode_body(encode_body(core, evidence, columns))


def archived(program: Program, made: Traffic, key: int) -> Archived:
    runs = np.array(list(_runs(made, key)), np.int64).reshape(-1, 3)
    came = [p for p in range(len(made.codes[key])) if p not in made.missing[key]]
    vouched = {"tenant": LABELS["tenant"], "route": LABELS["route"]}
    return Archived(
        program.columns, made.codes[key][came], runs, program.digest, whole=True, vouched=vouched
    )


def _runs(made: Traffic, key: int) -> Iterator[tuple[int, int, int]]:
    start: int | None = None
    scopes, gone = made.scopes[key], made.missing[key]
    for position in range(len(scopes) + 1):
        over = position == len(scopes)
        cut = over or position in gone
        if start is not None and (cut or scopes[position] is not scopes[start]):
            yield start, position - start, int(scopes[start])
            start = None
        if start is None and not cut:
            start = position
