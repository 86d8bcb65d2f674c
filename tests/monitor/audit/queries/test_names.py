"""Names of rules and features: where they are known from, and that one that never was is an error with the nearest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from dosimeter.monitor.audit.history import History
from dosimeter.monitor.audit.queries.names import UnknownName, check
from dosimeter.monitor.audit.store.entries import Entry, own_id
from dosimeter.monitor.audit.store.ingest import Ingest
from dosimeter.monitor.feed.items import Batch, Blob
from dosimeter.rules.canonical import digest
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


def test_whoever_is_bound_to_tenants_is_told_the_names_of_their_own_alerts_alone(
    history: History,
) -> None:
    """Rules are one for all tenants, and their names may say what another tenant is watched for."""
    with_program(history)
    rows = history.rows("alerts", kind="alert", rule="lies-told", limit=1)
    tenant = rows[0]["tenant"]
    with pytest.raises(UnknownName, match="hint: did you mean `quiet-rule`"):
        check(history, {"rule": "quiet-rulee"})
    with pytest.raises(UnknownName) as bound:
        check(history, {"rule": "quiet-rulee"}, own=[tenant])
    assert str(bound.value).endswith("hint: known here: `lies-told`")
    with pytest.raises(UnknownName) as bound:
        check(history, {"feature": "sycophant"}, own=[tenant])
    assert str(bound.value).endswith("hint: known here: `deception`")
    with pytest.raises(UnknownName) as stranger:
        check(history, {"rule": "lies-tol"}, own=[])
    assert "lies-told" not in str(stranger.value)
    assert check(history, {"rule": "quiet-rule"}, own=[tenant]) == []  # it watches them, too


def test_none_of_a_rule_says_since_when_it_is_looked_for(history: History) -> None:
    """2026-11-30: "none" of March was as good for a rule that came on its 20th."""
    late = T0 + 40 * 10**9 * 60
    program = json.dumps(PROGRAM).encode()
    Ingest(history.appender, late).take(Batch((Blob(digest(program), program),)), late)
    Ingest(history.appender, late).take(Batch((Blob(digest(program), program),)), late + 9)
    said = "nobody is known to have looked for rule `quiet-rule` before 2026-03-01 01:40:00+01:00"
    berlin = ZoneInfo("Europe/Berlin")
    assert check(history, {"rule": "quiet-rule"}, from_ns=T0, zone=berlin) == [said]
    assert check(history, {"rule": "quiet-rule"}, from_ns=late - 10**9) == []
    assert check(history, {"rule": "quiet-rule"}) == []
    assert check(history, {"rule": "expired-rule"}, from_ns=T0) == []  # nothing says it did not run
    earlier = json.loads(program) | {"inactive": {}}
    history.appender.append([], blobs=[json.dumps(earlier).encode()])  # by an earlier release
    assert check(history, {"rule": "quiet-rule"}, from_ns=T0) == []


def test_when_a_rule_first_fired_for_others_is_not_told(history: History) -> None:
    """2026-11-30: since when it is looked for was the time of another tenant's first alert."""
    late = T0 + 40 * 10**9 * 60
    program = json.dumps({"columns": ["scam"], "rules": [{"rule": "lies-told"}]}).encode()
    Ingest(history.appender, late).take(Batch((Blob(digest(program), program),)), late)
    begin = T0 - 3600 * 10**9
    said = "nobody is known to have looked for rule `lies-told` before 2026-03-01 00:{:02}:00+00:00"
    asked = {"rule": "lies-told"}
    assert check(history, asked, from_ns=begin) == [said.format(2)]
    rows = history.rows("alerts", kind="alert", rule="lies-told", limit=1)
    assert check(history, asked, from_ns=begin, own=[rows[0]["tenant"]]) == [said.format(2)]
    assert check(history, asked, from_ns=begin, own=[]) == [said.format(40)]


def test_what_has_fired_was_looked_for(history: History) -> None:
    late = T0 + 40 * 10**9 * 60
    program = json.dumps({"columns": ["scam"], "rules": [{"rule": "lies-told"}]}).encode()
    Ingest(history.appender, late).take(Batch((Blob(digest(program), program),)), late)
    assert check(history, {"rule": "lies-told"}, from_ns=T0 + 60 * 10**9) == []


def test_a_history_in_which_nothing_fired_knows_no_name(tmp_path: Path) -> None:
    with History.open(whole(tmp_path / "none", count=0).folder.root) as history:
        history.hot.db.execute("DELETE FROM blob")
        with pytest.raises(UnknownName, match="hint: nothing that you may see has fired here yet"):
            check(history, {"rule": "x"})
