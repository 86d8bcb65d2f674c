"""Every complaint at once, each at its place: an analyst fixes a file in one round, not ten."""

from __future__ import annotations

import pytest

from dosimeter.detectors.findings import InputError
from dosimeter.detectors.reader import Reader
from dosimeter.detectors.strict_yaml import Node, load


def node(written: str) -> Node:
    return load(f"a: {written}", "f.yaml").entries["a"].value


def test_all_unknown_and_missing_keys_are_reported_together() -> None:
    reader = Reader()
    reader.mapping(load("portt: 1\nzzz: 2", "f.yaml"), ("port", "host"), required=("port", "host"))
    assert [str(f) for f in reader.findings] == [
        "f.yaml:1:1: error: unknown key `portt` [unknown-key]\n  hint: did you mean `port`?",
        "f.yaml:2:1: error: unknown key `zzz` [unknown-key]\n  hint: known here: `host`, `port`",
        "f.yaml:1:1: error: `host` is missing [missing-key]",
    ]


@pytest.mark.parametrize(
    ("getter", "written", "message"),
    [
        ("text", "12", "expected text, found a number `12`"),
        ("text", "[x]", "expected text, found a list"),
        ("text", "", "expected text, found nothing"),
        ("text", '" "', "empty text"),
        ("boolean", "yes", "expected true or false, found text `yes`"),
        ("items", "x", "expected a list, found text `x`"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named(getter: str, written: str, message: str) -> None:
    reader = Reader()
    assert not getattr(reader, getter)(node(written))
    assert [f.message for f in reader.findings] == [message]


@pytest.mark.parametrize("written", ["0", "6", "1.0", "x", "true"])
def test_a_number_outside_its_range_is_refused(written: str) -> None:
    reader = Reader()
    assert reader.integer(node(written), 1, 5) is None
    assert len(reader.findings) == 1


def test_a_whole_number_is_a_number() -> None:
    assert Reader().number(node("2"), 0, 5) == 2.0


def test_errors_refuse_and_warnings_do_not() -> None:
    reader = Reader()
    reader.report("careful", "warning", node("1"), "careful")
    reader.refuse_if_wrong()
    reader.error(node("1"), "wrong")
    with pytest.raises(InputError, match="wrong"):
        reader.refuse_if_wrong()


@pytest.mark.parametrize("escape", ["\\0", "\\e[2J", "\\x9b31m", "\\r", "\\u202e", "\\u2028"])
def test_a_control_character_is_refused_also_as_an_escape(escape: str) -> None:
    """Text of a rule or a configuration goes to terminals, headers and paths; escapes hide what it does there."""
    reader = Reader()
    assert reader.text(load(f'"a{escape}b"', "f.yaml")) is None
    (finding,) = reader.findings
    assert (finding.code, finding.place.line) == ("control", 1)


@pytest.mark.parametrize("kept", ["\u0646\u200c\u0645", "\U0001f468\u200d\U0001f469", "a\n\tb"])
def test_joiners_and_line_breaks_are_text(kept: str) -> None:
    """Persian needs the non-joiner, and many an emoji the joiner."""
    reader = Reader()
    assert reader.text(Node("text", load("a", "f.yaml").place, kept)) == kept
    assert reader.findings == []


@pytest.mark.parametrize(
    ("written", "place", "whole"),
    [
        ("{in: answer, above: 1 in 1,000 answers}", "f.yaml:1:24", "1 in 1000 answers"),
        ("{above: 20,000 a day, in: answer}", "f.yaml:1:12", "20000 a day"),
    ],
)
def test_a_number_that_a_comma_split_is_shown_whole(written: str, place: str, whole: str) -> None:
    reader = Reader()
    assert reader.split_number(node(written))
    (finding,) = reader.findings
    assert (str(finding.place), finding.hint) == (
        place,
        f"write 1000 without a comma: `{whole}`",
    )


@pytest.mark.parametrize(
    "written",
    [
        "{a: 1, '000': 2}",
        "{a: b, 000 c: }",
        "{a: 1, 00 c: }",
        "[1]",
        "{above: '1 in 1,000 answers'}",
    ],
)
def test_other_keys_are_no_part_of_a_number(written: str) -> None:
    reader = Reader()
    assert not reader.split_number(node(written))
    assert not reader.findings


def test_an_unknown_key_that_is_the_rest_of_a_number_is_told_so() -> None:
    reader = Reader()
    reader.mapping(node("{limit: 1,000 per hour}"), ("limit",))
    (finding,) = reader.findings
    assert finding.hint is not None
    assert finding.hint.startswith("write 1000 without a comma")
