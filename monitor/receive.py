"""The listening end of the wire: accepts taps and fronts, yields their messages, fairly.

It owns the socket file and the connections, and whom it lets in, as the kernel vouches for them. A speaker that
breaks the protocol loses its connection and is counted; the others notice nothing. Beyond the wire's own check it
never looks into a message.
"""

from __future__ import annotations

import errno
import grp
import logging
import os
import selectors
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dosimeter.detectors.findings import visible
from dosimeter.monitor.config_peers import MAX_ID, PeersConfig
from dosimeter.monitor.refusals import Refusals
from dosimeter.monitor.taps import wire
from dosimeter.monitor.taps.wire import Message, WireError

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 64
MESSAGES_PER_TURN = 8
TURN_NS = 20_000_000
"""Taken from one connection before the next has its turn: so many, or as many as take so long."""
MAX_SAID = 300  # characters of a refusal
MAX_NAMED = 16
"""Users that are refused and logged, each once; of more only the number is known."""
PEER = struct.Struct("iII")  # pid, uid, gid
PATH_LIMIT = 107  # bytes of sun_path


class SocketError(RuntimeError):
    """The socket cannot be opened at its path."""


@dataclass(eq=False, slots=True)
class Connection:
    """One speaker. peer: pid, uid, gid as the kernel vouches for them."""

    number: int
    socket: socket.socket
    peer: tuple[int, int, int]
    role: str | None = None  # as it greeted; None before
    epoch: int | None = None  # of the server it speaks for; None before it greeted
    messages: int = 0
    missed: int = 0  # numbers skipped in its sequence: messages it gave up on
    last_seq: int | None = None


class Receiver:
    """All connections behind one selector. `poll` returns what is there, at most a turn of each."""

    def __init__(
        self,
        path: Path,
        peers: PeersConfig | None = None,
        *,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """peers: who may connect; None: the defaults. Raises SocketError."""
        peers = peers or PeersConfig()
        self.path, self._monotonic_ns = path, monotonic_ns
        self._uids = None if peers.uids is None else {os.geteuid(), *peers.uids}
        self._strangers: set[int] = set()  # that were logged
        self.foreign = 0  # connections of users that may not
        self.connections: list[Connection] = []
        self.hostile = 0  # connections closed because they broke the protocol
        self.failed = 0  # connections closed because we failed on a message: a defect of ours
        self.refused = 0  # connections over MAX_CONNECTIONS
        self.last_refusal: str | None = None
        self._refusals = Refusals(monotonic_ns, "cut off")
        self.closed: deque[Connection] = deque()  # for the pipeline to take note of
        self._numbers = 0
        self._buffer = bytearray(wire.MAX_MESSAGE + 1)
        self._selector = selectors.DefaultSelector()
        self._listener = _listen(path, peers)
        self._selector.register(self._listener, selectors.EVENT_READ)

    def poll(self, timeout_s: float) -> Iterator[tuple[Connection, Message]]:
        """Wait for messages, at most `timeout_s`, and yield a turn of each connection."""
        self._refusals.tell()
        for key, _ in self._selector.select(timeout_s):
            if key.data is None:
                self._accept()
            else:
                yield from self._read(key.data)

    def refuse(self, connection: Connection, error: Exception) -> None:
        """Close a connection whose message made no sense, or broke us, here or further along."""
        because = visible(str(error))[:MAX_SAID]  # it quotes the speaker, and goes to `/status`
        who = f"pid {connection.peer[0]}"
        if isinstance(error, WireError):
            self.hostile += 1
            self._refusals.add(who, because)
        else:
            self.failed += 1
            because = f"{type(error).__name__}: {because}, a defect of the sidecar"
            self._refusals.add(who, because, error)
        self.last_refusal = f"{who}: {because}"
        self._close(connection)

    def rest_of(self, connection: Connection) -> Iterator[Message]:
        """What is unread of a connection that its speaker has left, up to the end.

        Raises WireError if the speaker is still there.
        """
        while connection in self.connections:
            try:
                message = self._next(connection)
            except BlockingIOError:
                raise WireError("another connection speaks for this tap") from None
            if message is not None:
                yield message

    def stop_accepting(self) -> None:
        """No new connection; the socket file goes, so that taps know."""
        if self._listener.fileno() >= 0:
            self._selector.unregister(self._listener)
            self._listener.close()
            self.path.unlink(missing_ok=True)

    def close(self) -> None:
        self.stop_accepting()
        for connection in list(self.connections):
            self._close(connection)
        self._selector.close()

    def _accept(self) -> None:
        for _ in range(MAX_CONNECTIONS):  # the rest in the next turn: those connected come first
            try:
                accepted, _ = self._listener.accept()
            except OSError:  # that was all
                return
            raw = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size)
            peer: tuple[int, int, int] = PEER.unpack(raw)
            if self._uids is not None and peer[1] not in self._uids:
                self._turn_away(accepted, peer)
            elif len(self.connections) < MAX_CONNECTIONS or self._make_room():
                self._welcome(accepted, peer)
            else:
                self.refused += 1
                accepted.close()

    def _turn_away(self, accepted: socket.socket, peer: tuple[int, int, int]) -> None:
        accepted.close()
        self.foreign += 1
        pid, uid, _ = peer
        self.last_refusal = f"pid {pid}: user {uid} is none of `peers.uids`"
        if uid not in self._strangers and len(self._strangers) < MAX_NAMED:
            self._strangers.add(uid)
            log.warning("connection refused, and from now on without a word: %s", self.last_refusal)

    def _make_room(self) -> bool:
        """Close the longest silent of those that never greeted; False where all have."""
        silent = next((one for one in self.connections if one.role is None), None)
        if silent is not None:
            self.refused += 1
            self._close(silent)
        return silent is not None

    def _welcome(self, accepted: socket.socket, peer: tuple[int, int, int]) -> None:
        accepted.setblocking(False)
        self._numbers += 1
        connection = Connection(self._numbers, accepted, peer)
        self.connections.append(connection)
        self._selector.register(accepted, selectors.EVENT_READ, connection)

    def _read(self, connection: Connection) -> Iterator[tuple[Connection, Message]]:
        until = self._monotonic_ns() + TURN_NS
        for _ in range(MESSAGES_PER_TURN):
            try:
                message = self._next(connection)
            except BlockingIOError:
                return
            if message is not None:
                yield connection, message
            # What the line did about it is in the time, and so is a refusal.
            if connection not in self.connections or self._monotonic_ns() > until:
                return

    def _next(self, connection: Connection) -> Message | None:
        """The next message; None if the connection is over. Raises BlockingIOError: there is none now."""
        try:
            message = self._receive(connection)
        except BlockingIOError:
            raise
        except Exception as error:
            self.refuse(connection, error)
            return None
        if message is None:
            self._close(connection)
        return message

    def _receive(self, connection: Connection) -> Message | None:
        """None at the end. Raises WireError: it is no message."""
        try:
            size = connection.socket.recv_into(self._buffer)
        except BlockingIOError:
            raise
        except OSError:
            return None
        if not size:
            return None
        if size > wire.MAX_MESSAGE:
            raise WireError(f"message is larger than {wire.MAX_MESSAGE} bytes")
        message = wire.unpack(bytes(memoryview(self._buffer)[:size]))
        connection.messages += 1
        if connection.last_seq is not None:
            connection.missed += max(0, message.seq - connection.last_seq - 1)
        connection.last_seq = message.seq
        return message

    def _close(self, connection: Connection) -> None:
        if connection in self.connections:
            self._selector.unregister(connection.socket)
            connection.socket.close()
            self.connections.remove(connection)
            self.closed.append(connection)


def _listen(path: Path, peers: PeersConfig) -> socket.socket:
    """Bind, taking the place of a socket file that nobody answers at. Raises SocketError."""
    if len(str(path).encode()) > PATH_LIMIT:
        raise SocketError(
            f"{path}: a socket path has at most {PATH_LIMIT} bytes\n"
            "  hint: set a shorter `socket`, such as /run/dosimeter/tap.sock"
        )
    gid = -1 if peers.group is None else _group(peers.group)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_socket():
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
            probe.setblocking(False)
            reached = probe.connect_ex(str(path))
        if reached not in (errno.ECONNREFUSED, errno.ENOENT):
            raise SocketError(
                f"{path}: another sidecar answers here\n  hint: stop it, or set another `data-dir`"
            )
        path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        listener.bind(str(path))
        # Until it listens nobody can connect, so nobody comes in under another mode or group.
        os.chown(path, -1, gid)
        path.chmod(peers.mode)
        listener.listen(MAX_CONNECTIONS)
        listener.setblocking(False)
    except PermissionError as error:
        listener.close()
        path.unlink(missing_ok=True)
        hint = "may our user write the folder, and is it in the group that `peers.group` names?"
        raise SocketError(f"{path}: cannot listen: {error.strerror}\n  hint: {hint}") from error
    except OSError as error:
        listener.close()
        raise SocketError(f"{path}: cannot listen: {error.strerror}") from error
    return listener


def _group(name: str) -> int:
    """Raises SocketError."""
    if name.isascii() and name.isdigit() and len(name) <= len(str(MAX_ID)) and int(name) <= MAX_ID:
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        hint = "a group of this machine (in a container: of its image), or a number"
        raise SocketError(f"no group `{visible(name)}` here\n  hint: {hint}") from None
