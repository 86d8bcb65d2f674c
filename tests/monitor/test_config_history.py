"""The keys under `history`: read, printed so that they read back the same, credentials hidden, slips refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from dosimeter.detectors.findings import InputError
from dosimeter.monitor.config import load_config
from dosimeter.monitor.config_history import (
    CHECKPOINTS,
    FEED,
    AnchorsConfig,
    HistoryConfig,
    TimestampConfig,
)
from dosimeter.monitor.config_pages import OidcConfig
from dosimeter.monitor.config_shown import as_yaml, without_secrets

WHOLE = """version: 1
history:
  name: pod-7
  kafka: {bootstrap: "kafka:9092", security: {sasl_plain_password: s3cret}}
  keep: {core: 36 months, evidence: 7 days}
  http: {host: 0.0.0.0, port: 8443}
  anchors:
    file: /mnt/elsewhere/checkpoints
    kafka: {bootstrap: "kafka:9092", topic: checkpoints, security: {sasl_plain_password: s3cret}}
    otlp: {endpoint: "https://collector:4318", headers: {authorization: s3cret}}
    timestamp: {url: "http://tsa.example/tsr", certificate: /etc/tsa.pem}
  pages:
    public-url: https://history.example
    transcript-url: "https://chat.example/r/{request_id}"
    trace-url: "https://traces.example/t/{trace_id}"
    zone: Europe/Berlin
    oidc:
      issuer: https://login.example
      audience: dosimeter
      jwks: https://login.example/jwks
      roles: {ts-team: reviewer}
      roles-claim: realm_access.roles
"""


def load(folder: Path, text: str) -> HistoryConfig:
    path = folder / "sidecar.yaml"
    path.write_text(text)
    found = load_config(path).history
    assert found is not None
    return found


def test_without_history_there_is_none_and_an_empty_one_has_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "sidecar.yaml"
    path.write_text("version: 1\n")
    assert load_config(path).history is None
    found = load(tmp_path, "version: 1\nhistory: {}\n")
    assert found == HistoryConfig()
    assert (found.core_months, found.evidence_days, found.port) == (24, 30, 7788)
    assert found.host == "127.0.0.1"


def test_every_key_is_read(tmp_path: Path) -> None:
    found = load(tmp_path, WHOLE)
    assert found.kafka is not None
    assert (found.kafka.bootstrap, found.kafka.topic) == (("kafka:9092",), FEED.topic)
    assert (found.name, found.core_months, found.evidence_days) == ("pod-7", 36, 7)
    assert (found.host, found.port) == ("0.0.0.0", 8443)
    assert found.anchors.timestamp == TimestampConfig(
        "http://tsa.example/tsr", Path("/etc/tsa.pem")
    )
    assert found.anchors.kafka is not None
    assert found.anchors.kafka.name == CHECKPOINTS.name
    assert found.pages.oidc == OidcConfig(
        "https://login.example",
        "dosimeter",
        "https://login.example/jwks",
        "realm_access.roles",
        {"ts-team": "reviewer"},
    )
    assert found.pages.zone == "Europe/Berlin"


def test_what_is_printed_reads_back_as_the_same_and_hides_credentials(tmp_path: Path) -> None:
    path = tmp_path / "sidecar.yaml"
    path.write_text(WHOLE)
    config = load_config(path)
    path.write_text(as_yaml(config))
    assert load_config(path).history == config.history
    shown = as_yaml(without_secrets(config))
    assert "s3cret" not in shown
    assert shown.count("(hidden)") == 3


def test_a_sidecar_of_a_fleet_ships_and_keeps_none(tmp_path: Path) -> None:
    found = load(tmp_path, "version: 1\nhistory: {ship: {bootstrap: 'kafka:9092'}}\n")
    assert found.ship is not None
    assert found.ship.topic == "dosimeter.history"
    assert found.anchors == AnchorsConfig()


@pytest.mark.parametrize(
    ("history", "words"),
    [
        ("{kep: {}}", "did you mean `keep`?"),
        ("{keep: {core: forever}}", "`forever` is no value of `core`"),
        ("{keep: {core: 30 days}}", "`30 days` is no value of `core`"),
        ("{keep: {evidence: 0 days}}", "`0 days` is no value of `evidence`"),
        ("{http: {port: 70000}}", "out of range"),
        ("{kafka: {bootstrap: a}, ship: {bootstrap: a}}", "fed by itself"),
        ("{anchors: {timestamp: {url: 'http://a'}}}", "certificate"),
        ("{anchors: {timestamp: {url: 'ftp://a', certificate: b}}}", "is not a URL"),
        ("{pages: {zone: Mars/Olympus}}", "is no time zone"),
        ("{pages: {transcript-url: 'https://a/b'}}", "leads nowhere"),
        ("{pages: {public-url: 'https://a'}}", "nobody says who may read"),
        ("{pages: {oidc: {issuer: a, audience: b, jwks: 'http://far/jwks'}}}", "is not safe"),
        ("{pages: {oidc: {issuer: a, jwks: 'https://c'}}}", "audience"),
        ("{pages: {oidc: {issuer: a, audience: b, jwks: keys.json}}}", "there is no file"),
        (
            "{pages: {oidc: {issuer: a, audience: b, jwks: 'https://c', roles: {ops: operater}}}}",
            "`ops` means `operater`, no role",
        ),
    ],
)
def test_a_slip_is_refused_at_its_place(history: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load(tmp_path, f"version: 1\nhistory: {history}\n")
    assert words in str(caught.value)
    assert "sidecar.yaml:2:" in str(caught.value)
