"""The dial of a rule: tighter never reaches more, levels mean what the rule file would mean, data end it."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_scene import COLUMNS, calibration, rules

from dosimeter.detectors.levels import Level
from dosimeter.rules.engine import Engine
from dosimeter.rules.language.schema import Rule, RuleSet, parse_rules
from dosimeter.rules.planning.dial import PER_DECADE, Dial, dials, two_digits
from dosimeter.rules.planning.proposal import hits_of
from dosimeter.rules.planning.reach import Requests, compile_dials, reach
from dosimeter.rules.program import compile_program

CALIBRATION = calibration(600, per_day=1000)
TIED = calibration(400, seed=1, per_day=1000, spread=2)
WHENS = (
    "{feature: deception, in: answer, above: 1 in 30 answers}",
    "{feature: scam, in: answer, below: 1 in 20 answers, average: 3 tokens}",
    "{feature: scam, in: answer, above: 40 a day, average: answer}",
    "{feature: deception, in: message, above: z 1.5}",
    "{feature: deception, in: answer, below: z -0.7, at-least: 2 of 4 tokens}",
    "{feature: scam, in: answer, above: 1 in 60 tokens, for: 2 tokens}",
    "{score: 'max(deception, scam)', in: answer, above: 1 in 25 answers, share: 30 % of answer}",
    "{all: [{feature: deception, in: answer, above: 1 in 5 answers}, "
    "{feature: scam, in: answer, above: z 1}], within: 6 tokens}",
    "{sequence: [{feature: deception, in: message, above: 1 in 3 messages}, "
    "{feature: scam, in: answer, above: 1 in 4 answers}], within: 9 tokens}",
    "{any: [{feature: deception, in: answer, above: 1 in 40 answers}, "
    "{feature: scam, in: answer, below: 1 in 40 answers}]}",
    "{all: [{feature: deception, in: answer, above: 1 in 6 answers}, "
    "{not: {feature: scam, in: answer, above: 1 in 3 answers}}]}",
)


def only(rule: Rule, of: object = CALIBRATION) -> Dial:
    (dial,) = dials([rule], COLUMNS, [of])  # type: ignore[list-item]
    return dial


def fired(rule: Rule) -> set[int]:
    """Request by request through the engine that runs live."""
    program = compile_program(RuleSet((rule,)), COLUMNS, [CALIBRATION])
    assert not program.inactive
    engine, found = Engine(program), set()
    part = Requests.of(CALIBRATION)
    for request in range(0, CALIBRATION.requests, 3):
        if hits_of(engine, part, request):
            found.add(request)
    return found


@pytest.mark.parametrize("when", WHENS)
def test_a_tighter_position_fires_on_a_part_of_the_requests_of_a_looser_one(when: str) -> None:
    """Also with `not`, whose level stays; every position is compiled anew, as the sidecar would."""
    dial = only(rules(when)[0])
    assert len(dial.offsets) > 5
    assert list(dial.offsets) == sorted(dial.offsets, reverse=True)
    before: set[int] = set()
    for position in range(0, len(dial.offsets), 4):
        now = fired(dial.at(position))
        assert before <= now
        before = now
    assert before


@pytest.mark.parametrize("when", WHENS)
def test_all_positions_at_once_reach_what_each_rule_reaches_alone(when: str) -> None:
    dial = only(rules(when)[0])
    program, refused = compile_dials([dial], COLUMNS, [CALIBRATION], ())
    assert not refused
    first = reach(program, [dial], [Requests.of(CALIBRATION)]).first[::3, 0]
    for position in range(0, len(dial.offsets), 5):
        expected = fired(dial.at(position))
        assert {3 * i for i in np.flatnonzero(first <= position).tolist()} == expected


@pytest.mark.parametrize("when", WHENS)
@pytest.mark.parametrize("of", [CALIBRATION, TIED])
def test_thresholds_are_those_that_the_calibration_places(when: str, of: object) -> None:
    dial = only(rules(when)[0], of)
    for position in range(len(dial.offsets)):
        program = compile_program(RuleSet((dial.at(position),)), COLUMNS, [of])  # type: ignore[list-item]
        (rule,) = program.rules
        placed = [program.atoms[one.atom].threshold for one in rule.logic.literals]
        assert placed == list(dial.thresholds[position])


def test_the_position_in_the_middle_is_what_was_written() -> None:
    (rule,) = rules("{feature: deception, in: answer, above: '1 in  30 answers'}")
    dial = only(rule)
    assert dial.now is not None
    assert dial.at(dial.now).as_json() == rule.as_json()
    assert list(dial.edits(dial.now)) == []


def test_all_levels_move_by_the_same_factor() -> None:
    (rule,) = rules(
        "{any: [{feature: deception, in: answer, above: 1 in 20 answers}, "
        "{feature: scam, in: answer, above: 50 a day}]}"
    )
    dial = only(rule)
    levels = dial.levels[dial.offsets.index(-PER_DECADE // 2)]  # the square root of ten
    assert [level.text for level in levels] == ["1 in 6 answers", "160 a day"]


def test_a_dial_ends_where_ten_exceedances_end_and_says_so() -> None:
    """600 answers place at most 1 in 60: the next of the scale, 1 in 67, needs 670."""
    dial = only(rules("{feature: deception, in: answer, above: 1 in 30 answers}")[0])
    assert dial.levels[0][0].text == "1 in 60 answers"
    assert dial.end == "`1 in 67 answers` needs 670 benign answers, here are 600"


def test_a_level_too_rare_to_be_placed_as_written_can_still_be_planned_looser() -> None:
    dial = only(rules("{feature: deception, in: answer, above: 1 in 1000 answers}")[0])
    assert dial.now is None
    assert dial.offsets[0] < 0
    assert float(dial.levels[0][0].value) <= 60


def test_z_moves_by_the_share_that_lies_beyond_it() -> None:
    dial = only(rules("{feature: deception, in: answer, above: z 1.5}")[0])
    part = Requests.of(CALIBRATION)
    codes = [
        part.codes["deception"][int(a) : int(b)][3:]
        for a, b in zip(CALIBRATION.offsets, CALIBRATION.offsets[1:], strict=False)
    ]
    most = np.array([c.max(initial=-32768) for c in codes])
    beyond = int((most > 1.5 * 256).sum())
    tighter = dial.levels[dial.offsets.index(6)][0]  # half as many
    left = int((most > tighter.z_code()).sum())
    assert beyond / 2 - 4 <= left <= beyond / 2


def test_what_is_shared_or_under_not_keeps_its_level() -> None:
    text = """
version: 1
signals:
  calm: {feature: scam, in: answer, above: 1 in 20 answers}
rules:
  - rule: a
    when: {all: [{signal: calm}, {feature: deception, in: answer, above: 1 in 10 answers}]}
    status: live
    severity: high
    owner: o
    summary: s
  - rule: b
    when: {any: [{signal: calm}, {feature: deception, in: answer, above: 1 in 30 answers}]}
    status: live
    severity: high
    owner: o
    summary: s
"""
    for dial in dials(parse_rules(text).rules, COLUMNS, [CALIBRATION]):
        assert {levels[0].text for levels in dial.levels} == {"1 in 20 answers"}
        assert len({levels[1].text for levels in dial.levels}) == len(dial.levels) > 10


def test_a_clear_moves_with_its_rule_and_stays_looser() -> None:
    clear = "    clear: {below: 1 in 10 answers, for: 2 tokens}\n"
    (rule,) = rules("{feature: deception, in: answer, above: 1 in 30 answers}", more=clear)
    dial = only(rule)
    for position, level in enumerate(dial.levels):
        planned = dial.clears[position]
        assert planned is not None
        assert planned.value < level[0].value
        assert len(list(dial.edits(position))) == (0 if position == dial.now else 2)


def test_a_feature_that_nothing_scores_is_said() -> None:
    assert (
        "no loaded pack scores"
        in only(rules("{feature: defection, in: answer, above: 1 in 30 answers}")[0]).end
    )


@settings(max_examples=80, deadline=None)
@given(st.floats(1, 1e11))
def test_two_digits_say_it_within_five_per_cent(value: float) -> None:
    said = two_digits(value)
    assert len(str(said).rstrip("0")) <= 2
    assert value < 10 or abs(said / value - 1) <= 0.0501
    assert Level.parse(f"1 in {max(said, 2)} answers").value == Fraction(max(said, 2))
