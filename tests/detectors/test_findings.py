"""What is wrong, where and what to do: the words every refusal is told in."""

from __future__ import annotations

import pytest

from dosimeter.detectors.findings import Finding, InputError, Place, hint_for, render, suggest


def test_what_has_no_lines_is_named_without_one() -> None:
    assert str(InputError.at("model", "no weights")) == "model: error: no weights [value]"
    (finding,) = InputError.at("model", "no weights").findings
    assert finding.as_json()["line"] is None


@pytest.mark.parametrize(
    ("word", "meant"),
    [("anser", "answer"), ("Answer", "answer"), ("answers", "answer"), ("xyzzy", None)],
)
def test_a_misspelling_finds_the_word_that_was_meant(word: str, meant: str | None) -> None:
    assert suggest(word, ["answer", "message", "tool"]) == meant


def test_where_nothing_is_near_the_hint_lists_what_exists() -> None:
    assert hint_for("xyzzy", ["b", "a"]) == "known here: `a`, `b`"
    assert hint_for("xyzzy", []) == "none is known here"


def test_a_finding_cannot_act_on_the_terminal_it_is_shown_in() -> None:
    """Escape codes and direction marks in a file name or value come out as text."""
    finding = Finding("value", "error", Place("\x1b[2Jf.yaml"), "a \u202eb", None)
    assert "\x1b" not in render([finding])
    assert "\u202e" not in render([finding])
