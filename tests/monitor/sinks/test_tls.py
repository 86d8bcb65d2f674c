"""Webhook and OTLP over TLS, against a real server: what is trusted, what is refused, and in which words.

Whatever is wrong with a certificate is for an operator to mend: the alert is kept, to be sent again.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from dosimeter.monitor.history.records import StoredAlert
from dosimeter.monitor.sinks.config import OtlpConfig, WebhookConfig
from dosimeter.monitor.sinks.otlp import OtlpSink
from dosimeter.monitor.sinks.sink import DELIVERED, Result
from dosimeter.monitor.sinks.webhook import WebhookSink
from tests.monitor.sinks.authority import Authority
from tests.monitor.sinks.receiver import Answer, Receiver

StoredOf = Callable[..., StoredAlert]
Kind = Literal["webhook", "otlp"]
both = pytest.mark.parametrize("kind", ["webhook", "otlp"])


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def receiver(authority: Authority) -> Iterator[Receiver]:
    with Receiver(authority.server("good", -1, 1)) as found:
        yield found


def sink(kind: Kind, url: str, ca: Path | None, **more: Path) -> WebhookSink | OtlpSink:
    if kind == "webhook":
        return WebhookSink(WebhookConfig(url=url, ca=ca, timeout_s=5.0, **more))
    return OtlpSink(OtlpConfig(endpoint=url, ca=ca, timeout_s=5.0, **more))


def refused(one: WebhookSink | OtlpSink, alert: StoredAlert) -> str:
    """Twice, as the dispatcher would: nothing is left of the first that keeps the second from its answer."""
    outcomes = [one.send([alert]), one.send([alert])]
    assert [[outcome.result for outcome in each] for each in outcomes] == [[Result.RETRY]] * 2
    return outcomes[1][0].reason


@both
def test_an_authority_that_a_file_names_is_trusted_and_a_token_stands_in_another(
    kind: Kind, receiver: Receiver, authority: Authority, stored_of: StoredOf, tmp_path: Path
) -> None:
    token = tmp_path / "headers"
    token.write_text("authorization: Bearer s3cret\n")
    one = sink(kind, receiver.url, authority.path, headers_file=token)
    assert one.send([stored_of(1)]) == [DELIVERED]
    assert one.send([stored_of(2)]) == [DELIVERED]
    one.close()
    assert receiver.connections == 1
    assert {came.headers["authorization"] for came in receiver.came} == {"Bearer s3cret"}
    if kind == "otlp":
        bodies = [gzip.decompress(came.body) for came in receiver.came]
        assert [came.headers["content-encoding"] for came in receiver.came] == ["gzip"] * 2
        logs = ExportLogsServiceRequest.FromString(bodies[0]).resource_logs[0].scope_logs[0]
        assert [log.event_name for log in logs.log_records] == ["gen_ai.evaluation.result"]


@both
def test_an_authority_that_nobody_named_is_not_trusted(
    kind: Kind, receiver: Receiver, stored_of: StoredOf
) -> None:
    reason = refused(sink(kind, receiver.url, None), stored_of(1))
    assert reason == (
        f"`{receiver.url}`: its certificate: unable to get local issuer certificate\n"
        "  hint: name the file of its authority under `ca`"
    )
    assert receiver.came == []


@both
def test_a_certificate_for_another_host_is_refused(
    kind: Kind, receiver: Receiver, authority: Authority, stored_of: StoredOf
) -> None:
    url = receiver.url.replace("127.0.0.1", "localhost")
    reason = refused(sink(kind, url, authority.path), stored_of(1))
    assert "its certificate: Hostname mismatch" in reason
    assert "hint: write the URL with a name that stands in the certificate" in reason
    assert receiver.came == []


@both
def test_an_expired_certificate_is_refused_and_once_renewed_the_alert_goes(
    kind: Kind, authority: Authority, stored_of: StoredOf
) -> None:
    with Receiver(authority.server("stale", -2, -1)) as receiver:
        one = sink(kind, receiver.url, authority.path)
        assert "its certificate: certificate has expired" in refused(one, stored_of(1))
        receiver.renew(authority.server("stale", -1, 1))
        assert one.send([stored_of(1)]) == [DELIVERED]
        one.close()


@both
def test_a_server_without_tls_is_told_to_be_one(
    kind: Kind, authority: Authority, stored_of: StoredOf
) -> None:
    with Receiver() as plain:
        url = plain.url.replace("http:", "https:")
        reason = refused(sink(kind, url, authority.path), stored_of(1))
    assert "does not speak TLS" in reason


@both
@pytest.mark.parametrize(
    ("body", "said"), [(None, "No such file or directory"), ("no", "no certificate in it")]
)
def test_a_file_of_authorities_that_cannot_be_used_is_named(
    kind: Kind,
    receiver: Receiver,
    stored_of: StoredOf,
    tmp_path: Path,
    body: str | None,
    said: str,
) -> None:
    file = tmp_path / "ca.pem"
    if body is not None:
        file.write_text(body)
    assert refused(sink(kind, receiver.url, file), stored_of(1)).startswith(f"{file}: {said}\n")


def test_neither_a_redirect_nor_a_proxy_of_the_environment_gets_the_otlp_sinks_headers(
    monkeypatch: pytest.MonkeyPatch, stored_of: StoredOf
) -> None:
    """Until 2026-11-30 both did: the sink posted with `urllib`, which follows and asks the environment."""
    with Receiver() as named, Receiver() as other:
        monkeypatch.setenv("http_proxy", other.url)
        named.answers = [Answer(307, {"Location": other.url})]
        one = OtlpSink(OtlpConfig(endpoint=named.url, headers={"authorization": "s3cret"}))
        [outcome] = one.send([stored_of(1)])
        one.close()
        assert (outcome.result, len(named.came), other.came) == (Result.RETRY, 1, [])
        assert "307" in outcome.reason
