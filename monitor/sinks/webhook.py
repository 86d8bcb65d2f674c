"""The webhook sink: one POST an alert, whose body is the exact bytes of the ledger.

Ids, time stamps and signatures are those of Standard Webhooks (standardwebhooks.com), so that receivers have a library
to check them with. It owns the headers and the meaning of replies; the connection is `http`'s.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from dosimeter.monitor.history.records import StoredAlert
from dosimeter.monitor.sinks.config import WebhookConfig
from dosimeter.monitor.sinks.http import REDIRECT, SUCCESS, HttpClient, HttpError
from dosimeter.monitor.sinks.sink import DELIVERED, Outcome, Result, dead, retry

PREFIX = "whsec_"
MAX_SECRETS = 1 << 12
LEAST, MOST = 24, 64
"""Bytes of a secret, as the standard has it."""


class SecretError(RuntimeError):
    """The file of secrets cannot be used."""


class WebhookSink:
    """Delivered means: the receiver answered 2xx."""

    def __init__(self, config: WebhookConfig, *, now_s: Callable[[], float] = time.time) -> None:
        self.name = config.name
        self.config = config
        self._now_s = now_s
        self._client = HttpClient.of(config, config.url)

    def send(self, batch: Sequence[StoredAlert]) -> list[Outcome]:
        """The first that has to wait keeps those behind it in their order, and asks nobody for them."""
        try:
            # For each batch anew, so that a secret can be changed while we run.
            secrets = () if self.config.secret is None else read_secrets(self.config.secret)
        except SecretError as error:
            return [retry(str(error))] * len(batch)
        outcomes: list[Outcome] = []
        for alert in batch:
            outcome = self._send(alert, secrets)
            if outcome.result is Result.RETRY:
                return outcomes + [outcome] * (len(batch) - len(outcomes))
            outcomes.append(outcome)
        return outcomes

    def _send(self, alert: StoredAlert, secrets: Sequence[bytes]) -> Outcome:
        at = str(int(self._now_s()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "dosimeter",
            "webhook-id": alert.event_id,
            "webhook-timestamp": at,
        }
        if secrets:
            signed = f"{alert.event_id}.{at}.".encode() + alert.core
            headers["webhook-signature"] = " ".join(signature(one, signed) for one in secrets)
        try:
            reply = self._client.post(alert.core, headers)
        except HttpError as error:
            return retry(str(error))
        if SUCCESS <= reply.status < REDIRECT:
            return DELIVERED
        where = f"`{self._client.where}` answered {reply.status}"
        if reply.refuses:
            return dead(f"{where}: {self._client.quoted(reply.body)}")
        if reply.status < SUCCESS or reply.status // 100 == REDIRECT // 100:
            where += ", and a redirect is not followed; name the URL itself"
        return retry(where, after_s=reply.retry_after_s)

    def close(self) -> None:
        self._client.close()


def signature(secret: bytes, signed: bytes) -> str:
    digest = hmac.new(secret, signed, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def read_secrets(path: Path) -> tuple[bytes, ...]:
    """One a line, `whsec_…`; of several each signs, so that a receiver can go from one to the next.

    Raises SecretError, which never quotes the file.
    """
    try:
        with path.open("rb") as file:
            lines = file.read(MAX_SECRETS).split()
        found = tuple(_secret(line) for line in lines)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a line with a secret each"
        raise SecretError(f"{path}: {reason}\n  hint: {SECRET_HINT}") from None
    if not found:
        raise SecretError(f"{path}: no secret in it\n  hint: {SECRET_HINT}")
    return found


SECRET_HINT = (
    f"`{PREFIX}` and {LEAST} to {MOST} bytes in base64, such as of `openssl rand -base64 32`"
)


def _secret(line: bytes) -> bytes:
    text = line.decode("ascii")
    if not text.startswith(PREFIX):
        raise ValueError
    found = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    if not LEAST <= len(found) <= MOST:
        raise ValueError
    return found
