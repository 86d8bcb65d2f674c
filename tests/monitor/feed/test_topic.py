"""Items as records of a topic in which anything may stand."""

from __future__ import annotations

import pytest

from dosimeter.monitor.feed.items import Alive, Blob, Refused
from dosimeter.monitor.feed.topic import item_at, record

SOURCE = "a" * 32
ALIVE = Alive(SOURCE, 3, 5)


def test_the_key_is_the_source_also_of_a_blob_which_has_none() -> None:
    blob = Blob("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", b"")
    for item in (ALIVE, blob):
        sent = record(item, SOURCE)
        assert sent["key"] == SOURCE.encode()
        assert item_at("t-0 offset 1", sent["key"], sent["value"]) == item
    assert dict(record(ALIVE, SOURCE)["headers"])["schema"] == b"dosimeter.history.alive.v1"


@pytest.mark.parametrize(
    ("key", "value", "because"),
    [
        (SOURCE.encode(), None, "no value"),
        (SOURCE.encode(), b"\x00\x01", "not JSON"),
        (b"b" * 32, record(ALIVE, SOURCE)["value"], "is not its source"),
        (None, record(ALIVE, SOURCE)["value"], "is not its source"),
        (b"\x1b[31m" * 100, b"x", "not JSON"),
    ],
)
def test_what_is_not_ours_is_refused_with_its_place(
    key: bytes | None, value: bytes | None, because: str
) -> None:
    item = item_at("t-0 offset 1", key, value)
    assert isinstance(item, Refused)
    assert item.where.startswith("t-0 offset 1, key ")
    assert because in item.because
    assert (item.where + item.because).isprintable()
    assert len(item.where) < 200
