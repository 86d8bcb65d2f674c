"""The asker's side alone: root is not led astray by whoever owns the folder, and a signal ends what hangs."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosimeter.detectors.findings import InputError
from dosimeter.monitor.capture import asking
from dosimeter.monitor.capture.asking import Came, NotTaken, listening, take, tap_of
from dosimeter.monitor.taps.capture_wire import (
    CaptureError,
    Kind,
    Order,
    message,
    read,
    rows_messages,
)
from tests.monitor.capture.test_heard import REQUEST

HOUR = Order("ab" * 16, "INC-441", (1,), 3600, 1_000_000, 1 << 30, 100)
ABOUT = {
    "epoch": "0" * 16, "model": {"digest": "d"}, "width": 4, "blocks": 3, "by_uid": 0, "since_ns": 1, "until_ns": 2,
}  # fmt: skip
HELLO = message(Kind.HELLO, {**HOUR.as_json(), **ABOUT})
DONE = message(Kind.DONE, {"why": "its time is up", "lost": {"slow_reader": 2}})
ROWS = b"".join(rows_messages(7, 0, np.ones((2, 4), np.float32)))


class Nothing:
    """Takes what comes; why: it ended."""

    why = ""

    def rows(self, key: int, start: int, values: Any) -> None: ...

    def request(self, record: Mapping[str, Any]) -> None: ...

    def close(self, why: str, counts: Mapping[str, Any]) -> None:
        self.why = why


def test_root_gives_away_the_socket_and_not_what_a_link_in_its_place_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever owns the folder, as the server's user does, could have had any file of the machine given to them."""
    at, given = tmp_path / "c.sock", []

    class Exchanged(socket.socket):
        def bind(self, address: Any) -> None:
            super().bind(address)
            at.unlink()
            at.symlink_to("/etc/passwd")

    def chown(path: Any, *_: Any, follow_symlinks: bool = True) -> None:
        given.append(os.path.realpath(path) if follow_symlinks else os.fspath(path))

    monkeypatch.setattr(socket, "socket", Exchanged)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", chown)
    with listening(at):
        pass
    assert given == [str(at)]


def test_who_has_had_enough_is_let_go_by_a_tap_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C on a capture of a day had waited out the day where the server stood still."""
    monkeypatch.setattr(asking, "LATE_S", 0.3)
    clock = iter(range(0, 10_000, 1))
    monkeypatch.setattr(asking.time, "monotonic", lambda: 0.1 * next(clock))
    monkeypatch.setattr(asking, "TURN_S", 0.001)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        theirs.sendall(HELLO)
        into = Nothing()
        came = take(ours, HOUR, lambda about: into, lambda: True)
        assert [(read(theirs) or [None])[0] for _ in range(2)] == [Kind.ORDER, Kind.STOP]
        assert next(clock) < 100
    assert not came.done
    assert came.why == into.why == "the tap did not end in time, and was left"


def test_another_users_process_that_comes_is_told_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes first is asked; what was asked, and what comes of it, is not for any of them."""
    monkeypatch.setattr(asking, "peer_uid", lambda _: tmp_path.stat().st_uid + 1)
    monkeypatch.setattr(asking, "FOUND_S", 0.2)
    at = tmp_path / "c.sock"
    with listening(at) as listener, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.connect(str(at))
        with pytest.raises(NotTaken, match="no tap came"):
            tap_of(listener, at, lambda: False)
        assert other.recv(1) == b""


def test_nobody_but_root_asks_in_a_folder_that_others_may_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid or 1)
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(InputError, match="others may write"), listening(tmp_path / "open" / "c"):
        pass
    assert not list((tmp_path / "open").iterdir())


def test_of_two_who_ask_at_one_place_the_first_is_left_alone(tmp_path: Path) -> None:
    at = tmp_path / "c.sock"
    with listening(at) as listener:
        with pytest.raises(InputError, match="another capture"), listening(at):
            pass
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as tap:
            tap.connect(str(at))
            listener.accept()[0].close()
    assert not at.exists()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
        left.bind(str(at))  # by one that was killed
    with listening(at):
        assert at.is_socket()


def test_a_tap_that_ends_as_it_is_asked_to_is_heard_to_its_last_word() -> None:
    """It has closed before our word could reach it: what it said before is whole, and there to be read."""
    ours, its = socket.socketpair()
    got = Nothing()
    with ours, its:
        its.sendall(HELLO + DONE)

        def opened(_: Mapping[str, Any]) -> Nothing:
            its.recv(1 << 16)  # the order
            its.close()
            return got

        came = take(ours, HOUR, opened, lambda: True)
    assert (came.done, came.why, got.why) == (True, "its time is up", "its time is up")


def told(*said: bytes, order: Order = HOUR) -> tuple[Came, Nothing]:
    """What the asker makes of these bytes of a tap that then goes."""
    ours, its = socket.socketpair()
    into = Nothing()
    with ours, its:
        its.sendall(b"".join(said))
        its.shutdown(socket.SHUT_WR)
        return take(ours, order, lambda _: into, lambda: False), into


def test_what_is_known_of_server_and_model_is_given_and_no_field_that_nobody_asked_for() -> None:
    ours, its = socket.socketpair()
    opened: list[Mapping[str, Any]] = []

    def to(about: Mapping[str, Any]) -> Nothing:
        opened.append(about)
        return Nothing()

    with ours, its:
        its.sendall(message(Kind.HELLO, {**ABOUT, "v": 9, "shards": [1], "id": "x"}) + DONE)
        came = take(ours, HOUR, to, lambda: False)
    assert opened == [ABOUT]
    assert came.as_json()["lost"] == {"slow_reader": 2}


@pytest.mark.parametrize(
    "order", [replace(HOUR, max_bytes=4 * 4 * 3), replace(HOUR, max_requests=1)], ids=["bytes", "requests"]
)  # fmt: skip
def test_more_than_was_asked_for_is_not_taken(order: Order) -> None:
    """Root asks in the place of another user, whose process could have filled the disk for a day."""
    said = [HELLO, ROWS, ROWS, *[message(Kind.REQUEST, REQUEST)] * 2, DONE]
    with pytest.raises(CaptureError, match="more came than was asked for"):
        told(*said, order=order)
    came, _ = told(*said)
    assert (came.rows, came.bytes, came.requests) == (4, 64, 2)


@given(st.binary(max_size=80))
def test_any_bytes_of_a_tap_are_refused_in_words(data: bytes) -> None:
    for said in ([data], [HELLO, data], [HELLO, ROWS, data]):
        with contextlib.suppress(CaptureError, NotTaken):
            _, into = told(*said)
            assert into.why
