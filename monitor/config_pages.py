"""What an operator may set about the pages. Plain data, checked when it is made; it learns nothing of HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from dosimeter.detectors.findings import InputError
from dosimeter.monitor.in_the_clear import in_the_clear
from dosimeter.monitor.roles import ROLES

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")
"""Asymmetric ones alone: with a shared secret, whoever can check a token can also make one."""


@dataclass(frozen=True, slots=True)
class OidcConfig:
    """An identity provider whose tokens are believed.

    jwks        https URL, or a file, of its public keys
    roles       the claim that holds roles (`realm_access.roles` looks inside), and what its values mean here
    tenants     the claim with the tenants whose rows and texts a reader may see; `*` in it means all
    """

    issuer: str
    audience: str
    jwks: str | Path
    roles_claim: str = "roles"
    roles: Mapping[str, str] = field(default_factory=dict)
    tenants_claim: str = "tenants"
    name_claim: str = "sub"
    algorithms: tuple[str, ...] = ("RS256", "ES256")
    leeway_s: int = 30

    def __post_init__(self) -> None:
        wrong = [name for name in self.algorithms if name not in ALGORITHMS]
        if wrong or not self.algorithms:
            said = f"`{', '.join(wrong)}` is no asymmetric algorithm" if wrong else "names none"
            raise InputError.at("pages.oidc.algorithms", said, f"one of {', '.join(ALGORITHMS)}")
        if not (self.issuer and self.audience):
            raise InputError.at("pages.oidc", "lacks `issuer` or `audience`", "both are checked")
        for said, role in self.roles.items():
            if role not in ROLES:
                hint = f"one of {', '.join(ROLES)}"
                raise InputError.at("pages.oidc.roles", f"`{said}` means `{role}`, no role", hint)
        if isinstance(self.jwks, Path) and not self.jwks.is_file():
            hint = "the file with the public keys of the provider, or its https:// URL"
            raise InputError.at("pages.oidc.jwks", f"there is no file `{self.jwks}`", hint)
        if isinstance(self.jwks, str):
            known = urlsplit(self.jwks).scheme in ("https", "http")
            if not known or in_the_clear(self.jwks):
                hint = "an https:// URL, or the path of a file"
                raise InputError.at("pages.oidc.jwks", f"`{self.jwks}` is not safe", hint)
        if not 0 <= self.leeway_s <= 300:
            raise InputError.at("pages.oidc.leeway_s", f"`{self.leeway_s}` s", "0 to 300")


@dataclass(frozen=True, slots=True)
class PagesConfig:
    """oidc None: one person on this machine, admitted by a link printed at the start.

    public_url       as browsers reach the pages (`https://history.example`); empty: loopback names only
    transcript_url   the operator's own page of one request, with `{request_id}` in it; empty: none
    trace_url        likewise with `{trace_id}`
    zone             of times, where a reader has chosen none
    """

    oidc: OidcConfig | None = None
    public_url: str = ""
    transcript_url: str = ""
    trace_url: str = ""
    zone: str = "UTC"

    def __post_init__(self) -> None:
        for name, place in (("transcript_url", "request_id"), ("trace_url", "trace_id")):
            url = getattr(self, name)
            if url and (urlsplit(url).scheme not in ("https", "http") or f"{{{place}}}" not in url):
                hint = f"an http(s) URL with `{{{place}}}` in it"
                raise InputError.at(f"pages.{name}", f"`{url}` leads nowhere", hint)
        if self.public_url:
            parts = urlsplit(self.public_url)
            if (
                parts.scheme not in ("https", "http")
                or not parts.netloc
                or parts.path not in ("", "/")
            ):
                hint = "scheme and host alone, such as `https://history.example`"
                raise InputError.at("pages.public_url", f"`{self.public_url}` is no origin", hint)
        if self.oidc is None and self.public_url:
            hint = "set `pages.oidc`, or leave `public_url` empty"
            raise InputError.at("pages.public_url", "is set, and nobody says who may read", hint)
        try:
            ZoneInfo(self.zone)
        except (ValueError, OSError, KeyError):
            hint = "an IANA name, such as `Europe/Berlin`"
            raise InputError.at("pages.zone", f"`{self.zone}` is no time zone", hint) from None

    @property
    def origin(self) -> str:
        """Without a slash at the end; empty where any loopback name will do."""
        return self.public_url.rstrip("/")
