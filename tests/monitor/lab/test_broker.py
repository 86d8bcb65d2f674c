"""The embedded broker: it is what was pinned, and it leaves nothing behind."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from dosimeter.monitor.lab import broker as module
from dosimeter.monitor.lab.broker import BrokerError, EmbeddedBroker, broker_binary


def test_a_binary_that_is_not_the_pinned_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHA256", dict.fromkeys(module.SHA256, "0" * 64))
    with pytest.raises(BrokerError, match="is not the pinned `0000"):
        broker_binary()


def test_a_machine_without_a_binary_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.platform, "machine", lambda: "s390x")
    with pytest.raises(BrokerError, match="no embedded broker for `s390x`"):
        broker_binary()


@pytest.mark.parts
def test_started_it_accepts_and_stopped_it_is_gone() -> None:
    broker = EmbeddedBroker()
    with broker:
        pid = broker.pid
        socket.create_connection(("127.0.0.1", broker.port), 1).close()
        with pytest.raises(BrokerError, match="runs already"):
            broker.start()
    assert not Path(f"/proc/{pid}").exists()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", broker.port), 1)
    broker.stop()  # again: nothing to do


@pytest.mark.parts
def test_a_taken_port_is_an_error_and_not_a_wait() -> None:
    """Whoever listens there already would look as if the broker were ready."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(BrokerError, match="is taken"):
            EmbeddedBroker(port=taken.getsockname()[1]).start()
