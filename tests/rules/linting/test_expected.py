"""How often rules fire on benign traffic: counted by hand, and with an interval from another formula."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.frames import CODES_PER_SD
from dosimeter.rules.language.schema import parse_rules
from dosimeter.rules.linting.expected import Expected, expect

PACK = "a" * 64
REQUESTS = 1000


def calibration(per_day: int | None = None) -> Calibration:
    """Request i: a message token of i codes, no token at all where i ends in 7, then two answer tokens of 2 i codes."""
    pieces = [np.array([i, 2 * i, 2 * i]) if i % 10 != 7 else np.zeros(0) for i in range(REQUESTS)]
    codes = np.concatenate(pieces).astype(np.int16)[:, None]
    lengths = [len(piece) for piece in pieces]
    return Calibration(
        features=("scam",),
        packs=(PACK,),
        codes=codes,
        offsets=np.cumsum([0, *lengths], dtype=np.int64),
        scopes=np.tile(np.array([2, 3, 3], np.uint8), len(codes) // 3),
        corpus="made by hand",
        date="2026-11-20",
        answers_per_day=per_day,
    )


RULES = f"""
version: 1
rules:
  - rule: answers        # 2 i > 1600: i from 801, of which 20 have no token
    when: {{feature: scam, in: answer, above: z {1600 / CODES_PER_SD}, for: 2 tokens}}
    status: live
    severity: low
    owner: x
    only: {{tenant: acme}}
    unless: [{{tenant: acme, reason: r, by: b, until: 2027-01-01}}]
    summary: x
  - rule: messages       # i > 990: nine, without 997
    when: {{feature: scam, in: message, above: z {990 / CODES_PER_SD}}}
    status: shadow
    severity: low
    summary: x
  - rule: never
    when: {{feature: scam, in: answer, above: z 100}}
    status: live
    severity: low
    owner: x
    summary: x
  - rule: idle
    when: {{feature: power, in: answer, above: z 1}}
    status: live
    severity: low
    owner: x
    summary: x
  - rule: over
    when: {{feature: scam, in: answer, above: z 1}}
    status: shadow
    severity: low
    expires: 2026-12-31
    summary: x
  - rule: sketch
    when: {{feature: scam, in: answer, above: z 1}}
    status: draft
    severity: low
    summary: x
"""
DAY = date(2027, 1, 1)


def test_each_running_rule_is_counted_over_all_requests_whoever_it_is_for() -> None:
    told: list[int] = []
    found = expect(parse_rules(RULES), calibration(), None, DAY, told.append)
    fires = {name: one.fires for name, one in found.rules.items()}
    assert fires == {"answers": 199 - 20, "messages": 8, "never": 0}
    assert {one.of for one in found.rules.values()} == {REQUESTS}
    assert (found.any_rule.fires, found.any_live.fires) == (179, 179)
    assert "no loaded pack scores `power`" in found.inactive["idle"]
    assert "it expired on 2026-12-31" in found.inactive["over"]
    assert told == sorted(told)
    assert told[-1] == REQUESTS


def test_a_day_is_what_the_caller_says_or_else_the_calibration() -> None:
    rules = parse_rules(RULES)
    assert expect(rules, calibration(50_000), None, DAY).per_day == 50_000
    assert expect(rules, calibration(50_000), 2_000, DAY).per_day == 2_000
    assert expect(rules, calibration(), None, DAY).per_day is None


def tail(k: int, n: int, p: float) -> float:
    """P(X >= k), term by term."""
    return sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1))


@pytest.mark.parametrize("fires", [1, 8, 40])
def test_the_interval_holds_what_at_least_95_in_100_such_samples_allow(fires: int) -> None:
    one = Expected(fires, 100)
    assert tail(fires, 100, one.low) == pytest.approx(0.025, rel=1e-6)
    assert 1 - tail(fires + 1, 100, one.high) == pytest.approx(0.025, rel=1e-6)


def test_of_none_there_is_an_upper_bound() -> None:
    assert Expected(0, 100).low == 0
    assert Expected(0, 100).high == pytest.approx(1 - 0.05 ** (1 / 100), rel=1e-6)


@pytest.mark.parametrize(
    ("found", "per_day", "text"),
    [
        (
            Expected(10, 10_000),
            50_000,
            "about 50 alerts a day (95 % interval 24 to 92) of 50000 answers a day",
        ),
        (
            Expected(0, 3000),
            100_000,
            "0 of 3000 benign answers, at most 100 alerts a day of 100000 answers a day",
        ),
        (
            Expected(10, 10_000),
            None,
            "10 of 10000 benign answers (95 % interval 0.048 % to 0.18 %)",
        ),
        (Expected(0, 3000), None, "0 of 3000 benign answers, at most 0.1 %"),
        (
            Expected(0, 0),
            10,
            "0 of 0 benign answers, at most 10 alerts a day of 10 answers a day",
        ),
    ],
)
def test_it_is_told_in_two_digits(found: Expected, per_day: int | None, text: str) -> None:
    assert found.told(per_day) == text


def test_the_lines_name_every_rule_and_what_was_counted() -> None:
    found = expect(parse_rules(RULES), calibration(), 10_000, DAY)
    lines = found.told()
    assert [line.split(":")[0] for line in lines] == [
        "answers", "messages", "never", "idle", "over", "any rule", "any live rule", "counted on",
    ]  # fmt: skip
    body = found.as_json()
    assert body["rules"]["answers"]["a_day"] == pytest.approx(1790)
    assert body["any_rule"]["answers"] == 179
    assert set(body["inactive"]) == {"idle", "over"}
    assert lines[3] == "idle: inactive"
    assert "a_day" not in replace(found, per_day=None).as_json()["rules"]["answers"]


SHORT = """
version: 1
rules:
  - {{rule: r, status: live, owner: x, severity: low, summary: x, when: {when}}}
"""
Z = "{feature: scam, in: answer, above: z 1}"


@pytest.mark.parametrize(
    ("when", "why"),
    [
        ("{feature: scam, in: answer, above: z 1, for: 3 tokens}",
         "none of the 900 answers has 3 scored tokens in a row; shorten the window, or calibrate on longer answers"),
        ("{feature: scam, in: message, above: z 1, average: 2 tokens}",
         "none of the 900 messages has 2 scored tokens in a row; "
         "shorten the window, or calibrate on longer messages"),
        ("{feature: scam, in: answer, above: 1 in 10 answers, average: answer, min-tokens: 60}",
         "none of the 900 answers has 60 scored tokens; lower `min-tokens` or calibrate on longer answers"),
        ("{score: scam + scam, in: answer, above: z 1, at-least: 3 of 4 tokens}",
         "none of the 900 answers has 3 scored tokens in a row; shorten the window, or calibrate on longer answers"),
        ("{feature: scam, in: tool, above: z 1}",
         "no token is `tool`; calibrate on traffic that has some"),
        ("{all: [" + Z + ", {any: [" + Z[:-1] + ", for: 3 tokens}, {feature: scam, in: tool, above: z 1}]}]}",
         "none of the 900 answers has 3 scored tokens in a row; shorten the window, or calibrate on longer answers"),
    ],
)  # fmt: skip
def test_a_rule_for_which_no_request_is_long_enough_is_told_so(when: str, why: str) -> None:
    found = expect(parse_rules(SHORT.format(when=when)), calibration(), None, DAY)
    assert found.never == {"r": f"never fires here: {why}"}


@pytest.mark.parametrize(
    "when",
    [
        "{feature: scam, in: answer, above: z 100}",
        "{feature: scam, in: answer, above: 1 in 1000 answers}",
        "{feature: power, in: answer, above: z 1, for: 9 tokens}",
        "{all: [" + Z + ", {not: {feature: scam, in: tool, above: z 1}}]}",
        "{any: [" + Z + ", {feature: scam, in: tool, above: z 1}]}",
    ],
)
def test_what_could_be_decided_is_not_called_too_short(when: str) -> None:
    assert expect(parse_rules(SHORT.format(when=when)), calibration(), None, DAY).never == {}
