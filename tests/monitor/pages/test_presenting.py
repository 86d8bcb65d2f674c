"""What is computed for a page, against numbers worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dosimeter.monitor.pages.presenting import (
    invisible,
    outward,
    precision,
    rough,
    share,
    short_ids,
    strips,
    token_text,
    trace_link,
    transcript_link,
)
from dosimeter.monitor.pages.shown_alerts import AlertView, Evidence
from dosimeter.monitor.pages.source import Reader

from .fake import FakeHistory, alert_id


def alert() -> AlertView:
    found = FakeHistory().alert(alert_id(0), Reader("me"))
    assert found is not None
    return found


def evidence(codes: list[int | None], tokens: list[str] | None = None) -> Evidence:
    rows = tuple((code,) for code in codes)
    return Evidence("", {}, 210, ("deception",), rows, None if tokens is None else tuple(tokens))


def test_shade_runs_to_twice_the_threshold_and_over_means_at_or_over_it() -> None:
    # threshold 2.88 sd; full shade at 5.76 sd = 1474.56 codes
    codes = [0, 256, 737, 738, 1475, 9999, -500, None]
    (strip,) = strips(alert(), evidence(codes))
    assert [cell.shade for cell in strip.cells] == [0, 2, 5, 5, 10, 10, 0, 0]
    assert [cell.over for cell in strip.cells] == [False] * 3 + [True] * 3 + [False] * 2
    assert strip.values[3] == pytest.approx(2.8828, abs=1e-4)
    assert strip.values[7] is None


def test_the_span_of_the_condition_is_bracketed() -> None:
    (strip,) = strips(alert(), evidence([0] * 30))  # span 212 to 224, evidence from 210
    assert [c.position for c in strip.cells if c.opens] == [212]
    assert [c.position for c in strip.cells if c.closes] == [223]
    assert sum(c.inside for c in strip.cells) == 12


def test_long_evidence_is_cut_around_the_span_and_says_by_how_much() -> None:
    clause = replace(alert().clauses[0], start=3000, end=3010)
    (strip,) = strips(replace(alert(), clauses=(clause,)), evidence([1] * 4000))
    assert len(strip.cells) == 256
    assert strip.left_out == 4000 - 256
    assert strip.cells[0].position == 3000 - 48
    assert strip.cells[-1].position == 3000 - 48 + 255


@pytest.mark.parametrize(
    ("true", "false", "said"),
    [
        (0, 0, "no verdicts yet"),
        (33, 7, "82 % [68, 91] of 40"),  # Wilson, z 1.96: 0.680 to 0.913
        (0, 10, "0 % [0, 28] of 10"),  # 0 to 0.278
    ],
)
def test_precision_has_its_wilson_interval(true: int, false: int, said: str) -> None:
    assert precision(true, false) == said


@pytest.mark.parametrize(
    ("part", "whole", "said"),
    [(99_999, 100_000, "99.99 %"), (1, 1, "100.00 %"), (0, 7, "0.00 %"), (0, 0, "no tokens"),
     (10**18 - 1, 10**18, "99.99 %")],
)  # fmt: skip
def test_a_share_is_never_rounded_up_to_all(part: int, whole: int, said: str) -> None:
    assert share(part, whole) == said


def test_a_token_shows_what_hides_in_it_and_is_cut() -> None:
    assert token_text("a\nb\tc") == "a↵b⇥c"
    assert token_text("\u202e\u200d\x1b[2J") == r"\u202e\u200d\x1b[2J"
    assert len(token_text("\u200b" * 1000)) == 80


def test_links_outward_carry_the_id_and_nothing_else() -> None:
    labels = {"request_id": "a/b?c=d&e#f", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    assert transcript_link("https://x/{request_id}", labels) == "https://x/a%2Fb%3Fc%3Dd%26e%23f"
    assert transcript_link("https://x/{request_id}", {}) == ""
    assert trace_link("https://t/{trace_id}", labels) == ("a" * 32, f"https://t/{'a' * 32}")
    assert trace_link("https://t/{trace_id}", {"traceparent": "javascript:1"}) == ("", "")


@pytest.mark.parametrize(
    "url", ["javascript:1", "data:text/html,x", "//x", "file:///x", "https:", "http://["]
)
def test_no_other_scheme_is_followed(url: str) -> None:
    assert outward(url) == ""
    assert outward("https://x/y") == "https://x/y"


def test_invisible_characters_are_named_by_line() -> None:
    assert invisible("a: 1\nb: \u202e2\r\n") == [r"line 2: \u202e"]


@pytest.mark.parametrize(
    ("number", "said"),
    [(0.0, "0"), (0.012345, "0.0123"), (3.0, "3"), (99.96, "100"), (19_421.5, "19,400"), (139.0, "139")],
)  # fmt: skip
def test_an_estimate_is_said_with_three_figures(number: float, said: str) -> None:
    assert rough(number) == said


def test_ids_in_a_cell_are_cut_and_hashes_are_not() -> None:
    id_, sha = "01a22a69fd4d8cc5372d7e91eea5e600", "ab" * 32
    assert short_ids(f"alert {id_}, tenant x") == "alert 01a22a69fd4d, tenant x"
    assert short_ids(sha) == sha
