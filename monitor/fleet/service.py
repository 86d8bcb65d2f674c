"""The process that counts for a fleet: both stages, each in a thread, over one ledger of its own.

Several run side by side as members of one group; any of them may be killed. What it decides is delivered and kept like
what a sidecar decides, by the processes that read its ledger. Brokers that are away are waited for.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from dosimeter.monitor.chores import Chores
from dosimeter.monitor.config import Config
from dosimeter.monitor.config_fleet import FleetConfig
from dosimeter.monitor.fleet.counter import FleetCounter, Rules
from dosimeter.monitor.fleet.member import Connect, FleetAway, Member, build_member
from dosimeter.monitor.fleet.metrics import record_member
from dosimeter.monitor.fleet.router import Router
from dosimeter.monitor.health import Health, HealthError
from dosimeter.monitor.history.counted import Counted
from dosimeter.monitor.history.ledger import Ledger, LedgerError, LedgerStalled
from dosimeter.monitor.history.lock import AlreadyWriting
from dosimeter.monitor.lane import Backoff
from dosimeter.monitor.log_counts import LineCounts, count_lines
from dosimeter.monitor.migrating import migrating
from dosimeter.monitor.observe import EVERY_S
from dosimeter.monitor.rulebook import Rulebook
from dosimeter.monitor.service import line_chores, sinks_status
from dosimeter.monitor.sinks.config import OtlpConfig
from dosimeter.monitor.supervising import ENVIRONMENT
from dosimeter.rules.language.counting import Count
from dosimeter.rules.language.second import running

log = logging.getLogger(__name__)

POLL_S = 0.2
STUCK_S = 60.0
"""A stage that has not turned for so long is stuck: longer than any of its waits."""


class Stage(Protocol):
    def step(self, timeout_s: float) -> int: ...
    def close(self) -> None: ...


class Turning:
    """One stage's thread: it steps until `stop`, and waits where it cannot. error: why it waits."""

    def __init__(self, name: str, stage: Stage, stop: threading.Event) -> None:
        self.error: str | None = None
        self.turned = time.monotonic()
        self._name, self._stage, self._stop = name, stage, stop
        self._thread = threading.Thread(target=self._run, name=f"fleet-{name}", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and time.monotonic() - self.turned < STUCK_S

    @property
    def trouble(self) -> str | None:
        """Why it waits, or that it does not turn."""
        if self.error is not None or self.alive or self._stop.is_set():
            return self.error
        return f"it has not turned for {STUCK_S:.0f} s and more: see its log"

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    def _run(self) -> None:
        backoff = Backoff(0.2, 5.0)
        while not self._stop.is_set():
            self.turned = time.monotonic()
            try:
                self._stage.step(POLL_S)
            except (FleetAway, LedgerStalled, LedgerError) as error:
                self._wait(str(error), backoff)
            except Exception as error:  # a defect of ours: the same comes again
                log.exception("fleet, %s", self._name)
                self._wait(repr(error), backoff)
            else:
                backoff.reset()
                self.error = None
        self._stage.close()

    def _wait(self, error: str, backoff: Backoff) -> None:
        if error != self.error:
            log.warning("fleet, %s: %s", self._name, error)
        self.error = error
        self._stop.wait(backoff.next_s())


def run_fleet(
    config: Config,
    stop: threading.Event,
    ready: Callable[[int], None] = lambda port: None,
    *,
    connect: Connect = build_member,
) -> int:
    """Count until `stop` is set; an exit code. ready: is told the port of the status."""
    fleet = config.fleet or FleetConfig()
    lines = count_lines("fleet")
    ledger: Ledger | None = None
    try:
        with migrating(config.ledger_path, config.http.host, config.http.port):
            ledger = Ledger(config.ledger_path, quota=config.ledger.quota)
        rulebook = Rulebook(config.rules, config.calibrations)
        chores, counted = line_chores(config, ledger, rulebook), Counted()
        router, counter = _stages(fleet, ledger, rulebook, connect)
        turning: dict[str, Turning] = {}

        def read() -> dict[str, Any]:
            return {
                "rules": {"digest": rulebook.digest, "error": rulebook.error},
                "routing": router.told | {"error": turning["routing"].trouble},
                "counting": counter.told | {"error": turning["counting"].trouble},
                "ledger": chores.kept.as_dict(),
                "delivery": sinks_status(config, counted),
            }

        def alive() -> bool:
            return all(one.alive for one in turning.values())

        health = Health(config.http.host, config.http.port, alive, read)
    except (HealthError, AlreadyWriting, LedgerError, LedgerStalled, OSError) as error:
        print(f"dosimeter fleet: {error}", file=sys.stderr)
        if ledger is not None:
            ledger.close()
        return ENVIRONMENT
    rulebook.start()
    turning["routing"] = Turning("routing", router, stop)
    turning["counting"] = Turning("counting", _WithChores(counter, chores), stop)
    ready(health.port)
    log.info("counting for the fleet, status at port %d", health.port)
    _observe(config.telemetry, fleet.group, read, stop, lines)
    for one in turning.values():
        one.join(10.0)
    rulebook.stop()
    health.close()
    ledger.close()
    return 0


def _observe(
    to: OtlpConfig | None,
    group: str,
    read: Callable[[], dict[str, Any]],
    stop: threading.Event,
    lines: LineCounts,
) -> None:
    """Metrics until `stop` is set; where none are asked for, only that."""
    if to is None:
        stop.wait()
        return
    from dosimeter.monitor.telemetry import Telemetry, TelemetryConfig

    telemetry = Telemetry(TelemetryConfig(to))
    lines.record_to(telemetry)
    last = False
    while not last:
        last = stop.wait(EVERY_S)
        try:
            record_member(telemetry, read(), group)
        except Exception:  # a defect of ours, and no reason not to count
            log.exception("metrics of the fleet were not recorded")
    telemetry.close()


class _WithChores:
    """The ledger is used by one thread: between two steps of the count it is tidied."""

    def __init__(self, counter: FleetCounter, chores: Chores) -> None:
        self._counter, self._chores, self._next = counter, chores, 0.0

    def step(self, timeout_s: float) -> int:
        found = self._counter.step(timeout_s)
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + self._chores.turn()
        return found

    def close(self) -> None:
        self._counter.close()


def _stages(
    fleet: FleetConfig, ledger: Ledger, rulebook: Rulebook, connect: Connect
) -> tuple[Router, FleetCounter]:
    def rules() -> Rules:
        found, _, day = rulebook.second
        return tuple(r for r in running(found, day) if isinstance(r.when, Count)), day

    router = Router(
        Member(fleet.kafka, f"{fleet.group}-hits", connect=connect),
        fleet.hits_kafka,
        lambda: rules()[0],
        lambda: rulebook.texts,
    )
    member = Member(fleet.hits_kafka, fleet.group, connect=connect)
    return router, FleetCounter(member, ledger, rules, time.time_ns, group=fleet.group)
