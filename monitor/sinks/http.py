"""One HTTP connection to one receiver that an operator named, kept open between requests.

It owns the connection and what of a reply a sink may see. A redirect is a reply like any other and never followed,
environment variables name no proxy, of a reply's body only the beginning is read, and one deadline stands for all of an
exchange: whoever answers can keep us for that long, and no longer. It knows nothing of alerts.
"""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Self, cast
from urllib.parse import urlsplit

from dosimeter.monitor.sinks.client_pair import ClientPair, PairError
from dosimeter.monitor.sinks.config import OverHttp
from dosimeter.monitor.sinks.deadline import Deadline, TimedSocket, connect
from dosimeter.monitor.sinks.headers import HeadersError, read_headers
from dosimeter.monitor.sinks.http_said import alert_of, is_hanging_up, said, wants_tls

MAX_REPLY = 1 << 10
"""Bytes of a body: enough for a reason."""
SUCCESS, REDIRECT = 200, 300
SAID, SHORT = 200, 4
"""Characters of a reply that are quoted, and of what is too short to be a credential."""
REFUSING = frozenset({400, 413, 422})
"""About what was sent. All others are about who is asked, where or how: an operator or time can mend these."""
ASKED = "if it asks for a certificate of ours, name one under `client-cert`"
SHOWN = "does it know the authority of our `client-cert`?"


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: bytes = b""  # its beginning
    retry_after_s: float | None = None
    cut: bool = False  # it ended before the length that it stated

    @property
    def refuses(self) -> bool:
        """What was sent is refused for what it is: sending it again cannot help."""
        return self.status in REFUSING


class HttpError(RuntimeError):
    """There is no reply."""


class HttpClient:
    """Connects at the first `post`. Used by one thread."""

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        ca: Path | None = None,
        headers: Mapping[str, str] | None = None,
        headers_file: Path | None = None,
        pair: ClientPair | None = None,
        most: int = MAX_REPLY,
        has_keys: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """timeout_s: for a whole exchange. ca: a file of certificates that are trusted instead of the system's.
        headers, headers_file: sent with each request. pair: shown to a receiver that asks for a certificate, read, as
        ca is, for each connection. most: bytes of a reply's body. has_keys: `ca` and `client-cert` can be set for it,
        so that messages may name them."""
        parts = urlsplit(url)
        self._tls, self._host = parts.scheme == "https", parts.hostname
        self._port = parts.port or (443 if self._tls else 80)
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._timeout_s, self._ca, self._pair, self._most = timeout_s, ca, pair, most
        self._headers, self._headers_file = dict(headers or {}), headers_file
        self._has_keys = has_keys
        self._now, self._monotonic = now, monotonic
        self._connection: http.client.HTTPConnection | None = None
        self._paths = self._path, parts.path
        self._tokens: list[str] = []  # as they were sent last
        self.where = origin(url)

    @classmethod
    def of(
        cls,
        config: OverHttp,
        url: str,
        *,
        most: int = MAX_REPLY,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> Self:
        return cls(
            url,
            timeout_s=config.timeout_s,
            ca=config.ca,
            headers=config.headers,
            headers_file=config.headers_file,
            pair=config.pair,
            most=most,
            has_keys=True,
            monotonic=monotonic,
        )

    def post(self, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Raises HttpError: whether it arrived is not known, so whoever asked decides how much of it to send again."""
        return self._exchange("POST", body, headers)

    def get(self) -> Reply:
        """As `post` does."""
        return self._exchange("GET", None, {})

    def _exchange(self, method: str, body: bytes | None, headers: Mapping[str, str]) -> Reply:
        deadline = Deadline(self._timeout_s, self._monotonic)
        if self._connection is not None and cast(TimedSocket, self._connection.sock).ended():
            self.close()  # a receiver may close a connection that is idle
        try:
            own = {} if self._headers_file is None else read_headers(self._headers_file)
        except HeadersError as error:
            raise HttpError(str(error)) from None
        self._tokens = [*self._headers.values(), *own.values()]
        each = (*self._headers.items(), *own.items(), *headers.items())
        sent = {name.lower(): value for name, value in each}  # one of each, however it is spelt
        is_new = self._connection is None
        try:
            reply = self._ask(method, body, sent, deadline)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise self._failed(error, deadline, is_new=is_new) from error
        if not self._tls and wants_tls(reply.status, reply.body):
            self.close()
            raise HttpError(f"`{self.where}`: what answers speaks TLS alone\n  hint: `https://…`")
        return reply

    def quoted(self, body: bytes) -> str:
        """The beginning of a reply's body, for messages: without what it repeats of our path and headers."""
        said = body.decode("utf-8", "replace")
        bare = [one.split()[-1] for one in self._tokens if one.strip()]  # without `Bearer`
        for own in sorted({*self._paths, *self._tokens, *bare}, key=len, reverse=True):
            if len(own) >= SHORT:
                said = said.replace(own, "…")
        return repr(said[:SAID])

    def _ask(
        self, method: str, body: bytes | None, headers: Mapping[str, str], deadline: Deadline
    ) -> Reply:
        connection = self._connection = self._connection or self._connect(deadline)
        timed = cast(TimedSocket, connection.sock)
        timed.deadline = deadline
        connection.request(method, self._path, body, dict(headers))
        answer = connection.getresponse()
        start = answer.read(self._most)
        cut = bool(answer.length) and len(start) < self._most
        pause_s = self._pause_s(answer.headers.get("Retry-After", ""))
        reply = Reply(answer.status, start, pause_s, cut)
        if not answer.isclosed() or connection.sock is None:
            self.close()  # there is more of it, which nobody reads, or it was the last
        return reply

    def _connect(self, deadline: Deadline) -> http.client.HTTPConnection:
        if self._host is None:
            raise ValueError("no host in its URL")
        made: http.client.HTTPConnection
        if self._tls:
            context = self._context()
            made = http.client.HTTPSConnection(self._host, self._port, context=context)
        else:
            context, made = None, http.client.HTTPConnection(self._host, self._port)
        made.auto_open = 0
        made.sock = connect(self._host, self._port, deadline, context)
        return made

    def _context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self._ca)
        except OSError as error:  # an ssl.SSLError, too, and none names the file
            said = "no certificate in it" if isinstance(error, ssl.SSLError) else error.strerror
            hint = "`ca` is a file of certificates in PEM"
            raise _NoTrust(f"{self._ca}: {said}\n  hint: {hint}") from None
        if self._pair is not None:
            self._pair.ends_s()
            self._pair.load(context)
        return context

    def _pause_s(self, text: str) -> float | None:
        """Seconds, or a date, as RFC 9110 has it."""
        if text.isascii() and text.isdigit():
            return float(text[:9])
        try:
            then = parsedate_to_datetime(text)
        except (ValueError, OverflowError, TypeError):
            return None
        return max(0.0, (then - self._now()).total_seconds()) if then.tzinfo else None

    def _failed(self, error: Exception, deadline: Deadline, *, is_new: bool) -> HttpError:
        if isinstance(error, _NoTrust | PairError):
            return HttpError(str(error))
        if isinstance(error, TimeoutError):
            error = deadline.passed()
        words = f"`{self.where}`: {said(error, has_keys=self._has_keys)}"
        if self._tls and self._has_keys and (alert_of(error) or (is_new and is_hanging_up(error))):
            words += f"\n  hint: {ASKED if self._pair is None else SHOWN}"
        return HttpError(words)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class _NoTrust(OSError):
    """The file of certificates cannot be used; the text says all of it."""


def origin(url: str) -> str:
    """Without the path and the query, which may be a credential: what may be logged and shown."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
