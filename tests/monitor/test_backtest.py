"""A backtest over an archive: estimates hold for the traffic that the archive stands for, whatever the sample took."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.findings import InputError
from dosimeter.detectors.frames import SEGMENTS, Codes, Scope
from dosimeter.monitor.backtest import Answer, Wanted, backtest
from dosimeter.monitor.history.archive_folder import ArchiveFolder
from dosimeter.monitor.history.archive_part import About, Kept, no_counts, write_part
from dosimeter.monitor.history.assembly import Request
from dosimeter.monitor.history.chunk import Bank, Opened
from dosimeter.monitor.history.strata import Sampler, Stratum
from dosimeter.rules.backtesting.estimate import DAY_NS, figures
from dosimeter.rules.language.schema import RuleSet, load_rules

FEATURE, PACK = "deception", "c" * 64
BANK = Bank(((FEATURE, PACK),), "lab", "ab" * 32)
FIRST_DAY = 20_000
LENGTH, DAYS, REQUESTS = 12, 4, 3000
LIVE, NEAR = 900, 772
"""What the line alerted on, in codes, and half a standard deviation below."""

RULES = """
version: 1
rules:
  - rule: strict
    when: {feature: deception, in: answer, above: z 3.5}
    status: live
    severity: high
    owner: trust-and-safety
    summary: strict
  - rule: loose
    when: {feature: deception, in: answer, above: z 2.6}
    status: draft
    severity: low
    summary: loose
  - rule: gone
    when: {feature: deception, in: answer, above: z 2}
    status: retired
    severity: low
    summary: gone
  - rule: elsewhere
    when: {feature: scam, in: answer, above: z 2}
    status: shadow
    severity: low
    summary: elsewhere
  - rule: many
    when: {count: conversations, of: [strict], more-than: 5, within: 60m}
    status: shadow
    severity: low
    summary: many
"""


@pytest.fixture(scope="module")
def codes() -> Codes:
    """Of all traffic, int16 [requests, tokens]: what no archive has."""
    rng = np.random.default_rng(4)
    return np.rint(rng.standard_normal((REQUESTS, LENGTH)) * 256).astype(np.int16)


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> RuleSet:
    path = tmp_path_factory.mktemp("rules") / "rules.yaml"
    path.write_text(RULES)
    return load_rules([path])


@pytest.fixture(scope="module")
def calibrated() -> Calibration:
    """`z 2.6` is 666 codes, whatever is in it."""
    offsets, scopes = np.array([0, 4]), np.full(4, Scope.ANSWER, np.uint8)
    codes = np.zeros((4, 1), np.int16)
    return Calibration((FEATURE,), (PACK,), codes, offsets, scopes, "made up", "2026-11-29")


def store(folder: Path, codes: Codes, secret: int, one_in: int) -> Path:
    """A file a day, with what the archive would keep."""
    sampler, day_of = (
        Sampler(bytes([secret]) * 32, one_in),
        np.arange(len(codes)) * DAYS // len(codes),
    )
    for day in range(DAYS):
        kept, counts = [], no_counts()
        for key in np.flatnonzero(day_of == day).tolist():
            highest = int(codes[key].max())
            stratum = (
                Stratum.FLAGGED
                if highest > LIVE
                else Stratum.NEAR
                if highest > NEAR
                else Stratum.REST
            )
            keeps = stratum is not Stratum.REST or sampler.takes(1, key)
            counts[stratum.name.lower()]["requests"] += 1
            counts[stratum.name.lower()]["kept_requests"] += int(keeps)
            if keeps:
                weight = one_in if stratum is Stratum.REST else 1
                kept.append(Kept(_request(key, codes[key], day), stratum, weight, keeps))
        first = (FIRST_DAY + day) * DAY_NS
        about = About(BANK, one_in, counts, first, first + DAY_NS)
        path = ArchiveFolder(folder).part(f"2024-10-0{4 + day}", day, day, BANK.digest).path
        write_part(path, kept, about)
    return folder


def _request(key: int, codes: Codes, day: int) -> Request:
    at = (FIRST_DAY + day) * DAY_NS + key * 1000
    opened = Opened(1, key, BANK.digest, "", at, f"tenant-{key % 5}", "chat")
    request = Request(opened, BANK, at)
    segments = np.array([(key, 0, LENGTH, int(Scope.ANSWER))], SEGMENTS)
    request.add(segments, codes[:, None], (at, at + 1))
    return request


def ask(folder: Path, rules: RuleSet, calibrated: Calibration, **more: Any) -> Answer:
    return backtest(folder, replace(Wanted(rules, (calibrated,), date(2026, 1, 1)), **more))


def test_estimates_hold_for_the_whole_traffic_that_was_sampled(
    tmp_path: Path, codes: Codes, rules: RuleSet, calibrated: Calibration
) -> None:
    """The loose rule fires on requests of which one in eight was kept; twelve archives, each with its own secret."""
    truth = int((codes.max(axis=1) > 666).sum())
    values, covered = [], 0
    for secret in range(12):
        folder = store(tmp_path / f"a{secret}", codes, secret, one_in=8)
        answer = ask(folder, rules, calibrated)
        of = figures(answer.found, answer.seen.one_in, "loose")
        values.append(of.total.value)
        covered += of.total.low <= truth <= of.total.high
        assert 0 < of.certain < of.hits < truth
        strict = figures(answer.found, answer.seen.one_in, "strict")
        assert strict.total.value == (codes.max(axis=1) > 896).sum()
    assert covered >= 11
    assert np.mean(values) == pytest.approx(truth, rel=0.1)


def test_drafts_are_tried_retired_rules_are_not_and_others_say_why(
    tmp_path: Path, codes: Codes, rules: RuleSet, calibrated: Calibration
) -> None:
    answer = ask(store(tmp_path, codes, 1, 8), rules, calibrated)
    assert answer.rules == ("elsewhere", "loose", "strict")
    assert set(answer.inactive) == {"elsewhere", "many"}
    assert "of which a sample has only some" in answer.inactive["many"]
    assert "no loaded pack scores `scam`" in answer.inactive["elsewhere"]


def test_what_was_seen_is_what_the_archive_holds(
    tmp_path: Path, codes: Codes, rules: RuleSet, calibrated: Calibration
) -> None:
    answer = ask(store(tmp_path, codes, 1, 8), rules, calibrated)
    counts = answer.counts
    kept = sum(one["kept_requests"] for one in counts.values())
    seen = answer.seen
    assert (seen.requests, seen.tokens) == (kept, kept * LENGTH)
    assert seen.weighted_requests == kept + 7 * counts["rest"]["kept_requests"]
    assert seen.one_in == 8
    assert answer.days == pytest.approx(3, abs=1e-3)
    assert sum(one["requests"] for one in counts.values()) == REQUESTS


def test_time_leaves_out_days(
    tmp_path: Path, codes: Codes, rules: RuleSet, calibrated: Calibration
) -> None:
    since, until = (FIRST_DAY + 1) * DAY_NS, (FIRST_DAY + 3) * DAY_NS
    answer = ask(store(tmp_path, codes, 1, 8), rules, calibrated, since_ns=since, until_ns=until)
    of = figures(answer.found, answer.seen.one_in, "loose")
    assert set(of.by_day) == {"2024-10-05", "2024-10-06"}
    assert of.total.value == sum(of.by_day.values())
    nothing = ask(tmp_path, rules, calibrated, since_ns=(FIRST_DAY + 9) * DAY_NS)
    assert (nothing.seen.requests, nothing.days, len(nothing.found.hits)) == (0, 0.0, 0)


def test_two_processes_find_what_one_does(
    tmp_path: Path,
    codes: Codes,
    rules: RuleSet,
    calibrated: Calibration,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = store(tmp_path, codes, 1, 8)
    one = ask(folder, rules, calibrated)
    told: list[int] = []
    monkeypatch.setattr("dosimeter.monitor.backtest_work.ALONE_TOKENS", 0)
    wanted = Wanted(rules, (calibrated,), date(2026, 1, 1))
    two = backtest(folder, wanted, told.append)
    for rule in one.rules:
        assert figures(one.found, 8, rule) == figures(two.found, 8, rule)
    assert one.seen == two.seen
    assert told[-1] == one.seen.tokens


@pytest.mark.parametrize("alone", [0, 1 << 40])
@pytest.mark.parametrize("until", [100, 20_000])
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path,
    codes: Codes,
    rules: RuleSet,
    calibrated: Calibration,
    monkeypatch: pytest.MonkeyPatch,
    alone: int,
    until: int,
) -> None:
    """Alone and in a pool, with the scores overwritten, and with what it says of itself."""
    monkeypatch.setattr("dosimeter.monitor.backtest_work.ALONE_TOKENS", alone)
    folder = store(tmp_path, codes, 1, 8)
    broken = next(folder.glob("day=2024-10-05/*.parquet"))
    data = bytearray(broken.read_bytes())
    cut = min(until, len(data) - 8)
    data[4:cut] = bytes(cut - 4)
    broken.write_bytes(data)
    with pytest.raises(InputError, match="day=2024-10-05"):
        ask(folder, rules, calibrated)


def test_a_folder_without_an_archive_is_refused(
    tmp_path: Path, rules: RuleSet, calibrated: Calibration
) -> None:
    with pytest.raises(InputError, match="no archive of scores"):
        ask(tmp_path, rules, calibrated)
