"""How near a condition came: what somebody reads whose rule did not fire."""

from __future__ import annotations

from itertools import pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tested_rules import LONG, cases, rule, trial

from dosimeter.rules.testing.nearness import Near, apart, nearness


def near(when: str, stream: str) -> list[Near]:
    one = rule(when, f"[{{name: a, stream: {stream}, expect: []}}]")
    (test,) = cases(one)
    return nearness(one, trial(one).program, test.requests[0].stream)


@pytest.mark.parametrize(
    ("when", "stream", "said"),
    [
        (LONG, '[{answer: {scam: "3*3 1.5*1 2*3"}}]', "came to 1.5 sd at answer 4, not above 2 sd"),
        (LONG, '[{answer: {scam: "0*2 3*4"}}]', "came to 3 sd at answer 6, above 2 sd"),
        (LONG, '[{answer: {scam: "3*3 ?*1 3*3"}}]', "4 scored tokens in a row never came"),
        (LONG, '[{answer: {scam: "3*3"}}, {gap: 2}, {answer: {scam: "3*3"}}]',
         "4 scored tokens in a row never came"),
        (LONG, '[{message: {scam: "3*9"}}]', "4 scored tokens in a row never came"),
        ("{feature: scam, in: answer, below: z -1}", '[{answer: {scam: "0*2 -0.5*1"}}]',
         "came to -0.5 sd at answer 3, not below -1 sd"),
        ("{feature: scam, in: answer, above: z 2, average: answer, min-tokens: 5}",
         '[{answer: {scam: "3*4"}}]', "enough that was scored never came"),
        ("{feature: scam, in: answer, above: z 2, average: answer, coverage: 50 %}",
         '[{gap: 2}, {answer: {scam: "1*2 ?*2"}}]', "enough that was scored never came"),
        ("{feature: scam, in: answer, above: z 2, average: answer}",
         '[{answer: {scam: "1*2 2*2"}}]', "came to 1.5 sd, not above 2 sd"),
        ("{score: scam + deception, in: answer, above: z 2}",
         '[{answer: {scam: "1*2", deception: "0 0.5"}}]', "came to 1.5 sd at answer 2, not above 2 sd"),
    ],
)  # fmt: skip
def test_a_condition_says_how_near_it_came_and_where(when: str, stream: str, said: str) -> None:
    (found,) = near(when, stream)
    assert str(found).endswith(said)


def test_each_condition_of_a_rule_says_its_own() -> None:
    first, second = near(
        "{all: [{feature: scam, in: answer, above: z 2}, {not: {feature: deception, in: answer, above: z 1}}]}",
        '[{answer: {scam: "3*1", deception: "2*1"}}]',
    )
    assert str(first).startswith("`scam` in answer, above `z 2`: came to 3 sd")
    assert str(second).startswith("not `deception` in answer, above `z 1`: came to 2 sd")


RUN = st.tuples(st.sampled_from(["-1", "0", "1.5", "2", "2.1", "3", "?"]), st.integers(1, 5))
SHAPES = (
    "", ", for: 3 tokens", ", at-least: 2 of 4 tokens", ", average: 3 tokens", ", average: last 3 tokens",
    ", average: answer", ", share: 40 % of answer", ", average: answer, min-tokens: 4, coverage: 60 %",
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(RUN, min_size=1, max_size=4), min_size=1, max_size=3),
    st.sampled_from(SHAPES),
    st.sampled_from(["above: z 2", "below: z 0"]),
    st.booleans(),
)
def test_it_is_beyond_exactly_where_the_rule_fires(
    answers: list[list[tuple[str, int]]], shape: str, side: str, gap: bool
) -> None:
    """The statistics of `detectors/shapes` and the kernel are two implementations of the same shapes."""
    entries = [
        '{answer: {scam: "' + " ".join(f"{v}*{n}" for v, n in runs) + '"}}' for runs in answers
    ]
    between = ", {gap: 2}, " if gap else ", {tool: {scam: 0}}, "
    stream = "[" + between.join(entries) + "]"
    one = rule(
        f"{{feature: scam, in: answer, {side}{shape}}}",
        f"[{{name: a, stream: {stream}, expect: []}}]",
    )
    (test,), ready = cases(one), trial(one)
    (found,) = nearness(one, ready.program, test.requests[0].stream)
    assert found.beyond is bool(ready.run(test).found)


def test_where_it_was_first_beyond_is_said_beside_the_peak() -> None:
    (found,) = near(
        "{feature: scam, in: answer, above: z 2}", '[{answer: {scam: "0*197 3*2 9*1"}}]'
    )
    assert str(found).endswith("first above at answer 198; came to 9 sd at answer 200, above 2 sd")


def far(when: str, stream: str) -> str | None:
    one = rule(when, f"[{{name: a, stream: {stream}, expect: []}}]")
    (test,) = cases(one)
    ready = trial(one)
    said = apart(one, nearness(one, ready.program, test.requests[0].stream))
    assert (said is None) is bool(ready.run(test).found)
    return said


BOTH = "[{feature: scam, in: answer, above: z 2}, {feature: deception, in: answer, above: z 2}]"


@pytest.mark.parametrize(
    ("kind", "scam", "deception", "said"),
    [
        ("all", "3*1", "0*200 3*1",
         "each was met, but they were at least 200 tokens apart; `within: 200 tokens` allows 199"),
        ("all", "0*250 3*1", "3*1 0*10 3*2",
         "each was met, but they were at least 238 tokens apart; `within: 200 tokens` allows 199"),
        ("all", "3*1", "0*199 3*1", None),
        ("sequence", "3*1", "0*200 3*1",
         "each was met, but the first and the last were at least 200 tokens apart; "
         "`within: 200 tokens` allows 199"),
        ("sequence", "0*200 3*1", "3*1", "each was met, but never one after the other in this order"),
        ("sequence", "3*1", "3*1", "each was met, but never one after the other in this order"),
        ("sequence", "3*1", "0*199 3*1", None),
    ],
)  # fmt: skip
def test_conditions_that_were_met_too_far_apart_say_how_far(
    kind: str, scam: str, deception: str, said: str | None
) -> None:
    stream = f'[{{answer: {{scam: "{scam}", deception: "{deception}"}}}}]'
    assert far(f"{{{kind}: {BOTH}, within: 200 tokens}}", stream) == said


HEAT = st.lists(st.booleans(), min_size=1, max_size=14)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(HEAT, min_size=2, max_size=4), st.sampled_from(["all", "sequence"]), st.integers(4, 8)
)
def test_the_distance_is_the_least_of_all_choices(
    heat: list[list[bool]], kind: str, within: int
) -> None:
    """Against every choice of one moment for each part."""
    names = ["scam", "deception", "power", "sycophancy"][: len(heat)]
    parts = ", ".join(f"{{feature: {name}, in: answer, above: z 2}}" for name in names)
    runs = ", ".join(
        f'{name}: "{" ".join("3" if hot else "0" for hot in row)}"'
        for name, row in zip(names, heat, strict=True)
    )
    moments = [[at for at, hot in enumerate(row) if hot] for row in heat]
    spans = [
        max(choice) - min(choice)
        for choice in product(*moments)
        if kind == "all" or all(a < b for a, b in pairwise(choice))
    ]
    one = rule(
        f"{{{kind}: [{parts}], within: {within} tokens}}",
        f"[{{name: a, stream: [{{answer: {{{runs}}}}}], expect: []}}]",
    )
    (test,) = cases(one)
    ready = trial(one)
    said = apart(one, nearness(one, ready.program, test.requests[0].stream))
    if not all(moments) or (spans and min(spans) < within):
        assert said is None
    elif not spans:
        assert said is not None
        assert "in this order" in said
    else:
        assert said is not None
        assert f"at least {min(spans)} tokens apart; `within: {within} tokens`" in said
