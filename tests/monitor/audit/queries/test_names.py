"""Names of rules and features: where they are known from, and that one that never was is an error with the nearest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from dosimeter.monitor.audit.history import History
from dosimeter.monitor.audit.queries.names import UnknownName, check
from dosimeter.monitor.audit.store.entries import Entry, own_id
from tests.monitor.audit.audit_scene import T0
from tests.monitor.audit.whole_scene import whole

PROGRAM = {
    "columns": ["deception", "scam", "sycophancy"],
    "inactive": {"expired-rule": "it expired"},
    "rules": [
        {
            "rule": "quiet-rule",
            "logic": {"clauses": [{"literals": [{"feature": "deception - scam"}]}]},
        }
    ],
}


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    with History.open(whole(tmp_path / "data").folder.root) as found:
        yield found


def with_program(history: History) -> History:
    history.appender.append([], blobs=[json.dumps(PROGRAM).encode(), b"no JSON"])
    return history


def test_what_fired_is_known(history: History) -> None:
    assert check(history, {"rule": "lies-told", "feature": "scam"}) == []
    assert check(history, {"severity": "low"}) == []


def test_rules_of_a_program_are_known_though_they_never_fired(history: History) -> None:
    with pytest.raises(UnknownName):
        check(history, {"rule": "quiet-rule"})
    for rule in ("quiet-rule", "expired-rule"):
        assert check(with_program(history), {"rule": rule}) == []


def test_a_feature_that_is_scored_and_that_no_rule_reads_is_known_and_said(
    history: History,
) -> None:
    with_program(history)
    assert check(history, {"feature": "deception - scam"}) == []
    assert check(history, {"feature": "sycophancy"}) == [
        "no rule here ever read feature `sycophancy`, so nothing could be found"
    ]


def test_names_of_entries_without_terms_are_known(history: History) -> None:
    fields = {"rule": "calm", "feature": "drifting"}
    history.appender.append([Entry("shift", own_id(T0), T0, "5e" * 16, 40, fields=fields)])
    assert check(history, {"rule": "calm", "feature": "drifting"}) == []


def test_a_name_that_never_was_is_an_error_with_the_nearest_or_with_all(history: History) -> None:
    with pytest.raises(UnknownName, match=r"--feature: no entry and no program .* `decption`"):
        check(history, {"feature": "decption"})
    with pytest.raises(UnknownName, match="hint: known here: `lies-told`, `scam-written`"):
        check(history, {"rule": "zzz"})


def test_a_history_in_which_nothing_fired_knows_no_name(tmp_path: Path) -> None:
    with History.open(whole(tmp_path / "none", count=0).folder.root) as history:
        history.hot.db.execute("DELETE FROM blob")
        with pytest.raises(UnknownName, match="hint: nothing has fired here yet"):
            check(history, {"rule": "x"})
