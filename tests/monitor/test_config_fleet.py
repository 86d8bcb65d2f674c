"""Who counts over several sidecars: read, printed and read again, and a topic is not read as what it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from dosimeter.detectors.findings import InputError
from dosimeter.monitor.config import Config, load_config
from dosimeter.monitor.config_fleet import FleetConfig
from dosimeter.monitor.config_shown import HIDDEN, as_yaml, without_secrets
from dosimeter.monitor.sinks.config import KafkaConfig

FLEET = """\
version: 1
counted-by: fleet
fleet:
  kafka: {bootstrap: [k:9092], security: {sasl_plain_password: secret}}
  hits: h
  group: g
"""


def read(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return load_config(path)


def test_a_sidecar_counts_by_itself_unless_told_otherwise() -> None:
    assert Config().counted_by == "sidecar"
    assert Config().fleet is None


def test_every_key_is_read_printed_without_its_secrets_and_read_again(tmp_path: Path) -> None:
    config = read(tmp_path, FLEET)
    security = {"sasl_plain_password": "secret"}
    kafka = KafkaConfig(("k:9092",), "dosimeter.history", "history", security=security)
    assert (config.counted_by, config.fleet) == ("fleet", FleetConfig(kafka, "h", "g"))
    assert config.fleet is not None
    assert config.fleet.hits_kafka.topic == "h"
    assert read(tmp_path, as_yaml(config)) == read(tmp_path, as_yaml(read(tmp_path, FLEET)))
    shown = as_yaml(without_secrets(config))
    assert "secret" not in shown
    assert HIDDEN in shown


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("counted-by: both", "counted-by"),
        ("fleet: {}", "kafka"),
        ("fleet: {kafka: {bootstrap: k:1, topic: t}, hits: t}", "`hits` is the topic `t` itself"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read(tmp_path, f"version: 1\n{text}\n")
