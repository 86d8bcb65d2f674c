"""A program is what decides: equal programs decide equally, this year and next."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rule_streams import SHA, atoms, program_of, rule

from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.frames import CODE_MAX, CODE_UNSCORED, Scope
from dosimeter.rules.atoms import Atom
from dosimeter.rules.canonical import canonical, digest
from dosimeter.rules.language.schema import parse_rules
from dosimeter.rules.program import Program, compile_program

PACK = "a" * 64
REQUESTS = 2000


@dataclass(frozen=True)
class Column:
    feature: str
    pack: str = PACK


COLUMNS = (Column("scam"), Column("deception"))


def calibration(pack: str = PACK, requests: int = REQUESTS) -> Calibration:
    """Request i: a message token of code -i, two answer tokens of code i, in both features."""
    i = np.arange(requests, dtype=np.int16)
    codes = np.stack([-i, i, i], axis=1).reshape(-1)
    return Calibration(
        features=("deception", "scam"),
        packs=(pack, pack),
        codes=np.stack([codes, codes], axis=1),
        offsets=np.arange(requests + 1, dtype=np.int64) * 3,
        scopes=np.tile(np.array([2, 3, 3], np.uint8), requests),
        corpus="made by hand",
        date="2026-11-20",
    )


def rules(*whens: str, status: str = "shadow") -> str:
    body = "".join(
        f"""
  - rule: r{i}
    when: {{{when}}}
    status: {status}
    severity: low
    owner: x
    summary: x"""
        for i, when in enumerate(whens)
    )
    return f"version: 1\nrules:{body}\n"


def compiled(*whens: str, status: str = "shadow", pack: str = PACK) -> Program:
    ruleset = parse_rules(rules(*whens, status=status))
    return compile_program(ruleset, COLUMNS, [calibration(pack)])


@pytest.mark.parametrize(
    ("when", "threshold"),
    [
        # 2000 answers with 0 ... 1999: 20 of them, 1980 and up, exceed 1979
        ("feature: deception, in: answer, above: 1 in 100 answers", 1979),
        ("feature: deception, in: answer, above: 1 in 100 answers, for: 2 tokens", 1979),
        ("feature: deception, in: answer, above: 1 in 100 answers, average: answer", 1979),
        # 20 of them, 19 and down, are below 20
        ("feature: deception, in: answer, below: 1 in 100 answers", 20),
        # messages run from -1999 to 0: 10 are above -10, 10 are below -1989
        ("feature: deception, in: message, above: 1 in 200 messages", -10),
        ("feature: deception, in: message, below: 1 in 200 messages", -1989),
        ("feature: deception, in: answer, above: z 2.5", 640),
        ("feature: deception, in: answer, below: z -2.5", -640),
    ],
)
def test_a_level_becomes_the_threshold_that_counting_by_hand_gives(
    when: str, threshold: int
) -> None:
    (atom,) = compiled(when).atoms
    assert atom.threshold == threshold
    assert atom.column == 1


def test_rules_share_the_atoms_they_have_in_common() -> None:
    same = "feature: scam, in: answer, above: z 2"
    program = compiled(same, same, same + ", for: 2 tokens")
    assert program.atoms == (
        Atom(0, Scope.ANSWER, 1, "once", 1, 512),
        Atom(0, Scope.ANSWER, 1, "for", 2, 512),
    )
    assert [list(r.logic.atoms) for r in program.rules] == [[0], [0], [1]]


def test_parts_become_clauses_over_atoms_that_are_shared() -> None:
    a = "{feature: scam, in: answer, above: z 2}"
    b = "{feature: deception, in: message, below: z -1, for: 3 tokens}"
    program = compiled(
        f"all: [{{any: [{a}, {b}]}}, {{not: {b}}}], within: 64 tokens",
        f"sequence: [{b}, {a}], within: 9 tokens",
    )
    assert program.atoms == (
        Atom(0, Scope.ANSWER, 1, "once", 1, 512),
        Atom(1, Scope.MESSAGE, -1, "for", 3, -256),
    )
    joined, ordered = (r.logic for r in program.rules)
    assert [([one.atom for one in c.literals], c.negated) for c in joined.clauses] == [
        ([0, 1], False),
        ([1], True),
    ]
    assert (joined.kind, joined.within, joined.clear) == ("all", 64, None)
    assert [[one.atom for one in c.literals] for c in ordered.clauses] == [[1], [0]]
    assert (ordered.kind, ordered.within) == ("sequence", 9)
    literal = joined.clauses[0].literals[1]
    assert (literal.feature, literal.level) == ("deception", "z -1")
    assert (literal.pack, literal.calibration) == (PACK, calibration().digest)


def test_every_number_of_a_shape_reaches_its_atom() -> None:
    program = compiled(
        "feature: scam, in: answer, above: z 2, at-least: 4 of 8 tokens",
        "feature: scam, in: answer, above: z 2, average: last 3 tokens",
        "feature: scam, in: answer, above: z 2, share: 20 % of answer, min-tokens: 7, coverage: 90 %",
    )
    assert program.atoms == (
        Atom(0, Scope.ANSWER, 1, "at_least", 8, 512, k=4),
        Atom(0, Scope.ANSWER, 1, "average_last", 3, 512),
        Atom(0, Scope.ANSWER, 1, "share", 1, 512, k=20, least=7, coverage=90),
    )


def test_clear_is_an_atom_of_the_complement_of_a_looser_level() -> None:
    """Of 2000 answers 0 ... 1999, 200 lie above 1799: calm is two tokens in a row of at most that."""
    text = rules("feature: scam, in: answer, above: 1 in 100 answers").rstrip()
    text += "\n    clear: {below: 1 in 10 answers, for: 2 tokens}\n"
    program = compile_program(parse_rules(text), COLUMNS, [calibration()])
    assert program.atoms == (
        Atom(0, Scope.ANSWER, 1, "once", 1, 1979),
        Atom(0, Scope.ANSWER, -1, "for", 2, 1800),
    )
    assert program.rules[0].logic.clear == 1


def test_a_score_is_a_column_behind_the_banks_placed_on_its_own_values() -> None:
    """In both features a request has the same codes, so their difference is 0 and their sum is double."""
    program = compiled(
        "score: scam - deception, in: answer, above: 1 in 100 answers",
        "score: scam + deception, in: answer, above: 1 in 100 answers",
        "score: deception+scam, in: message, above: z 2",
        "score: scam  +  deception, in: answer, above: z 2",
    )
    assert [score.text for score in program.computed] == [
        "scam - deception",
        "scam + deception",
        "deception + scam",
    ]
    assert program.atoms == (
        Atom(2, Scope.ANSWER, 1, "once", 1, 0),
        Atom(3, Scope.ANSWER, 1, "once", 1, 2 * 1979),
        Atom(4, Scope.MESSAGE, 1, "once", 1, 512),
        Atom(3, Scope.ANSWER, 1, "once", 1, 512),
    )
    assert Program.from_json(program.canonical) == program


def test_a_rule_expires_after_its_last_day_and_an_exemption_with_its_own() -> None:
    text = rules("feature: scam, in: answer, above: z 2").rstrip()
    text += """
    expires: 2027-03-01
    unless: [{tenant: acme, reason: trial, by: k.lee, until: 2027-02-01}]
"""
    on = [
        compile_program(parse_rules(text), COLUMNS, [calibration()], date(2027, month, 1))
        for month in (2, 3)
    ]
    assert [len(program.rules[0].policy.unless) for program in on] == [1, 0]
    assert on[0].digest != on[1].digest
    after = compile_program(parse_rules(text), COLUMNS, [calibration()], date(2027, 3, 2))
    assert after.rules == ()
    assert "it expired on 2027-03-01" in after.inactive["r0"]


@pytest.mark.parametrize(
    ("when", "reason"),
    [
        ("feature: power, in: answer, above: z 2", "no loaded pack scores `power`"),
        ("feature: scam, in: answer, above: 1 in 1000 answers", "needs 10000 benign answers"),
        ("feature: scam, in: answer, above: 20 a day", "needs the traffic's volume"),
        (
            "feature: scam, in: answer, above: 1 in 9 answers, for: 3 tokens",
            "this calibration has 0",
        ),
        ("feature: scam, in: tool, above: 1 in 9 answers", "this calibration has 0"),
        ("score: scam - power, in: answer, above: z 2", "no loaded pack scores `power`"),
        (
            "all: [{feature: scam, in: answer, above: z 2}, {feature: power, in: answer, above: z 2}]",
            "no loaded pack scores `power`",
        ),
    ],
)
def test_a_rule_that_cannot_be_placed_is_inactive_and_says_why(when: str, reason: str) -> None:
    program = compiled(when)
    assert program.rules == ()
    assert reason in program.inactive["r0"]
    assert "\n" not in program.inactive["r0"]


def test_a_calibration_of_another_pack_does_not_count() -> None:
    program = compiled("feature: scam, in: answer, above: z 2", pack="c" * 64)
    assert "calibrated with pack cccccccccccc, loaded is aaaaaaaaaaaa" in program.inactive["r0"]


def test_without_any_calibration_nothing_may_alert() -> None:
    ruleset = parse_rules(rules("feature: scam, in: answer, above: z 2"))
    program = compile_program(ruleset, COLUMNS, [])
    assert "`scam` is not calibrated" in program.inactive["r0"]


def test_two_calibrations_of_one_column_are_refused() -> None:
    ruleset = parse_rules(rules("feature: scam, in: answer, above: z 2"))
    with pytest.raises(ValueError, match="two calibrations of `deception`"):
        compile_program(ruleset, COLUMNS, [calibration(), calibration(requests=50)])
    compile_program(ruleset, COLUMNS, [calibration(), calibration()])


def test_a_threshold_that_no_code_is_beyond_makes_the_rule_inactive() -> None:
    saturated = Calibration(
        features=("scam",),
        packs=(PACK,),
        codes=np.full((100, 1), CODE_MAX, np.int16),
        offsets=np.arange(101, dtype=np.int64),
        scopes=np.full(100, 3, np.uint8),
        corpus="saturated",
        date="2026-11-20",
    )
    ruleset = parse_rules(rules("feature: scam, in: answer, above: 1 in 10 answers"))
    program = compile_program(ruleset, COLUMNS[:1], [saturated])
    assert "where codes saturate" in program.inactive["r0"]


def test_unscored_codes_stay_unscored_in_the_lower_tail() -> None:
    """Negating int16 -32768 gives itself, not a code: it must not become an extreme value."""
    codes = np.arange(1000, dtype=np.int16)[:, None]
    codes[::2] = CODE_UNSCORED
    half = Calibration(
        features=("scam",),
        packs=(PACK,),
        codes=codes,
        offsets=np.arange(1001, dtype=np.int64),
        scopes=np.full(1000, 3, np.uint8),
        corpus="half unscored",
        date="2026-11-20",
    )
    ruleset = parse_rules(rules("feature: scam, in: answer, below: 1 in 100 answers"))
    (atom,) = compile_program(ruleset, COLUMNS[:1], [half]).atoms
    assert atom.threshold == 21  # scored are 1, 3, 5 ...: ten of them, 1 to 19, are below 21


@pytest.mark.parametrize("status", ["draft", "retired"])
def test_rules_that_do_not_run_are_not_in_the_program(status: str) -> None:
    program = compiled("feature: scam, in: answer, above: z 2", status=status)
    assert program.rules == ()
    assert program.inactive == {}


@given(st.lists(atoms(), max_size=8))
def test_a_program_comes_back_from_its_own_bytes(chosen: list[Atom]) -> None:
    program = program_of(*chosen)
    again = Program.from_json(program.canonical)
    assert again == program
    assert again.digest == program.digest == digest(program.canonical)


def test_a_compiled_program_comes_back_with_its_inactive_rules() -> None:
    program = compiled(
        "feature: scam, in: answer, above: z 2", "feature: power, in: answer, above: z 2"
    )
    assert Program.from_json(program.canonical) == program
    assert "r1" in Program.from_json(program.canonical).inactive


def test_the_digest_covers_threshold_calibration_and_status() -> None:
    base = compiled("feature: scam, in: answer, above: z 2")
    digests = {
        base.digest,
        compiled("feature: scam, in: answer, above: z 2.01").digest,
        compiled("feature: scam, in: answer, above: z 2", status="live").digest,
        compile_program(
            parse_rules(rules("feature: scam, in: answer, above: z 2")),
            COLUMNS,
            [calibration(requests=REQUESTS + 1)],
        ).digest,
    }
    assert len(digests) == 4


def test_the_order_of_rules_in_files_does_not_matter() -> None:
    a, b = "feature: scam, in: answer, above: z 2", "feature: deception, in: answer, above: z 3"
    text = rules(a, b)
    turned = rules(b, a).replace("r0", "rX").replace("r1", "r0").replace("rX", "r1")
    one, two = (compile_program(parse_rules(t), COLUMNS, [calibration()]) for t in (text, turned))
    assert one.digest == two.digest


def test_blobs_are_addressed_by_their_content() -> None:
    program = compiled("feature: scam, in: answer, above: z 2")
    blobs = program.blobs()
    assert set(blobs) == {program.digest, program.rules[0].sha256}
    assert all(digest(body) == name for name, body in blobs.items())


def damaged() -> list[bytes]:
    body = json.loads(program_of(Atom(0, Scope.ANSWER, 1, "once", 1, 5)).canonical)
    versions = [{**body, "kernel": 1}, {**body, "format": 1}]
    atom = body["atoms"][0]
    wrong = [
        {"threshold": 40_000},
        {"threshold": 1.5},
        {"threshold": True},
        {"column": 3},
        {"column": -1},
        {"shape": "never"},
        {"n": 0},
        {"n": 5},
        {"direction": 0},
        {"scope": 77},
        {"extra": 1},
    ]
    atoms_wrong = [{**body, "atoms": [{**atom, **w}]} for w in wrong]
    rules_wrong = [
        {**body, "rules": [{**body["rules"][0], **w}]}
        for w in ({"atom": 1}, {"atom": -1}, {"sha256": "x"}, {"text": {"status": "draft"}})
    ]
    doubled = [{**body, "rules": body["rules"] * 2}, {**body, "atoms": body["atoms"] * 2}]
    bodies = [*versions, *atoms_wrong, *rules_wrong, *doubled, [], {}, None]
    texts = [json.dumps(b, sort_keys=True, separators=(",", ":")).encode() for b in bodies]
    return [*texts, json.dumps(body, indent=1).encode(), b"", b"{", b"[" * 100_000, b"\xff"]


@pytest.mark.parametrize("data", damaged(), ids=range(len(damaged())))
def test_bytes_that_are_no_program_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        Program.from_json(data)


def test_a_running_rule_can_be_asked_for_by_its_id() -> None:
    program = program_of(Atom(0, Scope.ANSWER, 1, "once", 1, 5))
    assert program.rule("r0") == rule("r0", 0)
    assert program.rule("r0").sha256 == SHA
    with pytest.raises(KeyError):
        program.rule("r9")


def test_canonical_json_has_one_form() -> None:
    assert canonical({"b": [1, "é"], "a": {"z": None, "y": True}}) == (
        '{"a":{"y":true,"z":null},"b":[1,"é"]}'.encode()
    )
    # RFC 8785 sorts by UTF-16 code units: U+1F600 (d83d ...) before U+FB33
    assert canonical({"\ufb33": 1, "\U0001f600": 2}) == '{"\U0001f600":2,"\ufb33":1}'.encode()
    for wrong in (1.5, {1: 2}, "\ud800", 2**63, object(), {"a": [0.1]}):
        with pytest.raises(ValueError, match=r"\$"):
            canonical(wrong)
