"""What every request passes before anything of ours sees it, and what every answer carries.

Owns the check of the Host header (against DNS rebinding), of the origin of whatever changes something, the limit of a
body and the security headers. It never learns of sessions, pages or history.
"""

from __future__ import annotations

import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dosimeter.monitor.in_the_clear import LOOPBACK
from dosimeter.monitor.pages.problems import refusal

MAX_BODY = 256 << 10
MAX_TARGET = 8192
"""Bytes of path and query together."""

CSP = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with `no-referrer`, a form's Origin would be `null`
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_HOST = re.compile(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+)(?::(\d{1,5}))?")


class Guard:
    """ASGI middleware. origin: `https://history.example`, or empty where any loopback name will do."""

    def __init__(self, app: ASGIApp, origin: str) -> None:
        self._app, self._origin = app, origin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        kept = "no-cache" if scope["path"].startswith("/static/") else "no-store"
        send = _with_headers(send, kept, secure=self._origin.startswith("https:"))
        headers = Headers(scope=scope)
        refused = self._refused(scope, headers)
        if refused is None:
            body = await _body(receive)
            if body is None:
                refused = (413, f"the body is larger than {MAX_BODY >> 10} KiB")
            else:
                receive = _replayed(body, receive)
        if refused is not None:
            await refusal(scope, *refused)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refused(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        if len(headers.getlist("host")) != 1 or not self._ours(headers["host"]):
            return 421, "this site is not called by that name; see `pages.public_url`"
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_TARGET:
            return 414, "the address is too long"
        if any(ord(c) < 32 for c in scope["path"]):
            return 400, "the address contains control characters"
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit():
            return 400, "the length of the body is no number"
        if int(length[:18]) > MAX_BODY:
            return 413, f"the body is larger than {MAX_BODY >> 10} KiB"
        if scope["method"] not in SAFE and not self._same_origin(scope, headers):
            return (
                403,
                "this was sent from another site, or by a browser that does not say from where",
            )
        return None

    def _ours(self, host: str) -> bool:
        if self._origin:
            default = ":443" if self._origin.startswith("https:") else ":80"
            named = self._origin.partition("://")[2]
            return host.lower() in {named.lower(), named.lower() + default}
        match = _HOST.fullmatch(host)
        return match is not None and match[1].strip("[]").lower() in LOOPBACK

    def _same_origin(self, scope: Scope, headers: Headers) -> bool:
        """A browser says where a request comes from; a program with a token of its own need not."""
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if site is not None and site != "same-origin":
            return False
        if origin is not None:
            return origin == (self._origin or f"{scope['scheme']}://{headers['host']}")
        if site is not None:
            return True
        bearer = headers.get("authorization", "").lower().startswith("bearer ")
        return bearer and scope["path"].startswith("/api/") and "cookie" not in headers


async def _body(receive: Receive) -> bytes | None:
    """All of it; None when it is too large."""
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b""  # gone away
        part = message.get("body", b"")
        size += len(part)
        if size > MAX_BODY:
            return None
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    told = False

    async def again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _with_headers(send: Send, kept: str, secure: bool) -> Send:
    """kept: what a browser may keep, where an answer does not say so itself."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            headers.setdefault("Cache-Control", kept)
            if secure:
                headers["Strict-Transport-Security"] = "max-age=31536000"
        await send(message)

    return sent
