"""What an alert is in Kafka. Changed bytes here are another contract with every consumer."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dosimeter.monitor.history.records import StoredAlert
from dosimeter.monitor.sinks.kafka_record import kafka_record

StoredOf = Callable[..., StoredAlert]
GOLDEN = Path(__file__).parents[2] / "golden"
TRACE = "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-01"


@pytest.mark.parametrize("name", ["alert", "digest"])
def test_key_headers_and_value_are_the_golden_ones(name: str) -> None:
    """`DOSIMETER_GOLDEN=write pytest tests/monitor/sinks/test_kafka_record.py` refreshes it; review the diff."""
    core = (GOLDEN / "rules" / f"{name}.json").read_bytes().removesuffix(b"\n")
    made = kafka_record(StoredAlert(1, json.loads(core)["event_id"], core, True, 5))
    assert made["value"] is core
    lines = [made["key"], *(one.encode() + b": " + value for one, value in made["headers"]), core]
    shown, path = b"\n".join(lines) + b"\n", GOLDEN / "kafka" / f"{name}.txt"
    if os.environ.get("DOSIMETER_GOLDEN") == "write":
        path.write_bytes(shown)
    assert shown == path.read_bytes()


def test_the_attributes_of_cloudevents_are_there(stored_of: StoredOf) -> None:
    """1.7 × 10⁹ s after 1970 are 2023-11-14 22:13:20 UTC."""
    alert = stored_of(7, rule="a b/ü", time_ns=1_700_000_000_000_000_007)
    found = dict(kafka_record(alert)["headers"])
    assert {name: value for name, value in found.items() if name.startswith("ce_")} == {
        "ce_specversion": b"1.0",
        "ce_id": f"{7:032x}".encode(),
        "ce_source": b"/dosimeter/rules/a%20b%2F%C3%BC",
        "ce_type": b"dosimeter.alert.v2",
        "ce_time": b"2023-11-14T22:13:20.000000007Z",
    }
    assert found["content-type"] == b"application/json"


@pytest.mark.parametrize("time_ns", [1 << 70, "soon", None])
def test_a_time_that_no_calendar_has_is_left_out(stored_of: StoredOf, time_ns: object) -> None:
    assert "ce_time" not in dict(kafka_record(stored_of(7, time_ns=time_ns))["headers"])


def test_without_a_conversation_the_request_is_the_key(stored_of: StoredOf) -> None:
    record = kafka_record(stored_of(7, labels={}))
    assert record["key"] == b"00000000000000aa/0000000000000007"
    assert "traceparent" not in dict(record["headers"])


@pytest.mark.parametrize("label", ["garbage", TRACE + "\r\nx: y", TRACE.upper()])
def test_a_label_that_is_no_traceparent_becomes_no_header(stored_of: StoredOf, label: str) -> None:
    """The label is what a client sent under that name."""
    record = kafka_record(stored_of(7, labels={"traceparent": label}))
    assert "traceparent" not in dict(record["headers"])


def test_a_traceparent_is_a_header_and_the_conversation_the_key(stored_of: StoredOf) -> None:
    record = kafka_record(stored_of(7, labels={"conversation": "c-1", "traceparent": TRACE}))
    assert record["key"] == b"c-1"
    assert record["headers"][-1] == ("traceparent", TRACE.encode())
