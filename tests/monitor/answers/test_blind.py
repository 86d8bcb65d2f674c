"""The second reviewer judges without knowing what the first said, wherever the pages would show it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dosimeter.monitor.pages.source import QueueFilter, Reader
from tests.monitor.answers.answers_scene import Answers, answers

FIRST, SECOND = (Reader(name, None, frozenset({"reviewer"})) for name in ("rita", "sam"))
VIEWER = Reader("vera", None, frozenset({"viewer"}))
AUDITOR = Reader("aldo", None, frozenset({"auditor", "reviewer"}))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Answers]:
    with answers(tmp_path / "data") as found:
        scene_label(found, FIRST, "false", "she was joking")
        yield found


def scene_label(scene: Answers, reader: Reader, verdict: str, note: str = "") -> None:
    assert scene.source.label(scene.alert(1)["id"], verdict, "", note, reader) is not None  # type: ignore[arg-type]


def seen(scene: Answers, reader: Reader) -> tuple[list[str], list[str], list[str], list[bool]]:
    """Verdicts of one alert: on its page, with its notes, in the queue; and whether each says that it hides one."""
    id_ = scene.alert(1)["id"]
    alert = scene.source.alert(id_, reader)
    evidence = scene.source.evidence(id_, reader)
    page = scene.source.queue(QueueFilter(labelled=True), reader, None, 50)
    case = scene.source.case("tenant", scene.alert(1)["tenant"], reader, "UTC")
    assert alert is not None
    assert evidence is not None
    assert case is not None
    rows = [row for row in (*page.rows, *case.rows) if row.id == id_]
    return (
        [one.verdict for one in alert.labels],
        [one.note or "" for one in evidence.notes],
        [row.verdict or "" for row in rows],
        [alert.blind, *(row.blind for row in rows)],
    )


def test_another_reviewer_is_told_that_there_is_a_verdict_and_not_which(scene: Answers) -> None:
    assert seen(scene, SECOND) == ([], [], ["", ""], [True, True, True])


def test_no_count_of_verdicts_tells_which_one_it_was(scene: Answers) -> None:
    """Of a user with one alert that was judged, the count is the verdict."""
    tenant = scene.alert(1)["tenant"]
    for reader, told in ((SECOND, {"judged": 1}), (AUDITOR, {"false": 1})):
        case = scene.source.case("tenant", tenant, reader, "UTC")
        assert case is not None
        assert case.verdicts == told


def test_sums_of_a_rule_are_kept_from_who_judges_alone(scene: Answers) -> None:
    """Found by review on 2026-11-30: of a rule with one verdict the sum was that verdict. Who tunes rules needs it."""
    tuning = Reader("tara", None, frozenset({"reviewer", "author"}))
    name = scene.alert(1)["rule"]
    for reader, told in (
        (FIRST, (0, 0, 1)),
        (SECOND, (0, 0, 1)),
        (VIEWER, (0, 1, 0)),
        (AUDITOR, (0, 1, 0)),
        (tuning, (0, 1, 0)),
    ):
        (line,) = (one for one in scene.source.rules(reader).lines if one.name == name)
        assert (line.true, line.false, line.judged) == told, reader.name
        rule = scene.source.rule(name, reader, "UTC")
        assert rule is not None
        assert (rule.true, rule.false, rule.judged, rule.unsure) == (*told, 0), reader.name


def test_where_reviewers_disagreed_is_no_secret(scene: Answers) -> None:
    """Both verdicts are a matter of record by then; the sum of them is still a number."""
    scene_label(scene, SECOND, "true")
    rule = scene.source.rule(scene.alert(1)["rule"], FIRST, "UTC")
    assert rule is not None
    assert (rule.judged, rule.disagreed) == (1, 1)


def test_whoever_gave_it_sees_it_and_so_do_those_who_judge_nothing(scene: Answers) -> None:
    shown = (["false"], ["she was joking"], ["false", "false"], [False, False, False])
    assert seen(scene, FIRST) == shown
    assert seen(scene, VIEWER) == shown
    assert seen(scene, AUDITOR) == shown


def test_once_the_second_has_judged_both_are_shown_to_everybody(scene: Answers) -> None:
    scene_label(scene, SECOND, "true")
    third = Reader("tess", None, frozenset({"reviewer"}))
    for reader in (SECOND, FIRST, third):
        verdicts, _, rows, blind = seen(scene, reader)
        assert verdicts == ["false", "true"]
        assert rows == ["true", "true"]
        assert not any(blind)
