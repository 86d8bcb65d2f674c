"""Figures out of labels, against values worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from dosimeter.monitor.audit.people.labels import Label, Verdict
from dosimeter.monitor.audit.people.precision import (
    Group,
    Judged,
    agreement,
    catch,
    group_of,
    judged,
    labels_csv,
    precision,
)
from dosimeter.monitor.cli.rules import backtest, plan
from dosimeter.monitor.cli.rules.promote import read_labels as by_event
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.reader import LedgerReader


def request(n: int) -> str:
    return f"{7:016x}/{n:016x}"


def event(n: int) -> str:
    return f"{n:032x}"


def alert(n: int, standing: str, rule: str = "lies", group: Group = "notified") -> Judged:
    return Judged(standing, request(n), event(n), rule, group)  # type: ignore[arg-type]


def sample(n: int, standing: str, one_in: int = 10) -> Judged:
    return Judged(standing, request(n), one_in=one_in)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "decision", "wanted"),
    [
        ("live", "notified", "notified"),
        ("shadow", "shadow", "shadow"),
        ("shadow", "deduped", "shadow"),
        ("live", "deduped", "held-back"),
        ("live", "silenced", "held-back"),
    ],
)
def test_what_became_of_an_alert(status: str, decision: str, wanted: str) -> None:
    assert group_of(status, decision) == wanted


def test_precision_a_rule_and_group_with_wilsons_interval() -> None:
    """8 of 10 is .490 to .943 (Newcombe, Statistics in Medicine 17, 1998, has the method)."""
    found = [alert(n, "true" if n < 8 else "false") for n in range(10)]
    found += [alert(10, "unsure"), alert(11, "disputed"), alert(12, "false", group="shadow")]
    found += [alert(13, "true", "scam"), sample(14, "true")]
    lies, shadow, scam = precision(found)
    assert (lies.rule, lies.group, lies.right, lies.n) == ("lies", "notified", 8, 10)
    assert (lies.unsure, lies.disputed) == (1, 1)
    assert (round(lies.low, 4), round(lies.high, 4)) == (0.4902, 0.9433)
    assert (shadow.group, shadow.right, shadow.n) == ("shadow", 0, 1)
    assert (scam.rule, scam.right, scam.n) == ("scam", 1, 1)


def test_labels_become_judgements_of_alerts_and_of_the_sample() -> None:
    labels = [
        Label(event(1), "reviewer:a", "true", 1),
        Label(event(1), "reviewer:b", "false", 2),
        Label(request(2), "reviewer:a", "false", 3, one_in=40),
        Label(event(9), "reviewer:a", "true", 4),  # of an alert that is not asked about
    ]
    alerts = {event(1): ("lies", "shadow", "shadow", request(1))}
    assert judged(labels, alerts) == [
        alert(1, "disputed", group="shadow"),
        sample(2, "false", 40),
    ]


def pair(n: int, first: Verdict, second: Verdict) -> list[Label]:
    return [Label(event(n), "reviewer:a", first, 1), Label(event(n), "reviewer:b", second, 2)]


def test_kappa_of_the_classic_table() -> None:
    """20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: agreed .70, by chance .50, kappa .40."""
    table: list[tuple[int, Verdict, Verdict]] = [
        (20, "true", "true"),
        (5, "true", "false"),
        (10, "false", "true"),
        (15, "false", "false"),
    ]
    labels: list[Label] = []
    for count, first, second in table:
        for _ in range(count):
            labels += pair(len(labels), first, second)
    labels.append(Label(event(999), "reviewer:a", "true", 1))  # labelled once: no pair
    found = agreement(labels)
    assert (found.twice, found.agreed) == (50, 35)
    assert found.kappa == pytest.approx(0.4)
    assert found.disagreement == pytest.approx(0.3)


def test_kappa_is_one_for_equal_and_unknown_where_chance_alone_agrees() -> None:
    assert agreement(pair(1, "true", "true") + pair(2, "false", "false")).kappa == 1
    assert agreement(pair(1, "true", "true")).kappa is None
    assert agreement([]).kappa is None
    assert agreement([]).disagreement is None


def test_a_reviewer_who_changed_their_mind_is_one_reviewer() -> None:
    labels = [Label(event(1), "reviewer:a", "true", 1), Label(event(1), "reviewer:a", "false", 2)]
    assert agreement(labels).twice == 0


def test_what_is_missed_is_the_samples_share_of_all_others() -> None:
    """3 of 4 notified right; 1 of 100 sampled right, all alike in weight: of 10,000 others 100 were missed."""
    told = [alert(n, "true" if n < 3 else "false") for n in range(4)]
    seen = [sample(100 + n, "true" if n == 0 else "false", 100) for n in range(100)]
    found = catch(told + seen, notified=400, quiet=10_000)
    assert (found.labelled, found.positives) == (104, 4)
    assert found.caught == pytest.approx(300)
    assert found.missed == pytest.approx(100)
    assert found.share == pytest.approx(0.75)
    # Wilson for 1 of 100: .00177 to .05449
    assert found.missed_low == pytest.approx(17.7, abs=0.1)
    assert found.missed_high == pytest.approx(544.9, abs=0.1)
    assert found.low < 0.75 < found.high


def test_days_of_other_traffic_count_by_what_their_samples_stand_for() -> None:
    """One right of a quiet day's two, each for 10; none of a busy day's two, each for 90: 10 of 200."""
    seen = [
        sample(1, "true", 10),
        sample(2, "false", 10),
        sample(3, "false", 90),
        sample(4, "false", 90),
    ]
    assert catch([alert(9, "true"), *seen], 1, 200).missed == pytest.approx(10)


def test_without_labels_of_either_side_there_is_no_share() -> None:
    assert catch([], 10, 1000).share is None
    assert (catch([], 10, 1000).low, catch([], 10, 1000).high) == (0.0, 1.0)
    assert catch([alert(1, "true")], 10, 1000).share is None
    assert catch([sample(1, "true")], 10, 1000).share is None
    assert catch([alert(1, "unsure"), sample(2, "disputed")], 10, 1000).labelled == 0


def test_shadow_hits_told_nobody_and_are_not_caught() -> None:
    found = catch([alert(1, "true", group="shadow"), sample(2, "false")], 10, 1000)
    assert (found.caught, found.share) == (0, None)


SAID = [
    alert(1, "true"),
    alert(1, "false", "scam"),  # another rule on the same request
    alert(2, "false"),
    alert(3, "unsure"),
    alert(4, "disputed"),
    alert(5, "false"),
    alert(5, "unsure", "scam"),
    sample(6, "false"),
    sample(7, "true"),
]


def test_backtest_and_plan_read_the_labels_of_requests(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(labels_csv(SAID, "request"))
    wanted = {1: True, 2: False, 6: False, 7: True}
    assert backtest.read_labels(path) == {(7, n): right for n, right in wanted.items()}
    assert plan.read_labels(path) == {request(n): right for n, right in wanted.items()}


def test_promote_reads_the_labels_of_alerts(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(
        labels_csv([alert(1, "true"), alert(2, "false"), sample(6, "false")], "event_id")
    )
    with Ledger(tmp_path / "ledger.db"):
        pass
    with LedgerReader(tmp_path / "ledger.db") as ledger:
        assert by_event(path, ledger) == {event(1): True, event(2): False}


def test_of_one_rule_only_its_own_alerts_are_written() -> None:
    assert labels_csv(SAID, "request", "scam") == f"request,label\n{request(1)},no\n"
