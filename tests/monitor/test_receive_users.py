"""Receiver: real processes of other users. Only root can start these; elsewhere this is listed as not shown."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dosimeter.monitor.config_peers import PeersConfig
from dosimeter.monitor.receive import Receiver

KNOWN, OTHER = 64_001, 64_002


@contextmanager
def connecting_as(uid: int, path: Path) -> Iterator[int]:
    """A process of this user, while it is connected; it ends well if what it hears is the end."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as one:
                one.settimeout(30.0)
                one.connect(str(path))
                status = len(one.recv(1))
        except PermissionError:
            status = 13
        finally:
            os._exit(status)
    try:
        yield pid
    finally:
        _, ended = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(ended) == 0


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that every user reaches, which a test's own is not."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o711)
        yield Path(made)


def test_another_user_of_the_machine_is_turned_away_even_where_the_mode_lets_everybody_in(
    folder: Path,
) -> None:
    receiver = Receiver(folder / "tap.sock", PeersConfig(mode=0o666, uids=(KNOWN,)))
    with connecting_as(OTHER, receiver.path) as pid:
        list(receiver.poll(30.0))
        assert (receiver.connections, receiver.foreign) == ([], 1)
    assert receiver.last_refusal == f"pid {pid}: user {OTHER} is none of `peers.uids`"
    with connecting_as(KNOWN, receiver.path) as pid:
        list(receiver.poll(30.0))
        assert [one.peer for one in receiver.connections] == [(pid, KNOWN, KNOWN)]
        receiver.close()


def test_the_group_of_the_socket_lets_its_members_in_and_nobody_else(folder: Path) -> None:
    receiver = Receiver(folder / "tap.sock", PeersConfig(group=str(KNOWN)))
    with connecting_as(KNOWN, receiver.path):
        list(receiver.poll(30.0))
        assert len(receiver.connections) == 1
        with pytest.raises(AssertionError, match="13"), connecting_as(OTHER, receiver.path):
            pass
        receiver.close()
