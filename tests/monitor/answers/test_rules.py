"""Rules for the pages: how often one fired stands beside how far that time was watched, and an edit is linted.

A small number may be one that nobody counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dosimeter import rules
from dosimeter.monitor.answers.source import HistorySource
from tests.monitor.answers.answers_scene import ALL, NOW_NS, Answers, answers
from tests.monitor.audit.audit_scene import HOUR_NS

DAY_NS = 24 * HOUR_NS


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Answers]:
    with answers(tmp_path / "data") as found:
        yield found


def test_of_the_list_it_is_said_in_a_line(scene: Answers) -> None:
    """Three hours of the scene were watched, with 2,400 of 2,500 tokens scored, and record 5 never came."""
    assert scene.source.rules(ALL).worth == (
        "coverage 96 % of 2,500 tokens; 1 hour under 99 %"
        " · not known to be watched: 6.9 days of 7.0 days · gaps: pod-7 seq 5"
    )


def test_of_a_rule_it_is_said_with_the_particulars(scene: Answers) -> None:
    found = scene.source.rule("scam-written", ALL, "Asia/Tokyo")
    assert found is not None
    assert found.worth[0] == (
        "coverage 96 % of 2,500 tokens; 1 hour under 99 %"
        " · not known to be watched: 27.9 days of 28.0 days · gaps: pod-7 seq 5"
    )
    assert "    2026-03-01 10:00:00+09:00 to 11:00:00+09:00  90 % of 1,000  pod-7" in found.worth


def test_where_it_did_not_fire_it_is_said_what_that_means(scene: Answers) -> None:
    """A month on nobody has watched, and the rule has no alert: nothing follows of that."""
    scene.now_ns = NOW_NS + 40 * DAY_NS
    found = scene.source.rule("scam-written", ALL, "UTC")
    assert found is not None
    assert found.days == ()
    assert found.worth[:2] == (
        "no data in that time",
        "nothing follows: nobody is known to have watched then",
    )
    assert scene.source.rules(ALL).worth == "no data in that time"


def test_what_is_wrong_with_an_edited_text_is_said_with_its_place_in_the_rules_own_file(
    scene: Answers, tmp_path: Path
) -> None:
    """2026-11-30: a place became a tuple, and every finding on the page an error of the server."""
    path, lab = tmp_path / "rules.yaml", Path(rules.__file__).parent / "packs" / "lab.yaml"
    path.write_text(lab.read_text())
    source = HistorySource(replace(scene.asked, config=replace(scene.asked.config, rules=(path,))))
    edited = path.read_text().replace("deception", "decepton", 1)
    found = source.lint("deceptive-answer", edited)
    line = 1 + edited[: edited.index("decepton")].count("\n")
    assert f"rules.yaml:{line}" in [str(one.place).rpartition(":")[0] for one in found]
    assert path.read_text() == lab.read_text()
