"""Configuration: what is written is what is meant, and a slip of the pen is found before it runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from kafka import KafkaConsumer, KafkaProducer
from kafka.admin import KafkaAdminClient
from kafka.cluster import get_ip_port_afi
from kafka.net.manager import KafkaConnectionManager

from dosimeter.detectors.findings import InputError
from dosimeter.monitor.config import (
    ArchiveConfig,
    Config,
    HttpConfig,
    load_config,
)
from dosimeter.monitor.config_kafka import SETTINGS, peer
from dosimeter.monitor.config_peers import PeersConfig
from dosimeter.monitor.config_shown import HIDDEN, as_yaml, without_secrets
from dosimeter.monitor.confirm.config import ConfirmerConfig
from dosimeter.monitor.sinks.config import (
    AlertmanagerConfig,
    KafkaConfig,
    OtlpConfig,
    StdoutConfig,
    WebhookConfig,
)

EXAMPLE = Path(__file__).parents[2] / "deploy" / "sidecar.yaml"


def written(folder: Path, text: str) -> Path:
    path = folder / "sidecar.yaml"
    path.write_text(text)
    return path


def test_a_file_with_a_version_alone_has_every_default(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, "version: 1\n"))
    assert config == Config()
    assert config.socket_path == Path(".dosimeter/tap.sock")
    assert config.http == HttpConfig("127.0.0.1", 9464)


def test_the_example_that_we_ship_is_read_whole() -> None:
    config = load_config(EXAMPLE)
    assert config == Config(
        data_dir=Path("/var/lib/dosimeter"),
        socket=Path("/run/dosimeter/tap.sock"),
        rules=(Path("/etc/dosimeter/rules"),),
        calibrations=(Path("/etc/dosimeter/calibrations/support-chat"),),
        sinks=(
            KafkaConfig(bootstrap=("kafka-0.kafka:9092", "kafka-1.kafka:9092")),
            OtlpConfig(endpoint="http://otel-collector:4318"),
        ),
        telemetry=OtlpConfig(endpoint="http://otel-collector:4318"),
    )


def test_relative_paths_start_at_the_file(tmp_path: Path) -> None:
    text = "version: 1\ndata-dir: state\nrules: [rules]\nsinks: {stdout: {path: out.jsonl}}\n"
    config = load_config(written(tmp_path, text))
    assert config.data_dir == tmp_path / "state"
    assert config.rules == (tmp_path / "rules",)
    assert config.sinks == (StdoutConfig(path=tmp_path / "out.jsonl"),)


MISTAKES = {
    "a misspelt key": (
        "version: 1\ndata_dir: x\n",
        "sidecar.yaml:2:1: error: unknown key `data_dir` [unknown-key]\n"
        "  hint: did you mean `data-dir`?",
    ),
    "a misspelt sink": (
        "version: 1\nsinks:\n  kafak: {bootstrap: a}\n",
        "sidecar.yaml:3:3: error: unknown key `kafak` [unknown-key]\n  hint: did you mean `kafka`?",
    ),
    "a key a sink does not have": (
        "version: 1\nsinks:\n  kafka:\n    bootstrap: a:1\n    topics: b\n",
        "sidecar.yaml:5:5: error: unknown key `topics` [unknown-key]\n  hint: did you mean `topic`?",
    ),
    "a list where one is needed": (
        "version: 1\nrules: rules.yaml\n",
        "sidecar.yaml:2:8: error: expected a list, found text `rules.yaml` [kind]\n"
        "  hint: start each member with `- `",
    ),
    "a port out of range": (
        "version: 1\nhttp: {port: 70000}\n",
        "sidecar.yaml:2:14: error: `70000` is out of range [value]\n  hint: from 0 to 65535",
    ),
    "no version": (
        "data-dir: x\n",
        "sidecar.yaml:1:1: error: `version` is missing [missing-key]",
    ),
    "a later version": (
        "version: 2\n",
        "sidecar.yaml:1:10: error: configuration version `2` [value]\n"
        "  hint: this release reads `version: 1`",
    ),
    "a sample in per cent": (
        "version: 1\narchive: {sample: 5 %}\n",
        "sidecar.yaml:2:19: error: `5 %` is no value of `sample` [value]\n  hint: write `1 in 20`",
    ),
    "a time to keep without its unit": (
        "version: 1\narchive:\n  keep: 0 days\n",
        "sidecar.yaml:3:9: error: `0 days` is no value of `keep` [value]\n  hint: write `30 days`",
    ),
    "alerts that a restart would miss": (
        "version: 1\nledger: {keep: 1 day}\n",
        "sidecar.yaml:2:16: error: `1 day` is too short: a restart reads back further than that [value]\n"
        "  hint: write `2 days` or more",
    ),
    "alerts kept for ever": (
        "version: 1\nledger: {keep: always}\n",
        "sidecar.yaml:2:16: error: `always` is no value of `keep` [value]\n  hint: write `30 days`",
    ),
    "an endpoint that is no URL": (
        "version: 1\ntelemetry: {endpoint: 'collector:4318'}\n",
        "sidecar.yaml:2:23: error: `collector:4318` is not a URL [value]\n"
        "  hint: write `http://host:4318`",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_with_its_place_and_what_to_do(
    mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, complaint = MISTAKES[mistake]
    written(tmp_path, text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        load_config(Path("sidecar.yaml"))
    assert str(caught.value) == complaint


def test_every_mistake_of_a_file_is_told_at_once(tmp_path: Path) -> None:
    text = "version: 1\nruels: []\nhttp: {prt: 1}\n"
    with pytest.raises(InputError) as caught:
        load_config(written(tmp_path, text))
    assert len(caught.value.findings) == 2


def test_what_is_printed_reads_back_as_the_same_settings(tmp_path: Path) -> None:
    config = load_config(EXAMPLE)
    assert load_config(written(tmp_path, as_yaml(config))) == config


def test_a_data_dir_given_on_the_command_line_moves_what_lies_under_it() -> None:
    config = Config().under(Path("/elsewhere"))
    assert config.ledger_path == Path("/elsewhere/ledger.db")
    assert config.socket_path == Path("/elsewhere/tap.sock")


def test_credentials_are_hidden_from_whoever_prints_the_settings() -> None:
    config = Config(
        sinks=(
            KafkaConfig(
                security={"sasl_plain_password": "s3cret", "security_protocol": "SASL_SSL"}
            ),
            OtlpConfig(headers={"authorization": "Bearer s3cret"}),
            WebhookConfig(url="https://hooks/services/s3cret", headers={"x": "s3cret"}),
            AlertmanagerConfig(headers={"authorization": "Basic s3cret"}),
        )
    )
    shown = as_yaml(without_secrets(config))
    assert "s3cret" not in shown
    assert shown.count("(hidden)") == 6


def test_a_webhook_and_an_alertmanager_are_read_and_printed(tmp_path: Path) -> None:
    text = (
        "version: 1\nsinks:\n"
        "  webhook: {url: 'https://h/x?y=z', secret: s, ca: c.pem, timeout: 3, headers: {a: b}}\n"
        "  alertmanager:\n"
        "    {url: 'http://am:9093', hold: 60, tenants: [acme], routes: [chat],\n"
        "     link: 'https://h/alerts/{event_id}', timeout: 4}\n"
    )
    config = load_config(written(tmp_path, text))
    assert config.sinks == (
        WebhookConfig(
            url="https://h/x?y=z",
            secret=tmp_path / "s",
            ca=tmp_path / "c.pem",
            timeout_s=3.0,
            headers={"a": "b"},
        ),
        AlertmanagerConfig(
            url="http://am:9093",
            hold_s=60,
            tenants=("acme",),
            routes=("chat",),
            link="https://h/alerts/{event_id}",
            timeout_s=4.0,
        ),
    )
    assert load_config(written(tmp_path, as_yaml(config))).sinks == config.sinks


def test_who_may_connect_is_read_and_printed(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, "version: 1\n")).peers == PeersConfig(0o660, None, None)
    for group, read in (("dosimeter", "dosimeter"), ("65532", "65532"), ('"065532"', "065532")):
        text = f"version: 1\npeers: {{mode: 0666, group: {group}, uids: [1000, 0]}}\n"
        config = load_config(written(tmp_path, text))
        assert config.peers == PeersConfig(0o666, read, (1000, 0))
        assert load_config(written(tmp_path, as_yaml(config))).peers == config.peers


def test_scores_go_where_the_file_says_and_that_is_printed(tmp_path: Path) -> None:
    text = "version: 1\narchive: {}\nsinks: {kafka: {bootstrap: a, scores: s.v1}}\n"
    config = load_config(written(tmp_path, text))
    assert config.scores is not None
    assert (config.scores.bootstrap, config.scores.scores) == (("a",), "s.v1")
    assert load_config(written(tmp_path, as_yaml(config))).sinks == config.sinks
    assert Config().scores is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sinks: {kafka: {bootstrap: a, scores: s}}", "`scores` without `archive`"),
        (
            "archive: {}\nsinks: {kafka: {bootstrap: a, topic: s, scores: s}}",
            "scores among alerts",
        ),
        ("history: {ship: {bootstrap: a, scores: s}}", "`scores`"),
    ],
)
def test_scores_without_an_archive_or_among_alerts_are_refused(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        load_config(written(tmp_path, f"version: 1\n{text}\n"))


def test_the_password_of_kafka_may_stand_in_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("sasl_plain_password: s3cret\nsasl_mechanism: PLAIN\n")
    text = "{bootstrap: a, security: {sasl_mechanism: x, sasl_plain_username: u}, security-file: secret}"
    config = load_config(written(tmp_path, f"version: 1\nsinks: {{kafka: {text}}}\n"))
    [sink] = config.sinks
    assert isinstance(sink, KafkaConfig)
    assert sink.security == {
        "sasl_mechanism": "PLAIN",
        "sasl_plain_username": "u",
        "sasl_plain_password": "s3cret",
    }
    assert "s3cret" not in as_yaml(without_secrets(config))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (None, "secret: error: cannot be read"),
        ("s3cret\n", "secret:1:1: error: no mapping of security settings"),
        ("a: 1\ns3cret: [s3cret\n", "error: no mapping of security settings"),
        ("bootstrap_servers: s3cret\n", "secret:1:1: error: no mapping of security settings"),
        ("sasl_plain_password: [s3cret]\n", "secret:1:22: error: no mapping of security settings"),
    ],
)
def test_a_file_of_passwords_that_cannot_be_used_is_named_and_not_quoted(
    tmp_path: Path, body: str | None, said: str
) -> None:
    if body is not None:
        (tmp_path / "secret").write_text(body)
    text = "version: 1\nsinks: {kafka: {bootstrap: a, security-file: secret}}\n"
    with pytest.raises(InputError) as caught:
        load_config(written(tmp_path, text))
    assert said in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_settings_of_kafka_are_those_that_its_connections_look_at() -> None:
    """Any other is repeated with its value in what the client raises, and so in logs and in `/status`."""
    objects = {"ssl_context", "sasl_oauth_token_provider"}
    ours = ("security_", "ssl_", "sasl_")
    known = {n for n in KafkaConnectionManager.DEFAULT_CONFIG if n.startswith(ours)}
    assert set(SETTINGS) == known - objects
    for client in (KafkaProducer, KafkaConsumer, KafkaAdminClient):
        assert set(SETTINGS) <= client.DEFAULT_CONFIG.keys()


def test_a_password_of_digits_is_text_as_it_is_written(tmp_path: Path) -> None:
    """As the number 123 the client cannot join it to a login, and tried for ever."""
    security = "{sasl_plain_username: ops, sasl_plain_password: 0123, ssl_check_hostname: false}"
    text = f"version: 1\nsinks: {{kafka: {{bootstrap: '[::1]:9', security: {security}}}}}\n"
    config = load_config(written(tmp_path, text))
    [sink] = config.sinks
    assert isinstance(sink, KafkaConfig)
    assert sink.security == {
        "sasl_plain_username": "ops",
        "sasl_plain_password": "0123",
        "ssl_check_hostname": False,
    }
    assert load_config(written(tmp_path, as_yaml(config))).sinks == config.sinks


@pytest.mark.parametrize(
    ("server", "host", "port"),
    [("a", "a", 9092), ("a:1", "a", 1), ("[::1]", "::1", 9092), ("[fe80::1]:9", "fe80::1", 9)],
)
def test_a_broker_is_where_the_client_looks_for_it(server: str, host: str, port: int) -> None:
    assert peer(server) == (host, port)
    assert get_ip_port_afi(server)[:2] == (host, port)


def test_the_path_of_an_address_may_be_a_credential(tmp_path: Path) -> None:
    """Only a webhook's was hidden: some collectors have their token there."""
    text = (
        "version: 1\nsinks:\n"
        "  otlp: {endpoint: 'https://c/otlp/s3cret'}\n"
        "  webhook: {url: 'https://h/s3cret'}\n"
        "  alertmanager: {url: 'https://am:9093/s3cret'}\n"
        "confirmers: {a: {url: 'https://r/s3cret?k=s3cret'}, b: {call: 'm:f'}}\n"
        "telemetry: {endpoint: 'https://c:4318'}\n"
        "history: {anchors: {otlp: {endpoint: 'https://c/s3cret'}}}\n"
    )
    shown = as_yaml(without_secrets(load_config(written(tmp_path, text))))
    assert "s3cret" not in shown
    hosts = ("https://c/", "https://h/", "https://am:9093/", "https://r/")
    assert all(f"{host}{HIDDEN}" in shown for host in hosts)
    assert "https://c:4318\n" in shown


def test_a_collector_over_tls_is_read_and_printed_and_one_on_this_machine_may_be_told_in_the_clear(
    tmp_path: Path,
) -> None:
    text = (
        "version: 1\nsinks:\n"
        "  otlp: {endpoint: 'https://c:4318', headers-file: h, ca: c.pem, timeout: 3}\n"
        "  alertmanager: {url: 'http://127.0.0.1:9093', headers: {authorization: a}}\n"
    )
    config = load_config(written(tmp_path, text))
    assert config.sinks == (
        OtlpConfig(
            endpoint="https://c:4318",
            headers_file=tmp_path / "h",
            ca=tmp_path / "c.pem",
            timeout_s=3.0,
        ),
        AlertmanagerConfig(url="http://127.0.0.1:9093", headers={"authorization": "a"}),
    )
    assert load_config(written(tmp_path, as_yaml(config))).sinks == config.sinks


@pytest.mark.parametrize(
    ("bootstrap", "protocol", "mechanism", "refused"),
    [
        ("kafka:9092", "SASL_PLAINTEXT", "PLAIN", True),
        ("kafka:9092", "SASL_PLAINTEXT", "OAUTHBEARER", True),
        ("[localhost:9092, '192.0.2.1:9092']", "sasl_plaintext", "plain", True),
        ("'127.0.0.1:9092'", "SASL_PLAINTEXT", "PLAIN", False),
        ("'[::1]:9092'", "SASL_PLAINTEXT", "PLAIN", False),
        ("kafka:9092", "SASL_SSL", "PLAIN", False),
        ("kafka:9092", "SASL_PLAINTEXT", "SCRAM-SHA-512", False),
    ],
)
@pytest.mark.parametrize("in_file", [False, True])
def test_a_login_goes_to_no_broker_of_another_machine_in_the_clear(
    tmp_path: Path, bootstrap: str, protocol: str, mechanism: str, refused: bool, in_file: bool
) -> None:
    """As no header with a credential does. Until 2026-11-30 it went, and nothing said so."""
    (tmp_path / "secret").write_text(f"sasl_mechanism: {mechanism}\nsasl_plain_password: s3cret\n")
    more = "security-file: secret" if in_file else ""
    mechanism = "" if in_file else f", sasl_mechanism: {mechanism}, sasl_plain_password: s3cret"
    security = f"security: {{security_protocol: {protocol}{mechanism}}}"
    text = f"version: 1\nsinks: {{kafka: {{bootstrap: {bootstrap}, {security}, {more}}}}}\n"
    if not refused:
        load_config(written(tmp_path, text))
        return
    with pytest.raises(InputError) as caught:
        load_config(written(tmp_path, text))
    assert "the login would be sent to" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_metrics_to_where_the_log_events_go_are_sent_with_what_is_set_up_there(
    tmp_path: Path,
) -> None:
    """Until 2026-11-30 `telemetry` knew no `ca` and no headers: over private TLS there were no metrics of the line."""
    text = (
        "version: 1\nsinks: {otlp: {endpoint: 'https://c:4318', ca: c.pem, headers-file: h}}\n"
        "telemetry: {endpoint: 'https://HOST'}\n"
    )
    config = load_config(written(tmp_path, text.replace("HOST", "c:4318")))
    assert (config.telemetry,) == config.sinks
    path = load_config(written(tmp_path, text.replace("HOST", "c:4318/metrics")))
    assert path.telemetry == OtlpConfig(
        endpoint="https://c:4318/metrics", ca=tmp_path / "c.pem", headers_file=tmp_path / "h"
    )
    other = load_config(written(tmp_path, text.replace("HOST", "d:4318")))
    assert other.telemetry == OtlpConfig(endpoint="https://d:4318")


def test_metrics_may_have_their_own_settings_which_are_printed_and_hidden_too(
    tmp_path: Path,
) -> None:
    text = (
        "version: 1\ntelemetry: {endpoint: 'https://c:4318', headers: {authorization: s3cret}, "
        "client-cert: c.crt, client-key: c.key, timeout: 3}\n"
    )
    config = load_config(written(tmp_path, text))
    own = OtlpConfig(
        endpoint="https://c:4318",
        headers={"authorization": "s3cret"},
        client_cert=tmp_path / "c.crt",
        client_key=tmp_path / "c.key",
        timeout_s=3.0,
    )
    assert config.telemetry == own
    assert load_config(written(tmp_path, as_yaml(config))).telemetry == own
    assert "s3cret" not in as_yaml(without_secrets(config))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("url: 'https://h/x', client-key: k", "`client-key` without `client-cert`"),
        ("url: 'http://127.0.0.1/x', client-cert: c", "`client-cert` and an `http://` URL"),
    ],
)
def test_a_client_certificate_that_could_not_be_shown_is_refused(
    tmp_path: Path, keys: str, said: str
) -> None:
    with pytest.raises(InputError) as caught:
        load_config(written(tmp_path, f"version: 1\nsinks: {{webhook: {{{keys}}}}}\n"))
    assert said in str(caught.value)


def test_confirmers_are_read_printed_and_their_headers_hidden(tmp_path: Path) -> None:
    text = (
        "version: 1\nconfirmers:\n"
        "  second-look: {url: 'https://review:9/confirm', timeout: 7, headers: {a: s3cret},\n"
        "    headers-file: h, ca: c, client-cert: d, client-key: k}\n"
        "  by-hand: {call: 'my_package.review:Review.confirm'}\n"
    )
    config = load_config(written(tmp_path, text))
    assert config.confirmers == (
        ConfirmerConfig(
            "second-look",
            "https://review:9/confirm",
            timeout_s=7.0,
            headers={"a": "s3cret"},
            headers_file=tmp_path / "h",
            ca=tmp_path / "c",
            client_cert=tmp_path / "d",
            client_key=tmp_path / "k",
        ),
        ConfirmerConfig("by-hand", call="my_package.review:Review.confirm", timeout_s=3),
    )
    assert load_config(written(tmp_path, as_yaml(config))).confirmers == config.confirmers
    shown = as_yaml(without_secrets(config))
    assert "s3cret" not in shown
    assert shown.count("(hidden)") == 2  # the path, too


@pytest.mark.parametrize(
    ("confirmers", "words"),
    [
        ("[a]", "expected a mapping of names"),
        ("{Second Look: {call: 'a:b'}}", "`Second Look` is no name of a confirmer"),
        ("{a: {}}", "`a` needs one of `url` and `call`"),
        ("{a: {url: 'http://b', call: 'a:b'}}", "`a` needs one of `url` and `call`"),
        ("{a: {url: 'file:///etc/passwd'}}", "is not a URL"),
        ("{a: {call: 'os.system'}}", "`os.system` is no function"),
        ("{a: {call: 'a:b()'}}", "`a:b()` is no function"),
        ("{a: {call: 'a:b', headers: {c: d}}}", "`headers` without `url`"),
        ("{a: {call: 'a:b', ca: c}}", "`ca` without `url`"),
        ("{a: {url: 'https://b', client-key: k}}", "`client-key` without `client-cert`"),
        ("{a: {url: 'http://b', timeout: 0}}", "`0` is out of range"),
        ("{a: {url: 'http://b', timeout: 3s}}", "expected a whole number"),
        ("{a: {ulr: 'http://b'}}", "did you mean `url`?"),
    ],
)
def test_a_confirmer_that_could_not_be_asked_is_refused(
    confirmers: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        load_config(written(tmp_path, f"version: 1\nconfirmers: {confirmers}\n"))
    assert words in str(caught.value)


def test_scores_are_kept_only_where_that_was_asked_for(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, "version: 1\n")).archive is None
    given = load_config(written(tmp_path, "version: 1\narchive: {}\n"))
    assert given.archive == ArchiveConfig(one_in=20, days=30)
    text = "version: 1\ndata-dir: d\narchive: {sample: 1 in 7, keep: 1 day}\n"
    config = load_config(written(tmp_path, text))
    assert config.archive == ArchiveConfig(one_in=7, days=1)
    assert config.archive_path == tmp_path / "d" / "archive"
    assert load_config(written(tmp_path, as_yaml(config))).archive == config.archive


HOSTILE = {
    "a zero byte": ('rules: ["a\\0b"]', "control character `\\x00`"),
    "nobody's home": ("rules: [~nobody-of-this-name/x]", "is nobody's folder"),
    "a header in a header": (
        'sinks: {otlp: {endpoint: "http://a", headers: {a: "x\\r\\ny: z"}}}',
        "control",
    ),
    "a line break": (
        'sinks: {otlp: {endpoint: "http://a", headers: {a: "x\\ny: z"}}}',
        "not one line",
    ),
    "a line break in a name": (
        'sinks: {otlp: {endpoint: "http://a", headers: {"a\\nb": c}}}',
        "not one line",
    ),
    "a header of nothing": (
        'sinks: {otlp: {endpoint: "http://a", headers: {a: ~}}}',
        "not one line",
    ),
    "a socket for everybody": (
        'peers: {mode: "0666"}',
        "everybody on this machine could invent scores",
    ),
    "a mode of nothing": ("peers: {mode: 432}", "`432` is no value of `mode`"),
    "a user of nothing": ("peers: {uids: [-1]}", "0 to 4294967294"),
    "a token in the clear": (
        "sinks: {otlp: {endpoint: 'http://c:4318', headers: {X-Api-Key: s}}}",
        "`X-Api-Key` would be sent to `c` in the clear",
    ),
    "a token by the name of a team": (
        "sinks: {otlp: {endpoint: 'http://api:4318', headers: {x-honeycomb-team: s}}}",
        "`x-honeycomb-team` would be sent to `api` in the clear",
    ),
    "a file of tokens in the clear": (
        "sinks: {alertmanager: {url: 'http://am:9093', headers-file: f}}",
        "`headers-file` would be sent to `am` in the clear",
    ),
    "a confirmer's token in the clear": (
        "confirmers: {a: {url: 'http://review:9000/confirm', headers: {Authorization: Bearer s}}}",
        "`review` would be sent alerts in the clear",
    ),
    "a confirmer's file of tokens in the clear": (
        "confirmers: {a: {url: 'http://review:9000/confirm', headers-file: f}}",
        "`review` would be sent alerts in the clear",
    ),
    "whole records in the clear": (
        "confirmers: {a: {url: 'http://review:9000/confirm'}}",
        "`review` would be sent alerts in the clear",
    ),
    "a confirmer's certificate without TLS": (
        "confirmers: {a: {url: 'http://127.0.0.1:9000/confirm', client-cert: f}}",
        "`client-cert` and an `http://` URL",
    ),
    "no whole address of a collector": (
        "sinks: {otlp: {endpoint: 'http://:4318'}}",
        "is not a whole URL",
    ),
    "alerts in the clear": ("sinks: {webhook: {url: 'http://hooks.example/a'}}", "in the clear"),
    "a password in a URL": ("sinks: {webhook: {url: 'https://a:b@c/'}}", "a password stands in"),
    "no host": ("sinks: {webhook: {url: 'https:///a'}}", "is not a whole URL"),
    "no port": ("sinks: {alertmanager: {url: 'http://a:99999'}}", "is not a whole URL"),
    "a link to nothing": (
        "sinks: {alertmanager: {url: 'http://a', link: 'https://h/alerts'}}",
        "it has no `{event_id}`",
    ),
    "a hold of nothing": ("sinks: {alertmanager: {url: 'http://a', hold: 0}}", "from 1 to 86400"),
    "an argument of the client": (
        "sinks: {kafka: {bootstrap: a, security: {bootstrap_servers: b}}}",
        "`bootstrap_servers` is no security setting",
    ),
    "no TLS, though it looks like it": (
        "sinks: {kafka: {bootstrap: a, security: {security_protocol: ssl}}}",
        "`security_protocol: ssl` is none",
    ),
    "a misspelt password, which the client would repeat": (
        "sinks: {kafka: {bootstrap: a, security: {sasl_plain_pasword: s3cret}}}",
        "`sasl_plain_pasword` is no security setting",
    ),
    "ciphers that no connection looks at": (
        "sinks: {kafka: {bootstrap: a, security: {ssl_ciphers: HIGH}}}",
        "`ssl_ciphers` is no security setting",
    ),
    "an object of the client": (
        "sinks: {kafka: {bootstrap: a, security: {ssl_context: x}}}",
        "`ssl_context` is no security setting",
    ),
    "a password of nothing": (
        "sinks: {kafka: {bootstrap: a, security: {sasl_plain_password: }}}",
        "`sasl_plain_password` has no value",
    ),
    "a name that is not looked at, in words": (
        "sinks: {kafka: {bootstrap: a, security: {ssl_check_hostname: off}}}",
        "expected true or false",
    ),
    "no broker": ("sinks: {kafka: {bootstrap: []}}", "names no broker"),
    "brokers as Java has them": ("sinks: {kafka: {bootstrap: 'a:9092,b:9092'}}", "is no broker"),
    "a broker's protocol": ("sinks: {kafka: {bootstrap: 'SSL://a:9092'}}", "is no broker"),
    "no port of a broker": ("fleet: {kafka: {bootstrap: ['a:99999']}}", "is no broker"),
    "an address in six parts without brackets": (
        "history: {ship: {bootstrap: ['::1']}}",
        "is no broker",
    ),
    "a header's name of two words, which makes dead letters of all": (
        "sinks: {webhook: {url: 'https://a/', headers: {api key: s3cret}}}",
        "`api key` is no header",
    ),
    "a header that cannot be sent": (
        "telemetry: {endpoint: 'https://a', headers: {x-team: 漢}}",
        "`x-team` is no header",
    ),
    "a path that is added": (
        "sinks: {otlp: {endpoint: 'https://a/v1/logs'}}",
        "not where a path can be added",
    ),
    "a path that is added, of metrics": (
        "telemetry: {endpoint: 'https://a/v1/metrics/'}",
        "not where a path can be added",
    ),
    "a key in the query": (
        "sinks: {alertmanager: {url: 'http://a?key=s'}}",
        "not where a path can be added",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_value_that_would_break_something_later_is_refused_where_it_stands(
    tmp_path: Path, name: str
) -> None:
    """Found 2026-11-20 by fuzzing: the first two ended the sidecar with a traceback, the others would have
    failed in delivery."""
    text, words = HOSTILE[name]
    with pytest.raises(InputError) as caught:
        load_config(written(tmp_path, f"version: 1\n{text}\n"))
    assert words in str(caught.value)
    assert "sidecar.yaml:2:" in str(caught.value)


def test_text_that_looks_like_a_number_is_printed_as_text(tmp_path: Path) -> None:
    """`topic: "1e3"` was printed without its quotes, and did not read back."""
    kafka, otlp = '{bootstrap: a, topic: "1e3"}', '{endpoint: "http://a", headers: {b: 0o17}}'
    text = f"version: 1\nsinks: {{kafka: {kafka}, otlp: {otlp}}}\n"
    config = load_config(written(tmp_path, text))
    again = load_config(written(tmp_path, as_yaml(config)))
    assert again.sinks == config.sinks
    assert KafkaConfig(bootstrap=("a",), topic="1e3") in again.sinks
    assert OtlpConfig(endpoint="http://a", headers={"b": "0o17"}) in again.sinks


def test_paths_are_printed_so_that_they_hold_from_any_folder(tmp_path: Path) -> None:
    assert f"data-dir: {Path.cwd() / '.dosimeter'}\n" in as_yaml(Config())


def test_a_credential_in_an_address_is_refused(tmp_path: Path) -> None:
    """Addresses are shown in logs, in `/status` and by `--print-config`."""
    path = tmp_path / "c.yaml"
    path.write_text('version: 1\ntelemetry: {endpoint: "http://ops:secret@collector:4318"}\n')
    with pytest.raises(InputError, match="has a user or a password in it"):
        load_config(path)
