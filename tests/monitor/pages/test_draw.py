"""Plots: their numbers in words, nothing in them that a content policy would block."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

from dosimeter.monitor.pages import draw
from dosimeter.monitor.pages.shown import Day, Hour
from dosimeter.monitor.pages.source import Reader

from .fake import HOSTILE, NOW_NS, FakeHistory

DAYS = (
    Day("2026-03-01", {"high": 3, "low": 1}),
    Day("2026-03-02", {}),
    Day("2026-03-03", {"high": 2}),
)
BACKTEST = FakeHistory().backtest("r", "", "UTC", Reader("me"))


def label(svg: str) -> str:
    return ElementTree.fromstring(svg).attrib["aria-label"]


def titles(svg: str) -> list[str]:
    return [one.text or "" for one in ElementTree.fromstring(svg).iter("title")]


def test_every_plot_is_well_formed_and_has_neither_style_nor_script() -> None:
    plots = (
        draw.days(DAYS, HOSTILE),
        draw.days((), "none"),
        draw.coverage([Hour(NOW_NS, 10, 9), Hour(NOW_NS, 0, 0)], ["10:00", HOSTILE]),
        draw.scores([1.0, None, -2.0], 0.5, 7, (7, 9), HOSTILE),
        draw.scores([], 0.0, 0, (0, 0), "x"),
        draw.histogram(replace(BACKTEST, feature=HOSTILE)),
        draw.meter(-3.0, 2.0),
    )
    for svg in plots:
        tree = ElementTree.fromstring(svg)
        assert not list(tree.iter("style")) + list(tree.iter("script"))
        assert not [a for e in tree.iter() for a in e.attrib if a == "style" or a.startswith("on")]
        assert not {"\x1b", "\u202e"} & set(svg)
        assert "nan" not in svg


def test_days_say_their_numbers_and_heights_are_in_proportion() -> None:
    svg = draw.days(DAYS, "alerts")
    assert label(svg) == "alerts: 2026-03-01 4, 2026-03-03 2"
    assert titles(svg) == ["2026-03-01: 3 high", "2026-03-01: 1 low", "2026-03-03: 2 high"]
    heights = [float(h) for h in re.findall(r'height="([\d.]+)"', svg)]
    assert heights == [60.0, 20.0, 40.0]  # 80 for the most in a day, which is 4


def test_an_hour_without_knowledge_differs_from_one_without_tokens() -> None:
    hours = [Hour(0, 100, 100), Hour(0, 100, 90), Hour(0, 0, 0), Hour(0, 0, 0, known=False)]
    svg = draw.coverage(hours, ["a", "b", "c", "d"])
    assert label(svg) == "tokens not scored by hour: 1 of 4 hours over 1 %, 1 not known"
    assert titles(svg) == [
        "a: 100.00 % of 100 tokens scored",
        "b: 90.00 % of 100 tokens scored",
        "d: not known",
    ]
    assert ">10%<" in svg
    assert ">–<" in svg


def test_scores_count_what_reaches_the_threshold() -> None:
    svg = draw.scores([0.0, 2.88, 3.0, None, -1.0], 2.88, 40, (41, 43), "deception")
    assert label(svg) == (
        "scores of deception along 5 tokens from 40: 2 at or over the threshold of 2.88 sd, highest 3.00 sd"
    )
    assert svg.count('class="over"') == 2


def test_a_histogram_counts_what_lies_beyond_the_level() -> None:
    one = replace(BACKTEST, bins=((2.0, 1000), (2.5, 100), (3.0, 7)), bin_sd=0.5, threshold_sd=2.5)
    assert "107 of 1,107 kept ones beyond the level" in label(draw.histogram(one))


def test_no_requests_make_no_histogram() -> None:
    assert draw.histogram(replace(BACKTEST, bins=())) == ""


def test_the_thresholds_words_stand_where_the_bars_are_low() -> None:
    calm_first = [0.1] * 10 + [3.0] * 10
    for values, anchor in ((calm_first, "start"), (calm_first[::-1], "end"), ([], "end")):
        svg = draw.scores(values, 1.0, 0, (0, 1), "x")
        (words,) = [e for e in ElementTree.fromstring(svg).iter("text") if "threshold" in str(e.text)]  # fmt: skip
        assert words.attrib["text-anchor"] == anchor
