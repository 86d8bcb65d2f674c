"""Who somebody is by a token of the operator's identity provider (OIDC, JWT as `Authorization: Bearer`).

Owns the provider's public keys, their renewal and the checks of a token; PyJWT does the cryptography. An auth proxy
that passes the header on serves browsers too. It never learns what a role may do.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jwt
from starlette.requests import Request

from dosimeter.monitor.config_pages import OidcConfig
from dosimeter.monitor.pages.access import NotAdmitted, Person, Role
from dosimeter.monitor.sinks.http import HttpClient, HttpError

log = logging.getLogger(__name__)

MAX_TOKEN, MAX_JWKS = 8192, 1 << 20
FRESH_S, HOLD_S, AT_MOST_EVERY_S, TIMEOUT_S = 300.0, 86_400.0, 15.0, 5.0
"""Keys are read again when older than FRESH_S, or for a key id nobody knows, but never at the will of strangers. While
they cannot be read, those of the last reading hold for a day."""
MAX_TENANTS = 1000
OK = 200


class Keys:
    """The provider's keys by id, from a URL or a file."""

    def __init__(self, where: str | Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._where, self._monotonic = where, monotonic
        self._lock = threading.Lock()
        self._keys: dict[str, dict[str, Any]] = {}
        self._read_at = self._tried_at = -1e9
        self._failing = False

    def get(self, kid: str) -> dict[str, Any] | None:
        """The JWK; None where the provider has none of that id."""
        with self._lock:
            now = self._monotonic()
            stale = kid not in self._keys or now - self._read_at > FRESH_S
            if stale and now - self._tried_at > AT_MOST_EVERY_S:
                self._tried_at = now
                try:
                    self._keys, self._read_at = _by_id(self._read()), now
                except (OSError, ValueError, RecursionError) as error:
                    self._not_read(error, now - self._read_at)
                else:
                    if self._failing:
                        log.info("keys of the identity provider are read again")
                    self._failing = False
            return self._keys.get(kid)

    def _not_read(self, error: Exception, age_s: float) -> None:
        """Said once, and once more when what was read last holds no longer; not for each call that waits for it."""
        why = f"{error}\n  hint: does `history.pages.oidc.jwks` lead to its key set?"
        if age_s > HOLD_S and (self._keys or not self._failing):
            self._keys = {}
            log.error("there are no keys of the identity provider, so nobody is let in: %s", why)
        elif not self._failing:
            log.warning(
                "keys of the identity provider are not read, the last hold for a day: %s", why
            )
        self._failing = True

    def _read(self) -> bytes:
        """A redirect could lead from https to http; the configured URL is the one that is trusted. Raises OSError."""
        if isinstance(self._where, Path):
            with self._where.open("rb") as file:
                return file.read(MAX_JWKS)
        client = HttpClient(
            self._where, timeout_s=TIMEOUT_S, most=MAX_JWKS, monotonic=self._monotonic
        )
        try:
            reply = client.get()
        except HttpError as error:
            raise OSError(str(error)) from None
        finally:
            client.close()
        if reply.status != OK:
            raise OSError(f"`{client.where}` answered {reply.status}")
        return reply.body


class OidcTokens:
    """Every check that a token can fail ends in NotAdmitted, with words that help its owner and no stranger."""

    def __init__(self, config: OidcConfig, keys: Keys | None = None) -> None:
        self._config = config
        self._keys = keys or Keys(config.jwks)

    def person(self, request: Request) -> Person:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise NotAdmitted(401, "no bearer token; sign in where this site is published")
        return self.admit(token.strip())

    def admit(self, token: str) -> Person:
        claims = self._claims(token)
        roles = frozenset(self._roles(claims))
        name = _at(claims, self._config.name_claim)
        if not isinstance(name, str) or not 0 < len(name) <= 200:
            raise NotAdmitted(403, f"the token has no usable `{self._config.name_claim}`")
        if not roles:
            raise NotAdmitted(403, "your account has no role here; ask whoever assigns them")
        bound = hashlib.sha256(f"{claims['iss']}\0{claims['sub']}".encode()).hexdigest()
        return Person(name, roles, self._tenants(claims), f"oidc:{bound}")

    def _claims(self, token: str) -> Mapping[str, Any]:
        config = self._config
        if len(token) > MAX_TOKEN:
            raise NotAdmitted(401, "the token is too long")
        try:
            header = jwt.get_unverified_header(token)
            alg, kid = header.get("alg"), header.get("kid")
            if alg not in config.algorithms or not isinstance(kid, str):
                raise NotAdmitted(401, "the token is not signed as agreed")
            key = self._keys.get(kid)
            if key is None:
                raise NotAdmitted(401, "the token is signed with an unknown key")
            claims: Mapping[str, Any] = jwt.decode(
                token,
                jwt.PyJWK(key, algorithm=key.get("alg", alg)),
                algorithms=list(config.algorithms),
                audience=config.audience,
                issuer=config.issuer,
                leeway=config.leeway_s,
                options={"require": ["exp", "iat", "iss", "aud", "sub"]},
            )
        except jwt.ExpiredSignatureError:
            raise NotAdmitted(401, "the token has expired; sign in again") from None
        except (jwt.InvalidAudienceError, jwt.InvalidIssuerError):
            raise NotAdmitted(401, "the token is not for this site") from None
        except (jwt.PyJWTError, ValueError, TypeError):
            raise NotAdmitted(401, "the token does not hold") from None
        return claims

    def _roles(self, claims: Mapping[str, Any]) -> list[Role]:
        said = _at(claims, self._config.roles_claim)
        named = [said] if isinstance(said, str) else said if isinstance(said, list) else []
        known = {str(role): role for role in Role}
        meant = (self._config.roles.get(one, "") for one in named if isinstance(one, str))
        return [known[one] for one in meant if one in known]

    def _tenants(self, claims: Mapping[str, Any]) -> frozenset[str] | None:
        said = _at(claims, self._config.tenants_claim)
        named = [said] if isinstance(said, str) else said if isinstance(said, list) else []
        found = frozenset(one for one in named[:MAX_TENANTS] if isinstance(one, str) and one)
        return None if "*" in found else found


def _at(claims: Mapping[str, Any], name: str) -> Any:
    """The claim; `a.b` looks inside `a`, unless there is a claim of that very name."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _by_id(body: bytes) -> dict[str, dict[str, Any]]:
    """Raises ValueError. Symmetric keys in it are passed over."""
    said = json.loads(body)
    keys = said.get("keys") if isinstance(said, dict) else None
    if not isinstance(keys, list):
        raise ValueError("no key set")
    return {
        one["kid"]: one
        for one in keys
        if isinstance(one, dict) and isinstance(one.get("kid"), str) and one.get("kty") != "oct"
    }
