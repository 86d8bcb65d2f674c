"""Which servers there are, who may speak for each, and when one is over: the line's door.

An epoch is one server process. It knows nothing of what is said once a speaker has greeted, and of the clock
only what it is told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from dosimeter.monitor.counts import Counts
from dosimeter.monitor.decisions import Decisions
from dosimeter.monitor.history.records import Account
from dosimeter.monitor.mute import Mute
from dosimeter.monitor.receive import Connection, Receiver
from dosimeter.monitor.recorder import Recorder
from dosimeter.monitor.records import Column, Hello
from dosimeter.monitor.servers import Server
from dosimeter.monitor.speakers import may_say
from dosimeter.monitor.taps.wire import Kind, Message, WireError
from dosimeter.rules.program import Program

GONE_NS = 60 * 1_000_000_000
"""A server without any connection for this long is taken for dead, and its requests for over."""
MAX_SERVERS = 128
"""Of them at most as many are connected as there are connections; the longest gone gives way."""


@dataclass
class Roster:
    """servers: by epoch. accounts: totals of earlier ones, by name. end: told of each that is over.

    counts: of the hits of all of them. recorder: keeps what they score, if anything does.
    """

    servers: dict[int, Server]
    accounts: dict[str, Account]
    program: Callable[[tuple[Column, ...]], Program]
    end: Callable[[Server], None]
    decisions: Decisions
    counts: Counts
    recorder: Recorder
    mute: Mute = field(default_factory=Mute)

    def speaking(self, connection: Connection, message: Message) -> tuple[Server, str]:
        """The server that a message is about, and the role it is said in. Raises WireError: not his to say."""
        server, role, what = self.servers.get(message.epoch), connection.role, message.kind
        if server is None or role is None or connection.number not in server.connections:
            raise WireError(f"`{what.name.lower()}` before `hello`")
        if not may_say(role, what):
            raise WireError(f"`{what.name.lower()}` of a front")
        return server, role

    def left(
        self, receiver: Receiver, who: Connection, epoch: int, hello: Hello
    ) -> list[Connection]:
        """Connections of a tap that greets on a new one. Raises WireError: this one may not speak for it."""
        server = self.servers.get(epoch)
        if server is None or hello.role == "front" or who.role is not None:
            return []
        server.speakers.admit(hello.role, who.peer)
        return [c for c in receiver.connections if c.number in server.taps]

    def greet(
        self, receiver: Receiver, who: Connection, epoch: int, hello: Hello, now_ns: int
    ) -> None:
        if who.epoch not in (None, epoch) or who.role not in (None, hello.role):
            raise WireError("a connection speaks for one server, in one role")
        server = self.servers.get(epoch)
        if server is not None:
            server.speakers.admit(hello.role, who.peer)
        program = self.program(hello.columns)
        if server is None:
            self._make_room(receiver)
            stored = self.accounts.get(f"{epoch:016x}")
            server = self.servers[epoch] = Server.begin(
                epoch, hello, program, stored, self.decisions
            )
            server.counts, server.recorder = self.counts, self.recorder
            server.speakers.admit(hello.role, who.peer)
        server.greet(hello, program, connecting=who.role is None)
        server.heard(Kind.HELLO, hello.role, now_ns)
        server.connections.add(who.number)
        if hello.role != "front":
            server.taps.add(who.number)
        who.role, who.epoch = hello.role, epoch

    def tidy(self, receiver: Receiver, now_ns: int, *, reading: bool) -> None:
        """Hang up on those who never greeted, and end servers that have long been gone.

        reading: what they say is read at all; else their greeting may lie there.
        """
        if not reading:
            self.mute = Mute()
        for silent in self.mute.overdue(receiver.connections, now_ns):
            receiver.refuse(silent, WireError("no greeting for 5 s"))
        for server in self._unconnected(receiver):
            if now_ns - server.seen_ns > GONE_NS:
                self._forget(server)

    def _unconnected(self, receiver: Receiver) -> list[Server]:
        """Servers that nobody speaks for now, the longest silent first."""
        while receiver.closed:
            gone = receiver.closed.popleft()
            if gone.epoch in self.servers:
                self.servers[gone.epoch].connections.discard(gone.number)
                self.servers[gone.epoch].taps.discard(gone.number)
        found = [server for server in self.servers.values() if not server.connections]
        return sorted(found, key=lambda server: server.seen_ns)

    def _make_room(self, receiver: Receiver) -> None:
        """For one more server. There are fewer connections than servers may be, so one is gone."""
        if len(self.servers) >= MAX_SERVERS:
            silent = self._unconnected(receiver)
            if not silent:
                raise WireError(f"more than {MAX_SERVERS} servers are connected")
            self._forget(silent[0])

    def _forget(self, server: Server) -> None:
        self.end(server)
        stored = server.stored_account()
        if stored.served or stored.requests:  # else there is nothing to say of it
            self.accounts[server.name] = stored
        del self.servers[server.epoch]
