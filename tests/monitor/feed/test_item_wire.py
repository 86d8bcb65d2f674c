"""Items on the wire: what goes in comes out, and whatever else comes is refused with a reason."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosimeter.monitor.feed.items import (
    Alert,
    Alive,
    Blob,
    Bye,
    Coverage,
    Evidence,
    Hello,
    Item,
    Refused,
    Rolled,
)
from dosimeter.monitor.feed.wire import MAX_BLOB, PACKED, ItemError, decode, encode, identity

SOURCE, EPOCH, EVENT = "a" * 32, "b" * 16, "c" * 32
sources = st.just(SOURCE)
counts = st.integers(0, 2**63 - 1)
signed = st.integers(-(2**63) + 1, 2**63 - 1)
texts = st.text(max_size=40).filter(lambda text: not any("\ud800" <= c <= "\udfff" for c in text))
tables = st.dictionaries(texts, signed, max_size=4)
bodies = st.binary(max_size=200)
items = st.one_of(
    st.builds(
        Alert,
        sources,
        st.integers(1, 2**63 - 1),
        st.just(EVENT),
        bodies,
        st.none() | bodies,
        st.booleans(),
    ),
    st.builds(Evidence, sources, st.just(EVENT), bodies),
    bodies.map(lambda body: Blob(hashlib.sha256(body).hexdigest(), body)),
    st.builds(
        Coverage,
        source=sources,
        epoch=st.just(EPOCH),
        from_ns=counts,
        to_ns=counts,
        served=signed,
        served_by=tables,
        scored=signed,
        unscored=tables,
        unaccounted=signed,
        requests=signed,
        closed=signed,
    ),
    st.builds(Hello, sources, texts, counts, st.integers(1, 9), counts, counts),
    st.builds(Alive, sources, counts, counts),
    st.builds(Bye, sources, counts, counts, texts),
    st.builds(Rolled, sources, counts, counts, counts),
    st.builds(Refused, st.none() | sources, texts, texts),
)


@given(items)
def test_what_is_encoded_is_decoded_to_the_same(item: Item) -> None:
    assert decode(encode(item)) == item


def test_the_wire_of_an_alert_is_readable_json_that_states_its_version() -> None:
    alert = Alert(SOURCE, 7, EVENT, '{"a":"ü"}'.encode(), None, final=True)
    assert json.loads(encode(alert)) == {
        "v": 1,
        "kind": "alert",
        "source": SOURCE,
        "seq": 7,
        "event_id": EVENT,
        "core": '{"a":"ü"}',
        "evidence": None,
        "final": True,
    }


def test_a_large_program_travels_compressed() -> None:
    body = b'{"atoms":[' + b"1," * PACKED + b"1]}"
    blob = Blob(hashlib.sha256(body).hexdigest(), body)
    assert len(encode(blob)) < len(body) / 20
    assert decode(encode(blob)) == blob


def test_the_identity_of_an_alert_is_its_event_id_and_others_differ_by_what_they_say() -> None:
    assert identity(Alert(SOURCE, 1, EVENT, b"{}", None, final=True)) == EVENT
    one, same, other = Alive(SOURCE, 1, 5), Alive(SOURCE, 1, 5), Alive(SOURCE, 1, 6)
    assert identity(one) == identity(same) != identity(other)
    assert len(identity(one)) == 32
    assert identity(Evidence(SOURCE, EVENT, b"x")) != identity(Evidence(SOURCE, EVENT, b"y"))


GOOD: dict[str, Any] = {
    "v": 1,
    "kind": "alive",
    "source": SOURCE,
    "last_seq": 3,
    "at_ns": 5,
}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"v": 2}, "version is `2`, not 1"),
        ({"v": True}, "version is `True`"),
        ({"kind": "alarm"}, "kind is `'alarm'`"),
        ({"kind": ["alive"]}, "kind is"),
        ({"source": "A" * 32}, "`source` is"),
        ({"source": "a" * 33}, "32 hexadecimal digits"),
        ({"last_seq": -1}, "`last_seq` is `-1`"),
        ({"last_seq": 2**63}, "`last_seq`"),
        ({"last_seq": 1.0}, "`last_seq` is `1.0`"),
        ({"last_seq": True}, "`last_seq` is `True`"),
        ({"more": 1}, "missing or not known: `['more']`"),
    ],
)
def test_a_field_that_is_wrong_is_named(change: dict[str, Any], why: str) -> None:
    with pytest.raises(ItemError) as refused:
        decode(json.dumps(GOOD | change).encode())
    assert why in str(refused.value)


@pytest.mark.parametrize("wire", [b"", b"\xff", b"null", b"[1]", b"[" * 100_000, b'{"v":1}'])
def test_what_is_no_item_is_refused(wire: bytes) -> None:
    with pytest.raises(ItemError):
        decode(wire)


def evidence(body: object) -> bytes:
    wire = {"v": 1, "kind": "evidence", "source": SOURCE, "event_id": EVENT, "body": body}
    return json.dumps(wire).encode()


@pytest.mark.parametrize(
    "body",
    [
        3,
        {},
        {"zip": "AA=="},
        {"base64": "?"},
        {"base64": 1},
        {"base64": "AA==", "zlib": ""},
        {"zlib": "AA=="},
        {"zlib": base64.b64encode(zlib.compress(b"x" * 100)[:-8]).decode()},
        "\ud800",
    ],
)
def test_a_body_that_cannot_be_unpacked_is_refused(body: object) -> None:
    with pytest.raises(ItemError, match="`body`"):
        decode(evidence(body))


def test_a_bomb_is_unpacked_only_up_to_the_limit() -> None:
    bomb = base64.b64encode(zlib.compress(bytes(MAX_BLOB + 1))).decode()
    with pytest.raises(ItemError, match="more than"):
        decode(
            json.dumps(
                {"v": 1, "kind": "blob", "sha256": "a" * 64, "body": {"zlib": bomb}}
            ).encode()
        )


def test_a_blob_that_is_not_what_its_hash_names_is_refused() -> None:
    wire = json.loads(encode(Blob(hashlib.sha256(b"rule").hexdigest(), b"rule")))
    with pytest.raises(ItemError, match="not what its hash names"):
        decode(json.dumps(wire | {"body": "other"}).encode())
