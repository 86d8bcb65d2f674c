"""Asks a running sidecar how it stands: its `/livez` and `/status`, over HTTP and through no proxy.

Owns the address and what an answer has to be. What the answer means is `status_findings.py`'s, how it is shown
`cli/status_view.py`'s.
"""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from dosimeter.detectors.findings import visible
from dosimeter.monitor.config import Config

TIMEOUT_S = 5.0
LARGEST = 16 << 20
NEEDED = frozenset(
    ("version", "uptime_s", "coverage", "servers", "taps", "alerts", "rules", "ledger", "delivery")
)
ANY_HOST = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class NotAnsweredError(RuntimeError):
    """No status came: nobody listens, or what answers is no sidecar."""


class MigratingError(NotAnsweredError):
    """It lives, and has no status yet: it brings the ledger of an earlier release up to date."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One look. alive: what `/livez` says."""

    url: str
    alive: bool
    body: dict[str, Any]


def address(config: Config, url: str | None) -> str:
    """Without the path. Raises NotAnsweredError where the configuration leaves the port open."""
    if url is not None:
        return url.rstrip("/").removesuffix("/status")
    if config.http.port == 0:
        raise NotAnsweredError(
            "http.port: 0 is any free port, and the sidecar alone knows which\n"
            "  hint: its log names it: `--url http://127.0.0.1:PORT`"
        )
    host = ANY_HOST.get(config.http.host, config.http.host)
    return (
        f"http://[{host}]:{config.http.port}"
        if ":" in host
        else f"http://{host}:{config.http.port}"
    )


def ask(url: str, timeout_s: float = TIMEOUT_S) -> Answer:
    """Raises NotAnsweredError."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        alive = _alive(opener, url, timeout_s)
        with opener.open(f"{url}/status", timeout=timeout_s) as reply:
            body = json.loads(reply.read(LARGEST))
    except urllib.error.HTTPError as error:
        raise _other(url, f"status {error.code}") from error
    except (
        OSError,
        ValueError,
        http.client.HTTPException,
    ) as error:  # ValueError: no JSON, or no URL
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        words = reason.strerror if isinstance(reason, OSError) and reason.strerror else reason
        raise NotAnsweredError(
            f"{url}: no status came: {str(words).lower()}\n"
            "  hint: is `dosimeter sidecar` running with this configuration? "
            "`--url` names another address"
        ) from error
    if isinstance(body, dict) and isinstance(body.get("migrating"), str):
        raise MigratingError(
            f"{url}: it lives, and has no status yet: {visible(body['migrating'])}\n"
            "  hint: wait: a restart would only begin the same again"
        )
    missing = NEEDED.difference(body) if isinstance(body, dict) else NEEDED
    if missing:
        raise _other(url, f"JSON without `{min(missing)}`")
    return Answer(url, alive, body)


def _alive(opener: urllib.request.OpenerDirector, url: str, timeout_s: float) -> bool:
    try:
        with opener.open(f"{url}/livez", timeout=timeout_s):
            return True
    except urllib.error.HTTPError as error:
        if error.code == 503:
            return False
        raise


def _other(url: str, found: str) -> NotAnsweredError:
    return NotAnsweredError(
        f"{url}: what answers is no sidecar: {found}\n  hint: `--url` names another address"
    )
