"""What is added up of counts by rule and tenant is what the query's own text finds."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from dosimeter.monitor.audit.queries import remembered
from dosimeter.monitor.audit.queries.named_queries import query_named
from dosimeter.monitor.audit.queries.query import Queries
from tests.monitor.audit.store_scene import id_of, some, store_in

GIVEN: list[dict[str, Any]] = [
    {"kind": "alert"},
    {"kind": "digest", "tenants": (id_of(1), id_of(2))},
    {"kind": "label"},
    {"kind": "alert", "tenants": ()},
    {"kind": "alert", "rule": "a.one", "labelled": True},
]


@pytest.mark.parametrize("most", [0, 100_000])
def test_folded_and_asked_as_it_is_are_equal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """most: rows of an answer that is kept; of 0 each is asked as it is from the second time on."""
    monkeypatch.setattr(remembered, "MOST_ROWS", most)
    with store_in(tmp_path) as store:
        store.put(some(random.Random(2), 90))
        store.seal_to(60, max_rows=20)
        with Queries(store.folder) as queries:
            for given in GIVEN:
                for name, more in (("totals", {}), ("top_rules", {}), ("top_rules", {"limit": 1})):
                    plain = queries._found(query_named(name).asked({**given, **more}))
                    for _ in range(2):
                        assert queries.run(name, **given, **more) == plain, (name, given)
