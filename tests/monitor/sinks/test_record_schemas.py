"""The JSON Schemas that consumers are given, held against a record of every kind as our own code makes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from dosimeter.detectors.drift import DriftState
from dosimeter.detectors.frames import Scope
from dosimeter.monitor.canary import FIRST_NS, Canary
from dosimeter.monitor.history.records import LedgerRecord, StoredAlert
from dosimeter.monitor.sinks.kafka_record import kafka_record
from dosimeter.rules.correlate import Exceeded
from dosimeter.rules.decide import Decision
from dosimeter.rules.language.counting import Count
from dosimeter.rules.language.second import SecondRule, SecondWhen
from dosimeter.rules.language.watching import Absent, Shift, Silent
from dosimeter.rules.policy import Policy
from dosimeter.rules.second_record import Watched, build_absent, build_count, build_shift

ROOT = Path(__file__).parents[3]
SCHEMAS = {
    path.stem: json.loads(path.read_text()) for path in (ROOT / "docs/schema").glob("*.json")
}
SHADOW = Decision("shadow", True, "the rule is in shadow")
AT = Watched("000000000000000a", "m", "cd" * 32, 1_700_000_000_123_456_789)
HITS = tuple(f"{n:032x}" for n in range(3))


def rule(when: SecondWhen, confirm: str = "") -> SecondRule:
    policy = Policy(group_by=("tenant", "model"), labels=(("team", "x"),), confirm=confirm)
    return SecondRule("r", when, "shadow", "high", "{rule}", "sre", "https://r/1", policy)


def canary_record() -> LedgerRecord:
    [found] = Canary("led", monotonic_ns=lambda: -FIRST_NS).look(0)
    return found


def records() -> list[bytes]:
    golden = ["alert", "alert_two_conditions", "digest"]
    group = (("tenant", "t"), ("model", "m"))
    counting = rule(Count("users", ("a", "b"), 2, 5400), confirm="second-look")
    state = DriftState(True, 9.5, 9.0, 120, 3, 100, "up", "it has risen")
    return [(ROOT / "tests/golden/rules" / f"{name}.json").read_bytes() for name in golden] + [
        build_count(Exceeded(counting, group, 5, 7_000_000, HITS), SHADOW).canonical,
        build_absent(rule(Absent("scam", 300)), Silent(301, 42), AT, SHADOW).canonical,
        build_shift(rule(Shift("scam", Scope.ANSWER)), state, "ef" * 32, AT, SHADOW).canonical,
        canary_record().core,
    ]


def closed(schema: Any) -> Any:
    """The same, with every field that it does not name forbidden: consumers are more tolerant."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: closed(one) for name, one in schema.items()}
    return {"additionalProperties": False, **found} if "properties" in found else found


def named(record: dict[str, Any]) -> str:
    """The file, by the header that comes with the record."""
    core = json.dumps(record).encode()
    headers = dict(kafka_record(StoredAlert(1, record["event_id"], core, True, 5))["headers"])
    return str(headers["ce_type"].decode().removeprefix("dosimeter."))


@pytest.mark.parametrize("core", records(), ids=lambda core: json.loads(core)["kind"])
def test_a_record_has_all_that_its_schema_names_and_nothing_else(core: bytes) -> None:
    record = json.loads(core)
    schema = SCHEMAS[named(record)]
    strict = jsonschema.Draft202012Validator(closed(schema))
    strict.validate(record)
    for name in record:
        fewer = {key: value for key, value in record.items() if key != name}
        assert strict.is_valid(fewer) == (name not in schema["required"]), name
    assert not strict.is_valid(record | {"severity": 3})
    assert not strict.is_valid(record | {"v": 99})


def test_every_schema_is_one_and_has_a_record_that_it_is_about() -> None:
    for schema in SCHEMAS.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    assert SCHEMAS.keys() == {named(json.loads(core)) for core in records()}
