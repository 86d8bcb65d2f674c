"""Tokens of an identity provider: the one that holds, and all those that must not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from starlette.testclient import TestClient

from dosimeter.detectors.findings import InputError
from dosimeter.monitor.config_pages import OidcConfig, PagesConfig
from dosimeter.monitor.pages import tokens
from dosimeter.monitor.pages.access import NotAdmitted, Role
from dosimeter.monitor.pages.app import make_app
from dosimeter.monitor.pages.tokens import AT_MOST_EVERY_S, FRESH_S, HOLD_S, Keys, OidcTokens
from tests.monitor.sinks.dripping import Dripping

from .conftest import ORIGIN
from .fake import FakeHistory

ISSUER, AUDIENCE = "https://id.example", "dosimeter"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())


def jwk(key: Any, kid: str) -> dict[str, Any]:
    make = jwt.algorithms.RSAAlgorithm if key is not EC else jwt.algorithms.ECAlgorithm
    return json.loads(make.to_jwk(key.public_key())) | {"kid": kid, "use": "sig"}


def public_pem(key: rsa.RSAPrivateKey) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form)


@pytest.fixture
def jwks(tmp_path: Path) -> Path:
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [jwk(RSA, "one"), jwk(EC, "curve")]}))
    return path


@pytest.fixture
def config(jwks: Path) -> OidcConfig:
    return OidcConfig(
        ISSUER,
        AUDIENCE,
        jwks,
        roles_claim="realm_access.roles",
        roles={"ts-review": "reviewer", "audit-team": "auditor"},
        tenants_claim="tenants",
    )


def claims(**changed: Any) -> dict[str, Any]:
    now = int(time.time())
    found = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "u-17",
        "iat": now,
        "exp": now + 600,
        "realm_access": {"roles": ["ts-review", "odd", 7]},
        "tenants": ["acme"],
    }
    return {k: v for k, v in (found | changed).items() if v is not None}


def signed(body: dict[str, Any], key: Any = RSA, alg: str = "RS256", kid: str = "one") -> str:
    return jwt.encode(body, key, algorithm=alg, headers={"kid": kid})


def by_hand(header: dict[str, Any], body: dict[str, Any], secret: bytes | None) -> str:
    """What a library would refuse to make."""

    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    first = f"{part(json.dumps(header).encode())}.{part(json.dumps(body).encode())}"
    mark = b"" if secret is None else hmac.new(secret, first.encode(), hashlib.sha256).digest()
    return f"{first}.{part(mark)}"


def test_a_token_that_holds_gives_name_roles_and_tenants(config: OidcConfig) -> None:
    for token in (signed(claims()), signed(claims(), EC, "ES256", "curve")):
        person = OidcTokens(config).admit(token)
        assert person.name == "u-17"
        assert person.roles == {Role.REVIEWER}
        assert person.tenants == {"acme"}


REFUSED: dict[str, tuple[int, Callable[[], str]]] = {
    "expired": (401, lambda: signed(claims(exp=int(time.time()) - 60, iat=1))),
    "not yet": (401, lambda: signed(claims(nbf=int(time.time()) + 3600))),
    "wrong audience": (401, lambda: signed(claims(aud="other"))),
    "wrong issuer": (401, lambda: signed(claims(iss="https://evil.example"))),
    "no audience": (401, lambda: signed(claims(aud=None))),
    "no expiry": (401, lambda: signed(claims(exp=None))),
    "no subject": (401, lambda: signed(claims(sub=None))),
    "alg none": (401, lambda: by_hand({"alg": "none", "kid": "one"}, claims(), None)),
    "alg None": (401, lambda: by_hand({"alg": "None", "kid": "one"}, claims(), None)),
    "HS256 with the public key": (
        401,
        lambda: by_hand({"alg": "HS256", "typ": "JWT", "kid": "one"}, claims(), public_pem(RSA)),
    ),
    "another key under a known id": (401, lambda: signed(claims(), OTHER)),
    "unknown key id": (401, lambda: signed(claims(), OTHER, kid="two")),
    "no key id": (401, lambda: jwt.encode(claims(), RSA, algorithm="RS256")),
    "an algorithm not agreed": (401, lambda: signed(claims(), RSA, "RS512")),
    "a curve's algorithm on an RSA key": (401, lambda: signed(claims(), EC, "ES256", "one")),
    "no token": (401, lambda: "x"),
    "too long": (401, lambda: signed(claims(more="a" * 9000))),
    "no role": (403, lambda: signed(claims(realm_access=None))),
    "a role nobody mapped": (403, lambda: signed(claims(realm_access={"roles": ["admin"]}))),
    "a group that means no role here": (
        403,
        lambda: signed(claims(realm_access={"roles": ["odd"]})),
    ),
    "our own word, not mapped": (403, lambda: signed(claims(realm_access={"roles": ["auditor"]}))),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_refused_on_every_page_and_nothing_is_shown(config: OidcConfig, name: str) -> None:
    status, make = REFUSED[name]
    history = FakeHistory()
    app = make_app(history, OidcTokens(config), PagesConfig(oidc=config))
    client = TestClient(app, base_url=ORIGIN, headers={"Authorization": f"Bearer {make()}"})
    for path in ("/", "/queue", "/rules/deceptive-answer", "/api/v1/alerts", "/log/tile/0/000"):
        answer = client.get(path)
        assert answer.status_code == status, path
        assert "deceptive-answer" not in answer.text
        assert "acme" not in answer.text
    assert not history.accesses


def test_a_browser_behind_a_proxy_that_passes_the_header_on_is_served(config: OidcConfig) -> None:
    app = make_app(FakeHistory(), OidcTokens(config), PagesConfig(oidc=config))
    sent = {"Authorization": f"Bearer {signed(claims())}"}
    page = TestClient(app, base_url=ORIGIN, headers=sent).get("/queue")
    assert page.status_code == 200
    assert "u-17" in page.text
    assert "globex" not in page.text


def test_no_tenant_claim_means_no_tenant_and_a_star_means_all(config: OidcConfig) -> None:
    tokens = OidcTokens(config)
    assert tokens.admit(signed(claims(tenants=None))).tenants == frozenset()
    assert tokens.admit(signed(claims(tenants=["*"]))).tenants is None
    assert tokens.admit(signed(claims(tenants="globex"))).tenants == {"globex"}


def test_leeway_is_what_was_configured(config: OidcConfig) -> None:
    late = signed(claims(exp=int(time.time()) - config.leeway_s + 10, iat=1))
    assert OidcTokens(config).admit(late).name == "u-17"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_new_key_is_found_when_first_used_but_strangers_cannot_make_us_read_at_will(
    config: OidcConfig, jwks: Path
) -> None:
    clock = Clock()
    tokens = OidcTokens(config, Keys(jwks, clock))
    tokens.admit(signed(claims()))
    jwks.write_text(json.dumps({"keys": [jwk(OTHER, "two")]}))
    clock.now += AT_MOST_EVERY_S / 2
    with pytest.raises(NotAdmitted):
        tokens.admit(signed(claims(), OTHER, kid="two"))  # too soon after the last reading
    clock.now += AT_MOST_EVERY_S
    assert tokens.admit(signed(claims(), OTHER, kid="two")).name == "u-17"
    with pytest.raises(NotAdmitted):
        tokens.admit(signed(claims()))  # the provider has taken it back


def test_while_keys_cannot_be_read_the_last_ones_hold_for_a_day(
    config: OidcConfig, jwks: Path
) -> None:
    clock = Clock()
    tokens = OidcTokens(config, Keys(jwks, clock))
    tokens.admit(signed(claims()))
    jwks.unlink()
    clock.now += 2 * FRESH_S
    assert tokens.admit(signed(claims())).name == "u-17"
    clock.now += HOLD_S
    with pytest.raises(NotAdmitted):
        tokens.admit(signed(claims()))


def test_keys_that_cannot_be_read_are_said_once_and_again_when_the_last_ones_are_too_old(
    jwks: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Found by review on 2026-11-30: who was not let in was told, and nobody who could mend it."""
    caplog.set_level("INFO")
    clock, whole = Clock(), jwks.read_text()
    keys = Keys(jwks, clock)
    keys.get("one")
    assert caplog.messages == []

    def later(seconds: float) -> list[str]:
        """What the log says by then; somebody asks every minute."""
        caplog.clear()
        for _ in range(int(seconds / 60)):
            clock.now += 60
            keys.get("one")
        return [f"{one.levelname} {one.getMessage()}" for one in caplog.records]

    jwks.write_text("<html>")
    (said,) = later(3600)
    assert said.startswith(
        "WARNING keys of the identity provider are not read, the last hold for a"
    )
    assert "Expecting value" in said
    (said,) = later(HOLD_S)
    assert said.startswith(
        "ERROR there are no keys of the identity provider, so nobody is let in: "
    )
    assert later(HOLD_S) == []
    jwks.write_text(whole)
    assert later(60) == ["INFO keys of the identity provider are read again"]
    assert later(3600) == []


@pytest.mark.parametrize(
    "body", ["[" * 100_000, '{"keys": {}}', "\ud800"], ids=["deep", "odd", "no"]
)
def test_whatever_a_provider_answers_is_no_defect_of_ours(
    body: str, jwks: Path, caplog: pytest.LogCaptureFixture
) -> None:
    jwks.write_bytes(body.encode("utf-8", "surrogatepass"))
    assert Keys(jwks, Clock()).get("one") is None
    (said,) = caplog.messages
    assert said.startswith("there are no keys of the identity provider, so nobody is let in: ")


@pytest.mark.parametrize("in_time", [True, False])
def test_a_provider_is_read_over_http_and_left_when_its_whole_answer_has_taken_its_time(
    in_time: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for a page waits for it: until 2026-11-30 each byte had a time-out of its own."""
    body = json.dumps({"keys": [jwk(RSA, "one")]}).encode()
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    monkeypatch.setattr(tokens, "TIMEOUT_S", (10 if in_time else 0.5) * len(answer))
    with Dripping(answer) as provider:
        found = Keys(provider.url, provider.look).get("one")
    assert found == (jwk(RSA, "one") if in_time else None)


def test_a_shared_secret_in_the_key_set_is_passed_over(config: OidcConfig, jwks: Path) -> None:
    secret = {"kty": "oct", "kid": "s", "k": base64.urlsafe_b64encode(b"k" * 32).decode()}
    jwks.write_text(json.dumps({"keys": [secret, jwk(RSA, "one")]}))
    with pytest.raises(NotAdmitted):
        OidcTokens(config).admit(jwt.encode(claims(), b"k" * 32, "HS256", headers={"kid": "s"}))


@pytest.mark.parametrize("alg", ["HS256", "none", "RS1"])
def test_only_asymmetric_algorithms_can_be_configured(alg: str) -> None:
    with pytest.raises(InputError, match="asymmetric"):
        OidcConfig(ISSUER, AUDIENCE, "https://id.example/keys", algorithms=(alg,))


@pytest.mark.parametrize("where", ["http://id.example/keys", "file:///etc/passwd", "keys.json"])
def test_keys_come_over_https_or_from_a_file(where: str) -> None:
    with pytest.raises(InputError, match="not safe"):
        OidcConfig(ISSUER, AUDIENCE, where)
