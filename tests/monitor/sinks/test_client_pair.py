"""Mutual TLS, against a real server that asks for a certificate: what is shown, and what is said of a bad one.

Whatever is wrong is for an operator to mend: the alert is kept, to be sent again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from dosimeter.monitor.history.records import StoredAlert
from dosimeter.monitor.lab.broker import free_port
from dosimeter.monitor.sinks.alertmanager import AlertmanagerSink
from dosimeter.monitor.sinks.client_pair import ClientPair, PairError
from dosimeter.monitor.sinks.config import AlertmanagerConfig, OtlpConfig, WebhookConfig
from dosimeter.monitor.sinks.otlp import OtlpSink
from dosimeter.monitor.sinks.sink import DELIVERED, Result, Sink
from dosimeter.monitor.sinks.webhook import WebhookSink
from dosimeter.monitor.telemetry import Telemetry, TelemetryConfig
from tests.monitor.sinks.authority import Authority
from tests.monitor.sinks.receiver import Receiver

StoredOf = Callable[..., StoredAlert]
DAY_S = 86_400


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def receiver(authority: Authority) -> Iterator[Receiver]:
    with Receiver(authority.server("asking", -1, 1), clients=authority.path) as found:
        yield found


def webhook(receiver: Receiver, authority: Authority, **more: Any) -> WebhookSink:
    settings = {"url": receiver.url, "ca": authority.path, "timeout_s": 5.0}
    return WebhookSink(WebhookConfig(**settings, **more))


def refused(one: WebhookSink, alert: StoredAlert) -> str:
    [outcome] = one.send([alert])
    one.close()
    assert outcome.result is Result.RETRY
    return outcome.reason


def test_every_receiver_over_http_is_shown_our_certificate(
    receiver: Receiver, authority: Authority, stored_of: StoredOf
) -> None:
    cert, key = authority.pair("client")
    own = {"ca": authority.path, "client_cert": cert, "client_key": key}
    sinks: list[Sink] = [
        WebhookSink(WebhookConfig(url=receiver.url, **own)),
        OtlpSink(OtlpConfig(endpoint=receiver.url, **own)),
        AlertmanagerSink(AlertmanagerConfig(url=receiver.url, **own)),
    ]
    before = len(receiver.came)
    for one in sinks:
        assert one.send([stored_of(1)]) == [DELIVERED]
        one.close()
    to = OtlpConfig(endpoint=receiver.url, **own)
    telemetry = Telemetry(TelemetryConfig(to, interval_s=3600, last_s=30.0))
    telemetry.record("dosimeter.coverage", 1.0)
    telemetry.close()
    paths = [came.path for came in receiver.came[before:]]
    assert paths == ["/", "/v1/logs", "/api/v2/alerts", "/v1/metrics"]


def test_both_may_stand_in_one_file_and_are_read_for_each_connection(
    receiver: Receiver, authority: Authority, stored_of: StoredOf
) -> None:
    both = authority.server("both", -2, -1)
    one = webhook(receiver, authority, client_cert=both)
    assert refused(one, stored_of(1)) == (
        f"{both}: certificate has expired\n"
        "  hint: have it issued anew; if it is new, is the clock of this machine right?"
    )
    assert authority.server("both", -1, 1) == both
    assert one.send([stored_of(1)]) == [DELIVERED]
    one.close()


def test_without_a_certificate_it_says_that_one_is_asked_for(
    receiver: Receiver, authority: Authority, stored_of: StoredOf
) -> None:
    """What of it arrives differs: the alert of TLS, or that the connection is gone before it could be read."""
    reason = refused(webhook(receiver, authority), stored_of(1))
    assert reason.startswith(f"`{receiver.url}`: ")
    assert reason.endswith(
        "hint: if it asks for a certificate of ours, name one under `client-cert`"
    )


def test_that_nobody_is_there_has_nothing_to_do_with_certificates(
    authority: Authority, stored_of: StoredOf
) -> None:
    url = f"https://127.0.0.1:{free_port()}"
    one = WebhookSink(WebhookConfig(url=url, ca=authority.path))
    assert refused(one, stored_of(1)) == f"`{url}`: [Errno 111] Connection refused"


def test_a_certificate_of_an_authority_that_the_receiver_does_not_know_is_told_so(
    receiver: Receiver, authority: Authority, stored_of: StoredOf, tmp_path: Path
) -> None:
    cert, key = Authority(tmp_path).pair("stranger")
    reason = refused(webhook(receiver, authority, client_cert=cert, client_key=key), stored_of(1))
    assert reason.endswith("hint: does it know the authority of our `client-cert`?")


def with_password(key: Path) -> bytes:
    found = serialization.load_pem_private_key(key.read_bytes(), None)
    return found.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"s3cret"),
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no certificate", "none.crt: No such file or directory"),
        ("no key", "none.key: No such file or directory"),
        ("a key in its place", "good.key: no certificate in it"),
        ("a certificate as the key", "good.crt: no key in it"),
        ("the key of another", "other.key: is not the key of"),
        ("a key with a password", "locked.key: cannot be read"),
        ("a broken certificate", "broken.crt: cannot be read"),
        ("not yet valid", "early.crt: certificate is not yet valid"),
        ("expired", "late.crt: certificate has expired"),
    ],
)
def test_a_pair_that_will_not_do_is_named_with_its_file_before_anybody_is_asked(
    authority: Authority, tmp_path: Path, name: str, said: str
) -> None:
    cert, key = authority.pair("good")
    locked, broken = tmp_path / "locked.key", tmp_path / "broken.crt"
    locked.write_bytes(with_password(key))
    broken.write_text(cert.read_text().replace("MII", "AAA", 1))
    pairs = {
        "no certificate": (tmp_path / "none.crt", key),
        "no key": (cert, tmp_path / "none.key"),
        "a key in its place": (key, key),
        "a certificate as the key": (cert, cert),
        "the key of another": (cert, authority.pair("other")[1]),
        "a key with a password": (cert, locked),
        "a broken certificate": (broken, key),
        "not yet valid": authority.pair("early", 1, 2),
        "expired": authority.pair("late", -2, -1),
    }
    with pytest.raises(PairError) as caught:
        ClientPair(*pairs[name]).ends_s()
    assert said in str(caught.value)
    assert "\n  hint: " in str(caught.value)
    assert "/" in str(caught.value).partition(":")[0]  # the whole path


def test_when_it_ends_is_known(authority: Authority) -> None:
    left_s = ClientPair(*authority.pair("lasting", -1, 30)).ends_s() - time.time()
    assert 29 * DAY_S < left_s <= 30 * DAY_S
