"""The pages of a sidecar, asked over HTTP."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable

import pytest

from dosimeter.monitor.health import Health


def answer(health: Health, page: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{health.port}{page}", timeout=5) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.parametrize(
    ("unready", "ready", "other"),
    [
        (lambda: None, (200, "ready\n"), "there are /livez, /readyz and /status\n"),
        (lambda: "no rules", (503, "no rules\n"), "there are /livez, /readyz and /status\n"),
        (None, (404, "there are /livez and /status\n"), "there are /livez and /status\n"),
    ],
)
def test_whoever_waits_is_told_why(
    unready: Callable[[], str | None] | None, ready: tuple[int, str], other: str
) -> None:
    """And nothing claims to be ready where nobody said what that means."""
    health = Health("127.0.0.1", 0, lambda: True, dict, unready)
    try:
        assert answer(health, "/readyz") == ready
        assert answer(health, "/livez") == (200, "ok\n")
        assert answer(health, "/other") == (404, other)
    finally:
        health.close()
