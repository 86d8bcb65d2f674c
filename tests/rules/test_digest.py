"""The record of what a limit kept back."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from dosimeter.rules.digest import RuleFacts, build_digest, digest_id, read_digest
from dosimeter.rules.remembered import Digest

GOLDEN = Path(__file__).parents[1] / "golden" / "rules" / "digest.json"

HOUR = 3600 * 10**9
FROM = 1_767_276_000 * 10**9  # 2026-01-01 14:00 UTC
DIGEST = Digest("scam", FROM, FROM + HOUR, 50, 123_456, 812, False)
RULE = RuleFacts("a" * 64, "high", "trust-and-safety", "https://wiki/scam")


def test_it_says_how_many_were_told_and_how_many_were_not() -> None:
    made = build_digest(DIGEST, RULE, "ledger-1")
    assert made.deliverable
    core = json.loads(made.canonical)
    assert core == {
        "v": 1,
        "event_id": made.event_id,
        "kind": "digest",
        "time_ns": FROM + HOUR,
        "rule": "scam",
        "rule_sha256": "a" * 64,
        "severity": "high",
        "owner": "trust-and-safety",
        "runbook": "https://wiki/scam",
        "from_ns": FROM,
        "to_ns": FROM + HOUR,
        "notified": 50,
        "limited": 123_456,
        "groups": 812,
        "groups_floor": False,
        "summary": "scam: 50 notified, 123,456 more of 812 groups were stored and not sent "
        "between 2026-01-01 14:00 and 2026-01-01 15:00 UTC",
    }


def test_the_record_is_byte_for_byte_the_golden_one() -> None:
    """`DOSIMETER_GOLDEN=write pytest tests/rules/test_digest.py` refreshes it; review the diff."""
    made = build_digest(DIGEST, RULE, "ledger-1").canonical + b"\n"
    if os.environ.get("DOSIMETER_GOLDEN") == "write":
        GOLDEN.write_bytes(made)
    assert made == GOLDEN.read_bytes()


@pytest.mark.parametrize(
    ("groups", "floor", "said"),
    [(1, False, "of 1 group were"), (10_000, True, "of more than 10,000 groups were")],
)
def test_groups_that_were_not_counted_to_the_end_are_said_to_be_more(
    groups: int, floor: bool, said: str
) -> None:
    made = build_digest(replace(DIGEST, groups=groups, groups_floor=floor), RULE, "")
    assert said in json.loads(made.canonical)["summary"]


def test_the_same_window_has_the_same_id_and_every_other_another() -> None:
    same = digest_id(replace(DIGEST, limited=1), "ledger-1")
    assert same == digest_id(DIGEST, "ledger-1")
    assert int(same[:12], 16) == (FROM + HOUR) // 10**6
    others = {
        same,
        digest_id(DIGEST, "ledger-2"),
        digest_id(replace(DIGEST, rule="other"), "ledger-1"),
        digest_id(replace(DIGEST, from_ns=FROM + HOUR - HOUR // 60), "ledger-1"),
        digest_id(DIGEST, "ledger-1", before=1),
        digest_id(DIGEST, "ledger-1", before=2),
    }
    assert len(others) == 6


def test_what_is_stored_is_read_back() -> None:
    assert read_digest(json.loads(build_digest(DIGEST, RULE, "").canonical)) == DIGEST
