"""Against forged requests: a token in every form, bound to who the form was made for.

Double submit: a random cookie, and in the form an HMAC of it together with the session or identity. A site that can
plant a cookie cannot make the HMAC; one that can read a form of its own cannot use it for another's session. Origins
are checked before, in `guard.py`.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from starlette.requests import Request
from starlette.responses import Response

from dosimeter.monitor.pages.access import Person

COOKIE = "dosimeter_form"
FIELD, HEADER = "form_token", "x-form-token"
_LENGTH = 43  # characters of token_urlsafe(32)


class FormTokens:
    """The key lives as long as the process; forms of an earlier one are refused and shown again."""

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key or secrets.token_bytes(32)

    def issue(self, request: Request, person: Person) -> tuple[str, str | None]:
        """(what stands in the form, the cookie to set beside it or None where it is set)."""
        nonce = request.cookies.get(COOKIE, "")
        new = None
        if len(nonce) != _LENGTH:
            nonce = new = secrets.token_urlsafe(32)
        return self._token(nonce, person), new

    def hold(self, request: Request, person: Person, given: str) -> bool:
        nonce = request.cookies.get(COOKIE, "")
        wanted = self._token(nonce, person)
        return len(nonce) == _LENGTH and hmac.compare_digest(given.encode(), wanted.encode())

    def _token(self, nonce: str, person: Person) -> str:
        said = f"{len(nonce)}:{nonce}:{person.binding}".encode()
        return hmac.new(self._key, said, hashlib.sha256).hexdigest()


def set_cookie(response: Response, name: str, value: str, *, secure: bool, lasts_s: int) -> None:
    """For this site alone, out of reach of scripts."""
    response.set_cookie(
        name, value, max_age=lasts_s, httponly=True, secure=secure, samesite="strict", path="/"
    )
