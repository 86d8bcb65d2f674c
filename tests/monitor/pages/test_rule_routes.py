"""The page of a rule: what an edit would do, and the patch it becomes."""

from __future__ import annotations

import html
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from dosimeter.monitor.pages import rule_routes

from .conftest import Visit
from .fake import TEXT

PAGE = "/rules/deceptive-answer"
EDITED = TEXT.replace("1 in 500 answers", "1 in 1000 answers")


def tried(visit: Visit, do: str, text: str = EDITED) -> str:
    answer = visit.post(f"{PAGE}/try", {"do": do, "text": text})
    assert answer.status_code == 200
    return str(answer.text)


def test_a_finding_shows_place_value_and_next_step(local: Visit) -> None:
    page = tried(local, "lint", TEXT.replace("deception,", "decepton,"))
    assert "rules/packs/lab.yaml:4:22" in page
    assert "unknown feature `decepton`" in page
    assert "did you mean `deception`?" in page


def test_tests_show_those_that_failed_first(local: Visit) -> None:
    page = tried(local, "test")
    assert "1 of 2 passed" in page
    assert page.index("fired at token 31") < page.index("</span> 8 tokens above")


def test_a_backtest_shows_alerts_a_day_with_their_interval_and_plots(local: Visit) -> None:
    page = tried(local, "backtest")
    assert "<b>139 alerts a day</b>" in page
    assert "121 to 158" in page
    assert "level 2.88 sd" in page
    assert page.count('role="img"') == 3  # by day and by statistic, and the rule's own alerts


def test_what_cannot_be_tried_says_why_beside_the_edited_text(local: Visit) -> None:
    page = tried(local, "backtest", EDITED + "# no-archive\n")
    assert "there is no archive here" in page
    assert "# no-archive" in page


def test_one_backtest_runs_at_a_time(local: Visit) -> None:
    with rule_routes._one_backtest:
        assert "another backtest is running" in tried(local, "backtest")
    assert "alerts a day" in tried(local, "backtest")


def test_the_edited_text_stays_in_the_form_as_it_was_typed(local: Visit) -> None:
    text = 'version: 1  # <b>"&\u200b\ttab\n'
    page = tried(local, "lint", text)
    area = re.search(r"<textarea id=\"text\"[^>]*>\n(.*?)</textarea>", page, re.DOTALL)
    assert area is not None
    assert html.unescape(area[1]) == text
    assert r"line 1: \t; line 1: \u200b" in page


def test_the_patch_applies_with_git_and_gives_the_edited_file(local: Visit, tmp_path: Path) -> None:
    answer = local.post(f"{PAGE}/try", {"do": "patch", "text": EDITED.replace("\n", "\r\n")})
    assert answer.headers["content-disposition"] == 'attachment; filename="deceptive-answer.patch"'
    file = tmp_path / "rules/packs/lab.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(TEXT)
    subprocess.run(["git", "init", "-q", "."], cwd=tmp_path, check=True)
    subprocess.run(["git", "apply", "-"], input=answer.content, cwd=tmp_path, check=True)
    assert file.read_text() == EDITED


def test_an_unchanged_text_is_no_patch_and_one_with_errors_neither(local: Visit) -> None:
    assert "nothing to patch" in tried(local, "patch", TEXT)
    assert "decepton" in tried(local, "patch", TEXT.replace("deception,", "decepton,"))


def test_the_list_shows_precision_with_its_interval(local: Visit) -> None:
    page = local.client.get("/rules").text
    assert "100 % [84, 100] of 20" in page  # Wilson of 20 in 20: 0.839 to 1
    assert "83 % [64, 93] of 24" in page  # and of 20 in 24: 0.641 to 0.933


def test_alerts_by_day_stand_beside_how_far_that_time_was_watched(local: Visit) -> None:
    """Found by review on 2026-11-30: a rule that fired seldom as nobody looked read like one that fires seldom."""
    for path in ("/rules", PAGE):
        assert (
            "coverage 99.58 % of 984,000 tokens; 1 hour under 99 %" in local.client.get(path).text
        )


def test_from_who_judges_alone_the_sums_are_kept(visit_as: Callable[[str], Visit]) -> None:
    client = visit_as("reviewer/*").client
    assert "24 judged, sums kept" in client.get("/rules").text
    page = client.get(PAGE).text
    assert "<b>40</b> judged" in page
    assert "Wilson" not in page
    assert "Wilson" in visit_as("viewer/*").client.get(PAGE).text


def test_a_text_over_the_bound_is_refused(local: Visit) -> None:
    answer = local.post(f"{PAGE}/try", {"do": "lint", "text": "a" * (128 * 1024 + 1)})
    assert answer.status_code == 422
