"""What named queries take, and how they refuse what they do not."""

from __future__ import annotations

import pytest

from dosimeter.monitor.audit.queries.named_queries import (
    PARAMETERS,
    QUERIES,
    QueryError,
    query_named,
)


def test_every_query_says_what_it_is_about_and_takes_only_known_parameters() -> None:
    for query in QUERIES.values():
        assert query.about
        assert set(query.parameters) <= set(PARAMETERS)
        assert query.required <= set(query.parameters)


def test_a_line_is_there_only_with_its_parameter() -> None:
    alerts = query_named("alerts")
    assert "severity =" not in alerts.asked({}).sqlite()[0]
    text, values = alerts.asked({"severity": "high", "limit": "5"}).duckdb("entry")
    assert "severity = $severity" in text
    assert values == {"kind": "alert", "limit": 5, "severity": "high"}


def test_several_values_become_several_parameters_and_none_of_them_nothing() -> None:
    both = query_named("count").asked({"tenants": ["01" * 16, b"\2" * 16]})
    assert "tenant IN (:tenants_0, :tenants_1)" in both.sqlite()[0]
    assert "tenant IN (NULL)" in query_named("count").asked({"tenants": ()}).sqlite()[0]


@pytest.mark.parametrize(
    ("name", "given", "says"),
    [
        ("nothing", {}, "there is no query `nothing`"),
        ("count", {"about": "00" * 16}, "takes no `about`"),
        ("entries_about", {}, "needs `about`"),
        ("entries_about", {"about": "xy"}, "`about` is `xy`"),
        ("entries_about", {"about": "00"}, "32 hex"),
        ("alerts", {"limit": "many"}, "`limit` is `many`"),
        ("alerts", {"limit": "-5"}, "`limit` is `-5`: 0 to"),
        ("alerts", {"before_ns": "5"}, "`before_ns` needs `before_idx`"),
        ("alerts", {"before_idx": "5"}, "`before_idx` needs `before_ns`"),
        ("alerts", {"from_ns": str(2**63)}, f"`from_ns` is `{2**63}`: .* to {2**63 - 1}"),
        ("neighbours", {"first": str(-(2**63) - 1), "past": "1"}, "`first` is"),
        ("values_per_day", {"width": "0"}, "`width` is `0`: 1 to"),
        ("per_day", {"offset_ns": str(2**62)}, "`offset_ns` is"),
        ("alert_by_id", {"prefix": "abc"}, "8 to 32 hex"),
        ("alert_by_id", {"prefix": "zzzzzzzz"}, "8 to 32 hex"),
    ],
)
def test_what_a_query_does_not_take_is_named(name: str, given: dict[str, str], says: str) -> None:
    with pytest.raises(QueryError, match=says):
        query_named(name).asked(given)


def test_a_beginning_of_an_id_says_when_its_event_can_have_been() -> None:
    values = query_named("alert_by_id").asked({"prefix": "0000019b"}).values
    assert values["from_ns"] == 0x0000019B0000 * 1_000_000
    assert values["to_ns"] == 0x0000019C0000 * 1_000_000
    assert "from_ns" not in query_named("alert_by_id").asked({"prefix": "0" * 12}).values
    assert "to_ns" not in query_named("alert_by_id").asked({"prefix": "f" * 12}).values
