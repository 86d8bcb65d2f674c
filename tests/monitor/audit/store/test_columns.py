"""One row is a leaf and its terms, whichever store it lies in."""

from __future__ import annotations

import json

import pytest

from dosimeter.monitor.audit.store.columns import COLUMNS, NAMES, row_of

LEAF = {
    "v": 1,
    "kind": "alert",
    "id": "0a" * 16,
    "time_ns": 5,
    "ingested_ns": 6,
    "source": "s",
    "seq": 7,
    "start": 3,
    "end": 9,
    "would_act": True,
    "terms": "cd" * 32,
    "also": [{"clause": 1}],
    "value_sum": -12,
}
TERMS = {"rule": "r", "feature": "scam", "model": {"name": "m", "digest": "d"}, "threshold_code": 4}


def row(leaf: dict[str, object], terms: dict[str, object]) -> dict[str, object]:
    return dict(zip(NAMES, row_of(leaf, terms), strict=True))


def test_fields_of_the_leaf_and_of_its_terms_stand_in_their_columns() -> None:
    found = row(LEAF, TERMS)
    assert found["id"] == b"\x0a" * 16
    assert found["terms"] == b"\xcd" * 32
    assert (found["span_start"], found["span_end"], found["value_sum"]) == (3, 9, -12)
    assert (found["rule"], found["feature"], found["model"]) == ("r", "scam", "m")
    assert found["would_act"] == 1
    assert found["tenant"] is None


def test_what_has_no_column_is_kept_as_json() -> None:
    assert json.loads(str(row(LEAF, TERMS)["more"])) == {"also": [{"clause": 1}]}
    assert row({k: v for k, v in LEAF.items() if k != "also"}, TERMS)["more"] is None


def test_a_record_without_terms_says_its_rule_itself() -> None:
    digest = {"kind": "digest", "id": "01" * 16, "rule": "r", "severity": "low", "limited": 3}
    found = row(digest, {})
    assert (found["rule"], found["severity"]) == ("r", "low")
    assert json.loads(str(found["more"])) == {"limited": 3}


@pytest.mark.parametrize("wrong", ["", "zz" * 16, "0a" * 15])
def test_an_id_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        row_of(LEAF | {"id": wrong}, TERMS)


def test_no_two_columns_share_a_name() -> None:
    assert len(set(NAMES)) == len(COLUMNS)
    assert "idx" not in NAMES
    assert "leaf" not in NAMES
