"""What a stored program says of its rules: also where it is none, or a rule makes no sense any more."""

from __future__ import annotations

import json

import pytest

from dosimeter.monitor.audit.store.programs import reads_of, rules_of


def test_features_of_an_expression_are_read_each_once() -> None:
    terms = {"feature": "max(scam, deception) - scam", "also": [{"feature": "sycophancy"}]}
    found = reads_of(json.dumps(terms).encode())
    assert found == ("scam", "deception", "sycophancy")


def test_what_is_no_expression_of_this_release_is_a_feature_by_its_own_text() -> None:
    assert reads_of(b'{"feature": "scam +"}') == ("scam +",)


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff", b"[" * 100_000, b"[]", b'{"rules": []}', b'{"columns": [], "rules": 3}'],
    ids=lambda body: repr(body[:20]),
)
def test_a_blob_that_is_no_program_has_no_rules(body: bytes) -> None:
    """A blob is whatever somebody sent."""
    assert rules_of(body) is None


def test_a_program_has_the_rules_that_stand_in_it() -> None:
    assert rules_of(b'{"columns": [], "rules": [{"rule": "a"}]}') == [{"rule": "a"}]
