"""The line with an honest server on it: what stands around an attack, and what must still hold after it.

It owns the stand-ins for socket and ledger, the honest server's messages and the checks; what an attacker
says is another's subject.
"""

from __future__ import annotations

import functools
import json
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.frames import ROWS
from dosimeter.monitor.history.records import LedgerRecord
from dosimeter.monitor.latency import Latency
from dosimeter.monitor.pipeline import Pipeline
from dosimeter.monitor.receive import Connection
from dosimeter.monitor.rulebook import Rulebook
from dosimeter.monitor.taps import wire
from dosimeter.monitor.taps.wire import COUNTERS, Kind, Message, WireError
from targets.folders import folder
from targets.source import Source

PACK = "ab" * 32
COLUMN = {"feature": "deception", "pack": PACK, "packName": "test"}
RULES = """\
version: 1
rules:
  - rule: rising
    when: {feature: deception, in: answer, above: z 2, average: 4 tokens}
    status: live
    severity: high
    owner: us
    summary: "{tenant} {model}"
  - rule: whole
    when: {feature: deception, in: message, above: z 1, average: message}
    status: shadow
    severity: low
    summary: "whole"
"""
HONEST, HONEST_UID, HOSTILE_UID = 77, 1000, 1001
COUNTERS_0 = dict.fromkeys(COUNTERS.names or (), 0)
HELLO = {"role": "tap", "state": "live", "model": {"name": "m"}, "columns": [COLUMN]}
INT64 = range(-(1 << 63), 1 << 63)


@functools.cache
def rulebook() -> Rulebook:
    where = folder("line")
    (where / "rules.yaml").write_text(RULES)
    Calibration(
        features=("deception",),
        packs=(PACK,),
        codes=np.random.default_rng(1).normal(0, 256, (2000, 1)).astype(np.int16),
        offsets=np.arange(21, dtype=np.int64) * 100,
        scopes=np.full(2000, 3, np.uint8),
        corpus="noise",
        date="2026-01-01",
    ).save(where / "calibration")
    found = Rulebook((where / "rules.yaml",), (where / "calibration",))
    assert found.error is None
    return found


class Given:
    """A receiver whose messages are given to it; what the receiver does about them is the same."""

    path = folder("line")
    hostile = failed = refused = foreign = 0
    last_refusal: str | None = None

    def __init__(self) -> None:
        self.connections: list[Connection] = []
        self.closed: deque[Connection] = deque()
        self.queue: deque[tuple[Connection, Message]] = deque()

    def poll(self, _: float) -> list[tuple[Connection, Message]]:
        taken, self.queue = list(self.queue), deque()
        return taken

    def refuse(self, connection: Connection, error: Exception) -> None:
        if not isinstance(error, WireError):
            raise error
        self.hostile += 1
        self.last_refusal = str(error)
        if connection in self.connections:
            self.connections.remove(connection)
            self.closed.append(connection)


class Kept:
    """A writer that keeps what it was given."""

    room, waiting, committed, refused, stalled = True, 0, 0, 0, None
    refused_path = folder("line")

    def __init__(self) -> None:
        self.records: list[LedgerRecord] = []
        self.durable = Latency()

    def put(
        self,
        records: Sequence[tuple[LedgerRecord, int]] = (),
        *,
        defects: Sequence[object] = (),
        **_: object,
    ) -> None:
        assert not defects, defects
        self.records += [record for record, _ in records]


class Scene:
    """The line with an honest server on it, and up to three connections of an attacker."""

    tick_ns = 600_000_000  # so that every turn keeps house

    def __init__(self) -> None:
        self.given, self.kept, self.now = Given(), Kept(), 1_000_000_000
        self.line = Pipeline(
            cast(Any, self.given),
            rulebook(),
            cast(Any, self.kept),
            monotonic_ns=lambda: self.now,
            time_ns=lambda: 1_700_000_000_000_000_000 + self.now,
        )
        self.numbers = 0
        self.honest = self.connect(HONEST_UID, 1)
        self.attackers: list[Connection | None] = [None, None, None]
        self.follow: Counter[tuple[int, int]] = Counter()  # (attacker, key) -> next position
        self.script = deque(honest_messages())
        self.say_honest()

    def connect(self, uid: int, pid: int = 0) -> Connection:
        self.numbers += 1
        connection = Connection(self.numbers, cast(Any, None), (pid, uid, uid))
        self.given.connections.append(connection)
        return connection

    def say_honest(self) -> None:
        if self.script:
            self.tell(self.honest, self.script.popleft())

    def attacker(self, which: int, source: Source) -> Connection:
        """Connected, and mostly greeted as a right server would, so that what follows gets further."""
        connection = self.attackers[which]
        if connection is None or connection not in self.given.connections:
            connection = self.attackers[which] = self.connect(HOSTILE_UID, 50 + which)
            if source.below(8) < 7:
                self.tell(connection, control(Kind.HELLO, which + 1, HELLO, COUNTERS_0))
        return connection

    def hang_up(self, which: int) -> None:
        connection = self.attackers[which]
        if connection in self.given.connections:
            self.given.connections.remove(connection)
            self.given.closed.append(connection)

    def tell(self, connection: Connection, data: bytes) -> None:
        """One message, as the receiver would read it; a connection that was refused is not read."""
        if connection not in self.given.connections:
            return
        self.now += self.tick_ns
        try:
            message = wire.unpack(data)
        except WireError as error:
            self.given.refuse(connection, error)
            return
        self.given.queue.append((connection, message))
        self.line.turn(0)


def honest_messages() -> list[bytes]:
    """One request of 3 + 7 tokens, with one alert in its answer: worked out by hand in `check`."""
    counters = COUNTERS_0
    after = counters | {"rows_emitted": 10, "served_closed": 10, "requests_closed": 1}
    opened = {"key": 1, "prompt_len": 3, "labels": {"tenant": "acme"}, "trusted": ["tenant"]}
    closed = {
        "key": 1,
        "outcome": "finished",
        "served": 10,
        "emitted": 10,
        "served_source": "usage",
    }
    return [
        control(Kind.HELLO, HONEST, HELLO, counters),
        control(Kind.OPEN, HONEST, opened, counters),
        step(HONEST, [(1, 0, 5, 0, 0)], [[0]] * 5, counters),
        step(HONEST, [(1, 5, 5, 0, 0)], [[5 * 256]] * 4 + [[0]], counters),
        control(Kind.CLOSE, HONEST, closed, counters),
        control(Kind.BEAT, HONEST, None, after),
    ]


def control(kind: Kind, epoch: int, body: object, counters: Mapping[str, int]) -> bytes:
    raw = b"" if body is None else json.dumps(body).encode()
    return wire.control_message(kind, epoch & (1 << 64) - 1, 0, list(counters.values()), raw)


def step(
    epoch: int, rows: Sequence[Any], codes: Sequence[Any], counters: Mapping[str, int]
) -> bytes:
    table = np.array(rows, ROWS)
    array = np.asarray(codes, "<i2")
    prefix = wire.step_prefix(epoch, 0, list(counters.values()), table, array)
    return prefix + table.tobytes() + array.tobytes()


def check_bounds(scene: Scene) -> None:
    for server in scene.line.servers.values():
        stored, join = server.stored_account(), server.join
        named = [*stored.unscored.values(), *stored.served_by.values()]
        assert all(n in INT64 for n in (stored.served, stored.scored, stored.unaccounted, *named))
        assert min([stored.served, stored.scored, join.account.after_end, *named]) >= 0
        assert stored.served == stored.scored + sum(stored.unscored.values()) + stored.unaccounted
        assert sum(stored.served_by.values()) == stored.served
        assert server.engine.open_requests == len(join.live)
        assert set(server.following) <= set(join.live)


def check_honest(scene: Scene) -> None:
    """Ten tokens served, ten scored; means of four: (0 0 0 5), (0 0 5 5): the first above 2 sd."""
    assert scene.honest in scene.given.connections
    server = scene.line.servers[HONEST]
    stored = server.stored_account()
    assert (stored.served, stored.scored, stored.unaccounted, stored.closed) == (10, 10, 0, 1)
    assert stored.served_by == {"usage": 10}
    cores = [json.loads(record.core) for record in scene.kept.records]
    (mine,) = [core for core in cores if core["epoch"] == f"{HONEST:016x}"]
    assert (mine["rule"], mine["start"], mine["end"], mine["position"]) == ("rising", 3, 7, 6)
    assert (mine["labels"], mine["trusted"], mine["summary"]) == (
        {"tenant": "acme"},
        ["tenant"],
        "acme m",
    )
