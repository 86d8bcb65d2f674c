"""The pages of a sidecar, asked over HTTP."""

from __future__ import annotations

import socket
import struct
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from dosimeter.monitor.config import Config, HttpConfig
from dosimeter.monitor.health import MOST_AT_ONCE, Health, HealthError
from dosimeter.monitor.sinks.deadline import Deadline
from dosimeter.monitor.status_client import address


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


@pytest.mark.parametrize("host", ["::1", "::"])
def test_it_listens_at_an_address_of_ipv6_as_whoever_asks_believes(host: str) -> None:
    """It said "cannot listen" of each, and to set another port."""
    try:
        socket.create_server((host, 0), family=socket.AF_INET6).close()
    except OSError:  # nobody can here
        with pytest.raises(HealthError):
            Health(host, 0, lambda: True, dict)
        return
    health = Health(host, 0, lambda: True, dict)
    try:
        config = Config(http=HttpConfig(host, health.port))
        with urllib.request.urlopen(f"{address(config, None)}/livez", timeout=5) as reply:
            assert reply.read() == b"ok\n"
    finally:
        health.close()


def test_a_client_that_drips_is_left_when_its_time_is_over() -> None:
    """Each byte came in time for the socket's own time-out, so it kept a thread and a descriptor for ever."""
    health = Health("127.0.0.1", 0, lambda: True, dict, patience_s=0.2)
    patience = Deadline(30.0, time.monotonic)
    try:
        with socket.create_connection(("127.0.0.1", health.port)) as client:
            asked = b"GET /livez HTTP/1.0\r\n" + b"X-Drip: yes\r\n" * 50
            for at in range(len(asked)):
                client.sendall(asked[at : at + 1])
                client.settimeout(min(0.05, patience.left()))
                try:
                    assert client.recv(1) == b""
                    return
                except TimeoutError:
                    continue
                except ConnectionError:  # closed with bytes of ours unread
                    return
        raise AssertionError("all of it was waited for")
    finally:
        health.close()


def test_whoever_holds_connections_keeps_nobody_from_an_answer() -> None:
    """Each had a thread and a descriptor of the line, without a bound; of seven at once one waited for a second."""
    health = Health("127.0.0.1", 0, lambda: True, dict, patience_s=600.0)
    held: list[socket.socket] = []
    try:
        for _ in range(2 * MOST_AT_ONCE):
            held.append(socket.create_connection(("127.0.0.1", health.port), timeout=30))
        assert answer(health, "/livez") == (200, "ok\n")
        assert [one.recv(1) for one in held[:MOST_AT_ONCE]] == [b""] * MOST_AT_ONCE
        held[-1].setblocking(False)
        with pytest.raises(BlockingIOError):
            held[-1].recv(1)
    finally:
        for one in held:
            one.close()
        health.close()


def test_who_hangs_up_before_the_answer_is_no_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    asked, gone = threading.Event(), threading.Event()

    def status() -> dict[str, Any]:
        asked.set()
        gone.wait(30)
        return {"much": "x" * (16 << 20)}

    health = Health("127.0.0.1", 0, lambda: True, status)
    try:
        with socket.create_connection(("127.0.0.1", health.port), timeout=30) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sendall(b"GET /status HTTP/1.0\r\n\r\n")
            assert asked.wait(30)
        gone.set()
        for one in threading.enumerate():
            if "process_request" in one.name:
                one.join(30)
    finally:
        health.close()
    assert capfd.readouterr().err == ""
