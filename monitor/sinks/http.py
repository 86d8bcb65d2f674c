"""One HTTP connection to one receiver that an operator named, kept open between requests.

It owns the connection and what of a reply a sink may see. A redirect is a reply like any other and never followed,
environment variables name no proxy, and of a reply's body only the beginning is read: whoever answers can keep us for
a time-out, and no longer. It knows nothing of alerts.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

MAX_REPLY = 1 << 10
"""Bytes of a body: enough for a reason."""
SUCCESS, REDIRECT, CLIENT, SERVER = 200, 300, 400, 500
MENDABLE = frozenset({401, 403, 404, 408, 409, 425, 429})
"""An operator or time can mend these."""


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: bytes = b""  # its beginning
    retry_after_s: float | None = None

    @property
    def refuses(self) -> bool:
        """What was sent is refused for what it is: sending it again cannot help."""
        return CLIENT <= self.status < SERVER and self.status not in MENDABLE


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
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """ca: a file of certificates that are trusted instead of the system's."""
        parts = urlsplit(url)
        self._tls, self._host, self._port = parts.scheme == "https", parts.hostname, parts.port
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._timeout_s, self._ca, self._now = timeout_s, ca, now
        self._connection: http.client.HTTPConnection | None = None
        self.where = origin(url)

    def post(self, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Raises HttpError: whether it arrived is not known."""
        kept = self._connection is not None
        try:
            return self._post(body, headers)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError) as error:
            self.close()
            if not kept:
                raise HttpError(f"`{self.where}`: {error}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise HttpError(f"`{self.where}`: {_said(error)}") from error
        # A receiver may close a connection that was idle just as we use it again.
        try:
            return self._post(body, headers)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise HttpError(f"`{self.where}`: {_said(error)}") from error

    def _post(self, body: bytes, headers: Mapping[str, str]) -> Reply:
        if self._connection is None:
            self._connection = self._connect()
        self._connection.request("POST", self._path, body, dict(headers))
        answer = self._connection.getresponse()
        start = answer.read(MAX_REPLY)
        reply = Reply(answer.status, start, self._pause_s(answer.headers.get("Retry-After", "")))
        if not answer.isclosed():  # there is more of it, which nobody reads
            self.close()
        return reply

    def _connect(self) -> http.client.HTTPConnection:
        if self._host is None:
            raise ValueError("no host in its URL")
        if not self._tls:
            return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        context = ssl.create_default_context(cafile=self._ca)
        return http.client.HTTPSConnection(
            self._host, self._port, timeout=self._timeout_s, context=context
        )

    def _pause_s(self, text: str) -> float | None:
        """Seconds, or a date, as RFC 9110 has it."""
        if text.isascii() and text.isdigit():
            return float(text[:9])
        try:
            then = parsedate_to_datetime(text)
        except (ValueError, OverflowError, TypeError):
            return None
        return max(0.0, (then - self._now()).total_seconds()) if then.tzinfo else None

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _said(error: Exception) -> str:
    """Without what a client quotes of headers or of the path, which may be credentials."""
    quotes = isinstance(error, ValueError | http.client.InvalidURL)
    return f"{type(error).__name__}: a header or the URL cannot be sent" if quotes else str(error)


def origin(url: str) -> str:
    """Without the path and the query, which may be a credential: what may be logged and shown."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
