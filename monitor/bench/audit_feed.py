"""Alerts as a feed brings them, in any number: cores and evidence of the size and entropy that the demo's have.

Owns what is made up: 20 rules, 40 tenants, users from a pool, a new conversation and request each, and 48 to 64 rows of
the codes of 5 features. It measures nothing and stores nothing.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.frames import CODES_PER_SD
from dosimeter.monitor.feed.items import Alert, Batch
from dosimeter.monitor.history.evidence import Evidence, encode_evidence
from dosimeter.rules.alert import record_id
from dosimeter.rules.canonical import canonical, digest

RULES, TENANTS, USERS = 20, 40, 20_000
FEATURES = ("deception", "sycophancy", "scam", "defection", "scam_warning")
SEVERITIES = ("critical", "high", "medium", "low")
SOURCE = "5e" * 16
BEGIN_NS = 1_772_323_200 * 10**9
"""2026-03-01T00:00Z."""
STEP_NS = 50_000_000
_SEED = 6


@dataclass
class Traffic:
    """known: every name is one that came before, as when the same people go on talking."""

    source: str = SOURCE
    known: bool = False
    seed: int = _SEED
    begin_ns: int = BEGIN_NS
    step_ns: int = STEP_NS
    users: int = USERS
    terms: list[dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._codes = _walk(np.random.default_rng(self.seed))
        self.terms = [rule(n) for n in range(RULES)]

    def batches(self, count: int, *, size: int = 500, first_seq: int = 1) -> Iterator[Batch]:
        for first in range(first_seq, first_seq + count, size):
            past = min(first + size, first_seq + count)
            yield Batch(tuple(map(self.alert, range(first, past))), {self.source: past - 1})

    def alert(self, seq: int) -> Alert:
        """The one at this position of the source, from 1; another call makes another."""
        dice = self._random
        constant = self.terms[min(int(dice.expovariate(0.2)), RULES - 1)]
        tokens, start = 48 + seq % 17, 30 + seq % 11
        span = 8 if constant["shape"] == "average" else 4
        mean = constant["threshold_code"] + int(dice.expovariate(1 / 60))
        time_ns = self.begin_ns + seq * self.step_ns + dice.randrange(10**6)
        event_id = record_id(time_ns, f"{self.source}/{self.seed}/{seq}".encode())
        tenant, user = (
            f"tenant-{dice.randrange(TENANTS):02d}",
            dice.randrange(self.users // TENANTS),
        )
        call = seq % self.users if self.known else seq
        labels = {
            "tenant": tenant,
            "user": f"{tenant}-user-{user}",
            "conversation": f"{tenant}-{call:08x}",
            "request_id": f"chatcmpl-{dice.getrandbits(96):024x}",
            "traceparent": f"00-{dice.getrandbits(128):032x}-{dice.getrandbits(64):016x}-01",
        }
        if self.known:
            name = f"user-{seq % TENANTS}"
            labels |= {"tenant": "tenant-00", "user": name, "conversation": f"{name}-{call % 500}"}
        scored = f"{start + span} of {start + span} tokens of this request were scored so far"
        core = constant | {
            "also": [], "clause": 0, "coverage": scored, "decision": "notified" if seq % 3 else "shadow",
            "end": start + span, "epoch": self.source[:16], "event_id": event_id, "key": f"{seq:016x}",
            "kind": "alert", "labels": labels, "position": start + span - 1, "reason": "", "start": start,
            "summary": f"{constant['feature'].capitalize()} in an answer of dosimeter-lab to {tenant}: "
                       f"{mean / CODES_PER_SD:.2f} sd over {span} tokens",
            "time_ns": time_ns, "tokens_scored": start + span, "tokens_unscored": 0,
            "trusted": sorted(labels), "v": 2, "value_n": span, "value_sum": mean * span, "would_act": bool(seq % 3),
        }  # fmt: skip
        row = dice.randrange(len(self._codes) - tokens)
        body = encode_evidence(Evidence(0, FEATURES, self._codes[row : row + tokens]))
        return Alert(self.source, seq, event_id, canonical(core), body, True)


def rule(n: int) -> dict[str, Any]:
    """What is constant in its records."""
    name = f"team-{n % 4}.rule-{n:02d}"
    return {
        "calibration_sha256": digest(b"calibration"),
        "feature": FEATURES[n % len(FEATURES)],
        "level": "1 in 1000 answers" if n % 2 else "20 a day",
        "model": {"digest": digest(b"model"), "name": "dosimeter-lab"},
        "owner": f"team-{n % 4}",
        "pack_sha256": digest(b"pack"),
        "program_sha256": digest(b"program"),
        "rule": name,
        "rule_labels": {},
        "rule_sha256": digest(name.encode()),
        "runbook": f"https://example.org/runbooks/{name}",
        "scope": "answer",
        "severity": SEVERITIES[n % len(SEVERITIES)],
        "shape": "average" if n % 2 else "for",
        "status": "shadow" if n % 5 == 4 else "live",
        "threshold_code": 450 + 23 * n,
    }


def _walk(rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """int16 [T, F], sd 1, each half of the last, as neighbouring tokens have it."""
    noise = rng.standard_normal((20_000, len(FEATURES))) * 0.75**0.5
    for row in range(1, len(noise)):
        noise[row] += 0.5 * noise[row - 1]
    return np.asarray((CODES_PER_SD * noise).round(), np.int16)
