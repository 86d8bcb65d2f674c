"""Text on a terminal: harmless, within its columns, plain where colour is not wanted."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosimeter.monitor.cli.screen import Screen, bar, columns, fit, plain, redraw, table


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    "attack",
    [
        "\x1b[2J\x1b[1;1H",  # clear the screen
        "\x1b]0;title\x07",
        "\x9b31m",  # one-byte CSI
        "a\rb",
        "a\nb",
        "\u202egnp.exe",  # right-to-left override
        "\u2066x\u2069",
        "\u200b",
        "\ud800",
        "\x00",
    ],
)
def test_nothing_from_outside_acts_on_the_terminal(attack: str) -> None:
    shown = plain(attack)
    assert shown.isprintable()
    assert shown != attack


@given(st.text(max_size=40), st.integers(1, 30))
def test_fit_is_exactly_as_wide_as_asked(text: str, width: int) -> None:
    assert columns(fit(plain(text), width)) == width


def test_wide_characters_count_two_and_marks_none() -> None:
    assert columns("日本") == 4
    assert columns("e\u0301") == 1
    assert fit("日本語", 4) == "日… "


@given(
    st.lists(st.tuples(*[st.text(max_size=50)] * 5), max_size=5),
    st.integers(40, 120),
)
def test_a_table_is_never_wider_than_the_screen(rows: list[tuple[str, ...]], width: int) -> None:
    cells = [[plain(cell) for cell in row] for row in rows]
    lines = table(("id", "a", "b", "c", "summary"), cells, width)
    assert len(lines) == len(rows) + 1
    assert all(columns(line) <= width for line in lines)


def test_the_widest_column_gives_way_first() -> None:
    lines = table(("id", "rule", "summary"), [("ab12", "r" * 30, "s" * 30)], 30)
    assert lines[1].startswith("ab12  r")
    assert lines[1].endswith("…")


def test_colour_only_on_a_terminal_and_never_against_no_color() -> None:
    assert not Screen.of(io.StringIO(), {}).color
    assert Screen.of(Terminal(), {}).color
    assert not Screen.of(Terminal(), {"NO_COLOR": "1"}).color
    assert not Screen.of(Terminal(), {"TERM": "dumb"}).color
    assert Screen.of(Terminal(), {"NO_COLOR": ""}).color  # the convention: empty is not set


def test_shades_grow_with_strength_and_plain_stays_plain() -> None:
    screen = Screen(color=True)
    assert screen.shade("x", 0.0) == "x"
    assert screen.shade("x", 1.0) == "\x1b[48;5;196m\x1b[38;5;16mx\x1b[0m"
    assert Screen().shade("x", 1.0) == "x"


def test_bars_span_their_range() -> None:
    assert [bar(v) for v in (-1.0, 0.0, 0.5, 1.0, 9.0)] == ["▁", "▁", "▅", "█", "█"]


def test_a_picture_is_drawn_over_the_last_one_and_cut_to_the_terminal() -> None:
    out = io.StringIO()
    redraw(out, ["abcdef", "b", "c"], width=4, height=3)
    assert out.getvalue() == "\x1b[Habc…\x1b[K\nb\x1b[K\n\x1b[J"
