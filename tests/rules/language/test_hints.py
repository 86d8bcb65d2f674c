"""What a newcomer writes first, and the next step that each of these is told."""

from __future__ import annotations

import pytest

from dosimeter.detectors.findings import InputError
from dosimeter.detectors.reader import Reader
from dosimeter.detectors.strict_yaml import load
from dosimeter.rules.language.schema import read_rules
from dosimeter.rules.testing.cases import read_tests

RULE = """version: 1
rules:
  - rule: r
    when: {when}
    status: draft
    severity: low
    summary: x
"""
Z = "{feature: scam, in: answer, above: z 2}"
NESTED = "conditions are `all` or `any` of some, or a `sequence`, not nested deeper: write a rule for each"


def said(when: str, more: str = "") -> list[tuple[str, str | None]]:
    reader = Reader()
    for rule in read_rules(load(RULE.replace("{when}", when) + more, "r.yaml"), reader):
        read_tests(rule, reader)
    return [(finding.message, finding.hint) for finding in reader.findings]


@pytest.mark.parametrize(
    ("when", "message", "hint"),
    [
        ("{feature: scam, in: user, above: z 2}", "`user` is no scope", "the user's words are `message`"),
        ("{feature: scam, in: Prompt, above: z 2}", "`Prompt` is no scope", "the user's words are `message`"),
        *(
            (f"{{feature: scam, in: {word}, above: z 2}}", f"`{word}` is no scope", "the model's words are `answer`")
            for word in ("model", "assistant", "reply", "response")
        ),
        ("{feature: scam, in: answer, above: 1 in 1,000 answers}", "`1 in 1,000 answers` is split at its comma",
         "write 1000 without a comma: `1 in 1000 answers`"),
        ("{feature: scam, in: answer, above: z 2, share: 33.3 % of answer}", "`33.3 % of answer` is no share",
         "a whole number, such as `33 % of answer`"),
        ("{feature: scam, in: answer, above: z 2, share: 0.5 % of answer}", "`0.5 % of answer` is no share",
         "a whole number, such as `1 % of answer`"),
        ("{feature: scam, above: z 2}", "`in` is missing",
         "say in whose words: `system`, `message`, `answer`, `reasoning`, `tool`"),
        ("{feature: [scam, deception], in: answer, above: z 2}", "expected one feature, found a list",
         "one condition names one feature: list conditions under `any:`, or write a `score:`"),
        ("{feature: scam, in: answer, above: z 2, average: answer, min-tokens: 60 tokens}",
         "expected a whole number, found text `60 tokens`", "write `60`"),
        ("{feature: scam, in: answer, above: z 2, average: answer, coverage: 90}", "`90` has no unit",
         "write `90 %`"),
        ("{feature: scam, in: answer, above: z 2, share: 0.2}", "`0.2` has no unit", "write `20 % of answer`"),
        ("{feature: scam, in: answer, above: z 2, at-least: 4}", "`4` is no count", "write `4 of 8 tokens`"),
        ("{feature: scam, in: answer, above: z 2, for: 16.0}", "`16.0` is no length", "write `16 tokens`"),
        ("{feature: scam, in: [answer, message], above: z 2}", "expected one scope, found a list",
         "one condition looks at one scope: list conditions under `any:`"),
        (f"{{and: [{Z}, {Z}]}}", "unknown key `and`", "write `all`"),
        (f"{{or: [{Z}, {Z}]}}", "unknown key `or`", "write `any`"),
        (f"{{any: [{Z}, {{all: [{Z}, {Z}]}}]}}", "a group within a group", NESTED),
        (f"{{all: [{Z}, {{sequence: [{Z}, {Z}]}}]}}", "a group within a group", NESTED),
        (f"{{any: [{Z}, {{not: {Z}}}]}}", "`not` in an `any`", NESTED),
    ],
)  # fmt: skip
def test_a_condition_that_is_nearly_right_is_told_how_it_is_written(
    when: str, message: str, hint: str
) -> None:
    assert said(when) == [(message, hint)]


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("group-by: tenant", "expected a list, found text `tenant`", "write `[tenant]`"),
        ("quiet-when: other", "expected a list, found text `other`", "write `[other]`"),
        ("only: [a, b]", "expected a mapping, found a list", "write `{tenant: [a, b]}`"),
        ("only: [a, b, c, d]", "expected a mapping, found a list", "write `{tenant: [a, b, c, …]}`"),
        ("only: acme", "expected a mapping, found text `acme`", "write `{tenant: [acme]}`"),
        ("clear: {below: 1 in 1,000 answers, for: 9 tokens}", "`1 in 1,000 answers` is split at its comma",
         "write 1000 without a comma: `1 in 1000 answers`"),
        ("tests: [{name: a, stream: [{answer: {scam: 3}}], expect: [{at: 16}]}]",
         "`16` is no place in a stream", "write `answer 16`, or `message 16`: whose token it is"),
        ("tests: [{name: a, stream: [{answer: {scam: 3}}], expect: [{at: user 16}]}]",
         "`user` is no scope", "the user's words are `message`"),
        ("tests: [{name: a, stream: [{assistant: {scam: 3}}], expect: []}]",
         "`assistant` is no scope", "the model's words are `answer`"),
    ],
)  # fmt: skip
def test_a_key_that_is_nearly_right_is_told_how_it_is_written(
    line: str, message: str, hint: str
) -> None:
    assert said(Z, f"    {line}\n") == [(message, hint)]


def test_a_misspelt_scope_key_is_not_missing_too() -> None:
    assert said("{feature: scam, In: answer, above: z 2}") == [
        ("unknown key `In`", "did you mean `in`?")
    ]


@pytest.mark.parametrize(
    ("key", "value", "hint"),
    [
        ("severity: low", "1", "known here: `critical`, `high`, `low`, `medium`"),
        ("status: draft", "true", "known here: `draft`, `live`, `retired`, `shadow`"),
    ],
)
def test_quotes_are_no_advice_where_only_some_words_may_stand(
    key: str, value: str, hint: str
) -> None:
    reader = Reader()
    text = RULE.replace("{when}", Z).replace(key, f"{key.partition(':')[0]}: {value}")
    read_rules(load(text, "r.yaml"), reader)
    (found,) = reader.findings
    assert (found.message, found.hint) == (f"`{value}` is not one of the allowed words", hint)


def test_a_signal_with_a_name_that_it_may_not_have_is_known_where_it_is_used() -> None:
    """That nobody named it had been said a second time, with the advice to name it."""
    reader = Reader()
    text = RULE.replace("{when}", "{signal: scam_close}") + f"signals:\n  scam_close: {Z}\n"
    read_rules(load(text, "r.yaml"), reader)
    assert [f.message for f in reader.findings] == ["`scam_close` is not a name"]


def test_a_decimal_comma_is_told_of_a_point() -> None:
    with pytest.raises(InputError, match=r"`2\.5`") as refused:
        load(RULE.replace("{when}", "{feature: scam, in: answer, above: z 2,5}"), "r.yaml")
    (found,) = refused.value.findings
    assert found.hint == 'write "5"; or, in a number, a point in place of the comma: `2.5`'
