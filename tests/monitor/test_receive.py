"""Receiver: who listens where, how fair it is, and what a broken speaker costs."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from dosimeter.monitor.config_peers import PeersConfig
from dosimeter.monitor.receive import (
    MAX_CONNECTIONS,
    MESSAGES_PER_TURN,
    TURN_NS,
    Receiver,
    SocketError,
)
from dosimeter.monitor.taps import wire
from dosimeter.monitor.taps.wire import Kind


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    one = Receiver(tmp_path / "tap.sock")
    yield one
    one.close()


def speaker(receiver: Receiver) -> socket.socket:
    one = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    one.connect(str(receiver.path))
    list(receiver.poll(0))
    return one


def beat(seq: int) -> bytes:
    return wire.control_message(Kind.BEAT, 1, seq, [0] * 9)


def test_the_socket_is_for_owner_and_group(receiver: Receiver) -> None:
    assert stat.S_IMODE(receiver.path.stat().st_mode) == 0o660


def test_the_kernel_says_who_speaks(receiver: Receiver) -> None:
    with speaker(receiver):
        assert receiver.connections[0].peer == (os.getpid(), os.getuid(), os.getgid())


def test_a_socket_file_that_nobody_answers_at_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "tap.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as dead:
        dead.bind(str(path))
    Receiver(path).close()
    assert not path.exists()


def test_a_second_sidecar_on_the_same_socket_is_refused(receiver: Receiver) -> None:
    with pytest.raises(SocketError, match="another sidecar answers here"):
        Receiver(receiver.path)
    with speaker(receiver) as one:
        one.send(beat(1))
        assert len(list(receiver.poll(0))) == 1


def test_a_path_too_long_for_a_socket_says_so(tmp_path: Path) -> None:
    with pytest.raises(SocketError, match="at most 107 bytes"):
        Receiver(tmp_path / ("x" * 120) / "tap.sock")


def test_one_that_says_much_does_not_keep_the_others_from_being_heard(receiver: Receiver) -> None:
    with speaker(receiver) as loud, speaker(receiver) as quiet:
        loud.setblocking(False)
        for seq in range(10):
            loud.send(beat(seq))
        quiet.send(beat(0))
        turn = [connection.number for connection, _ in receiver.poll(0)]
        assert sorted(turn) == [1] * MESSAGES_PER_TURN + [2]


def test_one_whose_messages_take_long_does_not_keep_the_others_waiting(tmp_path: Path) -> None:
    """128 KiB can be made to cost the line half a second; eight in a row would be taken for its death."""
    clock = iter(range(0, 1 << 62, TURN_NS // 3))
    receiver = Receiver(tmp_path / "tap.sock", monotonic_ns=lambda: next(clock))
    with speaker(receiver) as slow, speaker(receiver) as other:
        for seq in range(8):
            slow.send(beat(seq))
        other.send(beat(0))
        turn = [connection.number for connection, _ in receiver.poll(0)]
        assert sorted(turn) == [1] * 4 + [2]  # a third of its time each: the fourth is past it
    receiver.close()


def test_skipped_numbers_are_counted(receiver: Receiver) -> None:
    with speaker(receiver) as one:
        for seq in (3, 4, 9):
            one.send(beat(seq))
        list(receiver.poll(0))
        assert receiver.connections[0].missed == 4


@pytest.mark.parametrize("message", [b"GET / HTTP/1.1\r\n", b"\0" * (wire.MAX_MESSAGE + 1)])
def test_what_is_not_the_wire_ends_its_connection_and_no_other(
    receiver: Receiver, message: bytes
) -> None:
    with speaker(receiver) as bad, speaker(receiver) as good:
        bad.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        bad.send(message)
        good.send(beat(1))
        assert [connection.number for connection, _ in receiver.poll(0)] == [2]
        assert receiver.hostile == 1
        assert [connection.number for connection in receiver.connections] == [2]


def test_after_stopping_nobody_can_connect_and_who_is_there_is_still_heard(
    receiver: Receiver,
) -> None:
    with speaker(receiver) as one:
        receiver.stop_accepting()
        assert not receiver.path.exists()
        one.send(beat(1))
        assert len(list(receiver.poll(0))) == 1


def test_what_a_refusal_quotes_is_harmless_and_short(receiver: Receiver) -> None:
    """It goes to the log and to `/status`: a name of 128 KiB with escape codes in it once did so whole."""
    with speaker(receiver):
        receiver.refuse(receiver.connections[0], wire.WireError("\x1b[2J\n" * 10_000))
    said = str(receiver.last_refusal)
    assert said.isprintable()
    assert len(said) < 400


@pytest.mark.parametrize("error", [wire.WireError("no magic"), KeyError("ours")], ids=repr)
def test_a_speaker_that_comes_back_broken_again_and_again_fills_no_log(
    tmp_path: Path, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    at = [0]
    receiver = Receiver(tmp_path / "tap.sock", monotonic_ns=lambda: at[0])
    for _ in range(50):
        with speaker(receiver):
            list(receiver.poll(0))
            receiver.refuse(receiver.connections[0], error)
    at[0] += 61 * 10**9
    list(receiver.poll(0))
    receiver.close()
    assert receiver.hostile + receiver.failed == 50
    first, more = caplog.messages
    assert first.startswith("pid ")
    assert " is cut off: " in first
    assert more.startswith("49 more are cut off, the latest pid ")


def test_connections_that_never_greet_give_way_to_new_ones(receiver: Receiver) -> None:
    """Sixty-four silent connections would otherwise keep every server out for ever."""
    silent = [speaker(receiver) for _ in range(MAX_CONNECTIONS)]
    receiver.connections[0].role = "tap"
    with speaker(receiver) as late:
        late.send(beat(1))
        assert [c.number for c, _ in receiver.poll(0)] == [MAX_CONNECTIONS + 1]
    assert len(receiver.connections) == MAX_CONNECTIONS
    assert [c.number for c in receiver.connections][:2] == [1, 3]  # the one that greeted stays
    assert receiver.refused == 1
    for one in silent:
        one.close()


def test_where_all_have_greeted_one_more_is_refused(receiver: Receiver) -> None:
    known = [speaker(receiver) for _ in range(MAX_CONNECTIONS)]
    for connection in receiver.connections:
        connection.role = "tap"
    with speaker(receiver):
        assert len(receiver.connections) == MAX_CONNECTIONS
        assert receiver.refused == 1
    for one in known:
        one.close()


def test_mode_and_group_of_the_socket_are_as_configured(tmp_path: Path) -> None:
    peers = PeersConfig(mode=0o600, group=str(os.getegid()))
    Receiver(tmp_path / "a.sock", peers).close()
    receiver = Receiver(tmp_path / "b.sock", peers)
    found = receiver.path.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_gid) == (0o600, os.getegid())
    receiver.close()


def test_a_group_that_is_not_there_is_an_error_that_names_it_and_leaves_no_socket(
    tmp_path: Path,
) -> None:
    path = tmp_path / "tap.sock"
    with pytest.raises(SocketError, match=r"no group `nobody-has-this` here\n  hint: "):
        Receiver(path, PeersConfig(group="nobody-has-this"))
    assert not path.exists()


@pytest.mark.parametrize("group", ["4294967295", "99999999999"])
def test_a_number_that_is_no_group_is_no_group(tmp_path: Path, group: str) -> None:
    """The first of them means to the system: leave the group as it is."""
    with pytest.raises(SocketError, match=f"no group `{group}` here"):
        Receiver(tmp_path / "tap.sock", PeersConfig(group=group))


def test_only_users_that_are_named_and_our_own_are_let_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The kernel says who comes; here it is who we are that is changed, which needs no rights."""
    mine = os.geteuid()
    for uids, own, heard in (((), mine, 1), ((mine,), mine + 1, 1), ((mine + 2,), mine + 1, 0)):
        monkeypatch.setattr(os, "geteuid", lambda own=own: own)
        receiver = Receiver(tmp_path / "tap.sock", PeersConfig(uids=uids))
        with speaker(receiver), speaker(receiver):
            assert len(receiver.connections) == 2 * heard
            assert receiver.foreign == 2 * (1 - heard)
        receiver.close()
    assert receiver.last_refusal == f"pid {os.getpid()}: user {mine} is none of `peers.uids`"
    assert caplog.text.count("is none of `peers.uids`") == 1


def test_one_that_is_turned_away_hears_the_end_and_takes_no_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    receiver = Receiver(tmp_path / "tap.sock", PeersConfig(uids=()))
    strangers = [speaker(receiver) for _ in range(MAX_CONNECTIONS + 1)]
    assert {one.recv(1) for one in strangers} == {b""}
    assert (receiver.connections, receiver.refused) == ([], 0)
    for one in strangers:
        one.close()
    receiver.close()
