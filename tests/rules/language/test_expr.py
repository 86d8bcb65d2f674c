"""Expressions over scores: what they compute, checked against Python's fractions, and how each mistake is refused."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from dosimeter.detectors.frames import CODE_MAX, CODE_UNSCORED, Codes
from dosimeter.rules.language.expr import Expr, ExprError, parse

NAMES = ("a", "b2", "scam_")
Tree = tuple[Any, ...]


def column(*codes: int) -> Codes:
    return np.array(codes, np.int16)


def one(text: str, *codes: int) -> int:
    return int(parse(text).codes([column(code) for code in codes])[0])


def attempt(text: str) -> Expr | ExprError:
    try:
        return parse(text)
    except ExprError as refused:
        return refused


def error(text: str) -> ExprError:
    refused = attempt(text)
    assert isinstance(refused, ExprError)
    return refused


@pytest.mark.parametrize(
    ("text", "codes", "expected"),
    [
        ("scam", (-7,), -7),
        ("-scam", (-7,), 7),
        ("0.7 * deception + 0.5 * scam - 0.4 * refusal", (1000, 512, 100), 700 + 256 - 40),
        ("max(scam, deception)", (3, -9), 3),
        ("min(scam, deception)", (3, -9), -9),
        ("min(-scam, -deception)", (3, -9), -3),
        ("abs(scam - deception)", (3, 9), 6),
        ("abs(-0.5 * scam)", (-8,), 4),
        ("scam + 0.5", (10,), 10 + 128),  # half an sd
        ("max(scam, 1, -2)", (10,), 256),
        ("scam / 2 + scam / 3 + scam / 6", (601,), 601),  # no part is rounded on its own
        ("2 / 3 * scam", (3,), 2),
        ("scam / (1 - 3)", (6,), -3),
        ("2 - scam - 1", (6,), 250),
        ("2 - (scam - 1)", (6,), 762),
        ("12 / 4 / 3 * scam", (5,), 5),
        ("2 * (scam + deception) / 4", (5, 9), 7),
        ("--scam - -scam", (5,), 10),
        ("min(1, 2) * max(2, 3) * abs(0 - 4) * scam", (2,), 24),
        ("0 * scam", (5,), 0),
        ("0 * scam + 0 * deception", (5, 5), 0),
        ("max(0 * scam, -0.001)", (5,), 0),
        ("scam - scam", (CODE_MAX,), 0),
    ],
)
def test_worked_by_hand(text: str, codes: tuple[int, ...], expected: int) -> None:
    assert one(text, *codes) == expected


@pytest.mark.parametrize(
    ("code", "half"), [(1, 0), (3, 2), (5, 2), (7, 4), (-1, 0), (-3, -2), (-5, -2), (-7, -4)]
)
def test_halves_go_to_the_even_code(code: int, half: int) -> None:
    assert one("scam / 2", code) == half
    assert one("0.5 * scam", code) == half


def test_saturates_at_the_end_alone() -> None:
    assert one("2 * scam", CODE_MAX) == CODE_MAX
    assert one("2 * scam", -CODE_MAX) == -CODE_MAX
    assert one("1000 * scam", 40) == CODE_MAX
    assert one("(1000 * scam) / 1000", 40) == 40
    assert one("200 + scam - 200", CODE_MAX) == CODE_MAX


def test_a_token_that_is_unscored_in_any_feature_is_unscored() -> None:
    columns = [column(1, CODE_UNSCORED, 1, CODE_UNSCORED), column(2, 2, CODE_UNSCORED, 2)]
    for text in ("a + b", "max(a, b)", "a - 0 * b", "-a - b", "1000 * a + 1000 * b"):
        unscored = parse(text).codes(columns) == CODE_UNSCORED
        assert unscored.tolist() == [False, True, True, True], text


@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 3), (2, 0, 4)])
def test_the_shape_is_that_of_the_columns(shape: tuple[int, ...]) -> None:
    a = np.full(shape, 6, np.int16)
    made = parse("a / 2 + max(b, 1)").codes([a, -a])
    assert made.shape == shape
    assert made.dtype == np.int16
    assert (made == 3 + 256).all()


def test_columns_are_left_as_they_are() -> None:
    a = column(5, CODE_UNSCORED)
    a.flags.writeable = False
    assert parse("a").codes([a]) is not a
    assert a.tolist() == [5, CODE_UNSCORED]


@pytest.mark.parametrize(
    "columns",
    [
        [],
        [column(1)],
        [column(1), column(1), column(1)],
        [column(1), column(1, 2)],
        [column(1), np.array([1], np.int32)],
    ],
)
def test_columns_that_do_not_fit_are_refused(columns: Sequence[Codes]) -> None:
    with pytest.raises(ValueError, match=r"codes are int16|takes \('a', 'b'\) in one shape"):
        parse("a + b").codes(columns)


def test_features_stand_in_the_order_of_their_first_use() -> None:
    assert parse("max(scam, a) - scam + b * 2").features == ("scam", "a", "b")


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("a", "a"),
        (" ( ( a ) ) ", "a"),
        ("a+b*2", "a + b * 2"),
        ("a\n + b\t*2\r\n", "a + b * 2"),
        ("(a-b)-(a-b)", "a - b - (a - b)"),
        ("(a*2)+(b/3)", "a * 2 + b / 3"),
        ("2*(a+b)", "2 * (a + b)"),
        ("a/(2/3)", "a / (2 / 3)"),
        ("(a/2)/3", "a / 2 / 3"),
        ("-(a)*2", "-a * 2"),
        ("-(a*2)", "-(a * 2)"),
        ("a*(-2)", "a * -2"),
        ("- -a", "--a"),
        ("max((a), (b+1),-b)", "max(a, b + 1, -b)"),
        ("00.500*a+7.000", "0.5 * a + 7"),
    ],
)
def test_text_is_the_usual_way_of_writing_it(written: str, text: str) -> None:
    made = parse(written)
    assert made.text == text
    assert parse(text) == made
    assert hash(parse(text)) == hash(made)


def test_expressions_that_group_differently_are_different() -> None:
    assert parse("a - (b - a)") != parse("a - b - a")
    assert parse("a + b") != parse("b + a")


@pytest.mark.parametrize(
    ("text", "offset", "message", "hint"),
    [
        ("", 0, "the end where a feature or a number should be", "a feature, a number, "),
        ("  ", 2, "the end where a feature or a number should be", "a feature, a number, "),
        ("a +", 3, "the end where a feature or a number should be", "a feature, a number, "),
        ("a + * b", 4, "`*` where a feature or a number should be", "a feature, a number, "),
        ("+a", 0, "`+` where a feature or a number should be", "leave it out"),
        ("()", 1, "`)` where a feature or a number should be", "a feature, a number, "),
        ("max()", 4, "`)` where a feature or a number should be", "a feature, a number, "),
        ("max(a,)", 6, "`)` where a feature or a number should be", "a feature, a number, "),
        (".5 * a", 0, "`.` where a feature or a number should be", "begins with a digit"),
        ("0,5 * a", 1, "`,` where an operator should be", "decimals follow a point"),
        ("a b", 2, "`b` where an operator should be", "stands `+`, `-`, `*` or `/`"),
        ("2 a", 2, "`a` where an operator should be", "stands `+`, `-`, `*` or `/`"),
        ("a(b", 0, "`a` is no function", "`abs`, `max`, `min`"),
        ("a)", 1, "`)` where an operator should be", "each `)` has its `(`"),
        ("(a", 2, "the end where `)` should be", "each `)` has its `(`"),
        ("(a, b)", 2, "`,` where `)` should be", "only between the arguments"),
        ("abs(a", 5, "the end where `)` should be", "each `)` has its `(`"),
        ("a > 2", 2, "`>` where an operator should be", "under `above` or `below`"),
        ("a >= 2", 2, "`>=` where an operator should be", "under `above` or `below`"),
        ("a == b", 2, "`==` where an operator should be", "under `above` or `below`"),
        ("a and b", 2, "`and` where an operator should be", "`min(a, b)`"),
        ("a || b", 2, "`||` where an operator should be", "`max(a, b)`"),
        ("not a", 0, "`not` where a feature or a number should be", "`-a`"),
        ("!a", 0, "`!` where a feature or a number should be", "`-a`"),
        ("a ** 2", 2, "`**` where an operator should be", "the operators are"),
        ("a ^ 2", 2, "`^` where an operator should be", "the operators are"),
        ("a % 2", 2, "`%` where an operator should be", "the operators are"),
        ("a // 2", 2, "`//` where an operator should be", "the operators are"),
        ("a − b", 2, "`−` where an operator should be", "write `-`"),
        ("2 × a", 2, "`×` where an operator should be", "write `*` or `/`"),
        ("a\x1b", 1, r"`\x1b` where an operator should be", "stands `+`"),
        ("a + \u202eb", 4, r"`\u202e` where a feature or a number should be", "a feature"),
        ("a[0]", 1, "`[` where an operator should be", "stands `+`"),
        ("a.b", 1, "`.` where an operator should be", "begins with a digit"),
        ("a + 2b", 4, "`2b` is no number here", "at most 3 decimals"),
        ("a + 1e3", 4, "`1e3` is no number here", "at most 3 decimals"),
        ("a + 1.", 4, "`1.` is no number here", "at most 3 decimals"),
        ("a + 0.1234", 4, "`0.1234` is no number here", "at most 3 decimals"),
        ("a + 1_0", 4, "`1_0` is no number here", "at most 3 decimals"),
        ("a + 1000.001", 4, "`1000.001` is too large", "at most 1000"),
        ("a + Scam", 4, "`Scam` cannot be a feature", "small letters"),
        ("a + _b", 4, "`_b` cannot be a feature", "a letter first"),
        ("a + " + "b" * 65, 4, f"`{'b' * 65}` cannot be a feature", "up to 64"),
        ("a + maxx(a, b)", 4, "`maxx` is no function", "did you mean `max`?"),
        ("a + max", 7, "the end where `(` should be", "write `max(a, b)`"),
        ("max + a", 4, "`+` where `(` should be", "leave it out"),
        ("a + max(b)", 4, "`max` with 1 arguments", "from 2 to 8"),
        ("min(a,a,a,a,a,a,a,a,a)", 0, "`min` with 9 arguments", "from 2 to 8"),
        ("a + abs(b, a)", 4, "`abs` with 2 arguments", "exactly 1"),
        ("a + b*a", 5, "`b * a` multiplies two scores", "one side of `*` is a number"),
        ("2 * a * (b + 1)", 6, "`2 * a * (b + 1)` multiplies two scores", "one side of `*`"),
        ("a / b", 2, "`a / b` divides by a score", "a number"),
        ("1 / a", 2, "`1 / a` divides by a score", "a number"),
        ("a + b / 0", 6, "`b / 0` divides by zero", "a number but 0"),
        ("a / (1 - 1)", 2, "`a / (1 - 1)` divides by zero", "a number but 0"),
        ("(1 + 2) * 3", 0, "`(1 + 2) * 3` has no feature", "made of scores"),
        ("max(1, 2)", 0, "`max(1, 2)` has no feature", "made of scores"),
    ],
)
def test_a_mistake_is_named_where_it_stands(
    text: str, offset: int, message: str, hint: str
) -> None:
    found = error(text)
    assert (found.offset, found.message) == (offset, message)
    assert hint in found.hint
    assert str(found) == f"{found.message}\n  hint: {found.hint}"


def test_no_longer_than_500_characters() -> None:
    name = "a" * 64
    text = " + ".join([name] * 7)  # 466
    assert parse(text.ljust(500)).features == (name,)
    assert error(text.ljust(501)).offset == 500
    assert error("(" * 10_000_000).message == "10000000 characters"


def test_no_longer_than_500_characters_once_it_is_spaced() -> None:
    """Else `parse(text)` of a tight expression would refuse its own text."""
    tight = "+".join(["a" * 15] * 31)
    assert len(tight) == 495
    found = error(tight)
    assert (found.offset, found.message[:14]) == (0, "555 characters")


@pytest.mark.parametrize(
    ("before", "after", "offset"), [("(", ")", 0), ("-", "", 0), ("abs(", ")", 0), ("2*(", ")", 2)]
)
def test_no_deeper_than_16(before: str, after: str, offset: int) -> None:
    assert parse(before * 16 + "a" + after * 16).features == ("a",)
    found = error(before * 17 + "a" + after * 17)
    assert "more than 16 deep" in found.message
    assert found.offset == 16 * len(before) + offset


def test_what_stands_side_by_side_is_not_deep() -> None:
    assert one(" + ".join(["(-a)"] * 20), 3) == -60


def test_no_more_than_64_parts() -> None:
    assert one("-" + "+".join(["a"] * 32), 3) == 90  # 32 features, 31 operators, a minus
    found = error("+".join(["a"] * 33))
    assert (found.offset, found.message) == (64, "more than 64 parts")


def test_no_more_than_16_features() -> None:
    names = [f"f{i:02}" for i in range(17)]
    text = "+".join(f"0.5*{name}" for name in names[:16])  # a weighted sum of all 16 fits
    assert parse(text).features == tuple(names[:16])
    assert parse(text[4:] + "+f15").features == tuple(names[:16])
    found = error("+".join(names))
    assert (found.offset, found.message) == (16 * 4, "more than 16 features")


def test_what_could_overflow_is_refused_at_the_operator_that_makes_it_so() -> None:
    assert parse("1000 * " * 4 + "a").text
    assert error("a" + " * 1000" * 5).offset == 2 + 4 * 7  # 2**15 * 10**15 > 2**63
    assert error("a" + " / 1000" * 7).offset == 2 + 6 * 7  # 10**21
    assert "too large or too fine" in error("a" + " / 1000" * 7).message
    primes = (997, 991, 983, 977, 971, 967, 953)
    found = error(" + ".join(f"a/{p}" for p in primes))
    assert found.offset == 8 * 4 - 2 + 8  # the fifth `+`: 2**15 times a product of five primes
    assert "at `+`" in found.message


# --- against Python's fractions, one token at a time ---------------------------------------------

DECIMALS = st.integers(0, 1_000_000).map(lambda n: f"{n // 1000}.{n % 1000:03}")
NUMBERS = st.one_of(
    st.integers(0, 12).map(str), st.sampled_from(["0.5", "0.25", "1000", "997"]), DECIMALS
).map(lambda text: ("number", text))
CONSTANTS: st.SearchStrategy[Tree] = st.recursive(
    NUMBERS,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["+", "-", "*", "min", "max"]), inner, inner),
        st.tuples(st.just("/"), inner, inner.filter(lambda tree: exact(tree, ()) != 0)),
        st.tuples(st.sampled_from(["neg", "abs"]), inner),
    ),
    max_leaves=3,
)


def _scores(inner: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    either = st.one_of(inner, CONSTANTS)
    divisors = CONSTANTS.filter(lambda tree: exact(tree, ()) != 0)
    joins = st.sampled_from(["+", "-", "min", "max"])
    return st.one_of(
        st.tuples(joins, inner, either),
        st.tuples(joins, either, inner),
        st.tuples(st.just("max"), inner, either, either),
        st.tuples(st.sampled_from(["neg", "abs"]), inner),
        st.tuples(st.just("*"), CONSTANTS, inner),
        st.tuples(st.just("*"), inner, CONSTANTS),
        st.tuples(st.just("/"), inner, divisors),
    )


FEATURES = st.integers(0, len(NAMES) - 1).map(lambda i: ("feature", i))
SCORES: st.SearchStrategy[Tree] = st.recursive(FEATURES, _scores, max_leaves=8)
CODES = st.one_of(
    st.sampled_from([CODE_MAX, -CODE_MAX, 0, 1, -1, CODE_UNSCORED]),
    st.integers(-CODE_MAX, CODE_MAX),
    st.integers(-300, 300),
)


def exact(tree: Tree, sds: Sequence[Fraction]) -> Fraction:
    """In sd."""
    op, *rest = tree
    if op == "number":
        return Fraction(rest[0])
    if op == "feature":
        return sds[rest[0]]
    values = [exact(part, sds) for part in rest]
    if op == "neg":
        return -values[0]
    if op == "abs":
        return abs(values[0])
    if op in ("min", "max"):
        return min(values) if op == "min" else max(values)
    left, right = values
    if op == "/":
        return left / right
    return {"+": left + right, "-": left - right, "*": left * right}[op]


def written(tree: Tree, space: str, all_parentheses: bool) -> str:
    """Of every part in parentheses, or of those that the usual precedence needs."""
    binds = {"+": 0, "-": 0, "*": 1, "/": 1, "neg": 2}

    def of(part: Tree, least: int) -> str:
        text = written(part, space, all_parentheses)
        inside = all_parentheses or binds.get(part[0], 3) < least
        return f"({space}{text})" if inside else text

    op, *rest = tree
    if op == "number":
        return str(rest[0])
    if op == "feature":
        return NAMES[rest[0]]
    if op == "neg":
        return f"-{space}{of(rest[0], 2)}"
    if op in ("abs", "min", "max"):
        return f"{op}{space}({f'{space},'.join(of(part, 0) for part in rest)})"
    return f"{of(rest[0], binds[op])}{space}{op}{space}{of(rest[1], binds[op] + 1)}"


def read(tree: Tree, space: str, all_parentheses: bool) -> Expr:
    """Skips what the limits refuse, which other tests are about, and nothing else."""
    made = attempt(written(tree, space, all_parentheses))
    if isinstance(made, Expr):
        return made
    limits = ("too large or too fine", "characters", "deep", "more than 64 parts")
    assert any(limit in made.message for limit in limits), made
    assume(False)
    raise made


@given(SCORES, st.sampled_from(["", " ", "\n  "]), st.booleans(), st.data())
def test_codes_are_the_exact_value_rounded_once(
    tree: Tree, space: str, all_parentheses: bool, data: st.DataObject
) -> None:
    expr = read(tree, space, all_parentheses)
    row = st.tuples(*[CODES] * len(expr.features))
    rows = np.array(data.draw(st.lists(row, min_size=1, max_size=6)), np.int16)
    made = expr.codes(list(rows.T))
    for codes, got in zip(rows.tolist(), made.tolist(), strict=True):
        sds = {name: Fraction(c, 256) for name, c in zip(expr.features, codes, strict=True)}
        value = round(exact(tree, [sds.get(name, Fraction(0)) for name in NAMES]) * 256)
        expected = max(-CODE_MAX, min(CODE_MAX, value))
        assert got == (CODE_UNSCORED if CODE_UNSCORED in codes else expected)


@given(SCORES, st.sampled_from(["", " ", "\n  "]))
def test_text_reads_back_as_the_same_expression(tree: Tree, space: str) -> None:
    expr = read(tree, space, all_parentheses=True)
    again = parse(expr.text)
    assert again == expr
    assert again._value == expr._value
    assert parse(written(tree, space, all_parentheses=False)) == expr


@given(
    st.one_of(
        st.text(max_size=600),
        st.text("ab01.,+-*/() \n", max_size=80),
        st.lists(
            st.sampled_from(
                ["a", "b", "max(", "min(", "abs(", "(", ")", ",", "-", "+", "*", "/", "2", "0.5"]
            ),
            max_size=90,
        ).map(" ".join),
    )
)
@example("\ud800")
@example("a\x00")
@example("١ * a")  # a digit, but not one of ours
@example("9" * 500)
def test_any_text_is_an_expression_or_an_expression_error(text: str) -> None:
    made = attempt(text)
    if isinstance(made, ExprError):
        assert 0 <= made.offset <= len(text)
        assert made.message.isprintable()
        assert made.hint.isprintable()
    else:
        assert parse(made.text) == made
        assert len(made.codes([column(1, 2)] * len(made.features))) == 2
