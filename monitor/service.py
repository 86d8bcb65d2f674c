"""The line as a process: set up, run until it is told to stop, and ended with all that it has taken in committed.

What it does all day is in `pipeline`. It does not know that other processes exist, nor who starts it again when it dies
(`supervising`); of delivery it reads where that stands.
"""

from __future__ import annotations

import gc
import logging
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from dosimeter.monitor import status
from dosimeter.monitor.canary import Canary
from dosimeter.monitor.capture.notes import CaptureNotes
from dosimeter.monitor.chores import DAY_NS, Chores
from dosimeter.monitor.config import Config
from dosimeter.monitor.delivery_status import delivery_status
from dosimeter.monitor.health import Health, HealthError
from dosimeter.monitor.history.archive_folder import ArchiveFolder
from dosimeter.monitor.history.consumers import Consumer, slowest
from dosimeter.monitor.history.counted import Counted
from dosimeter.monitor.history.erasure import copies_beside
from dosimeter.monitor.history.ledger import Ledger, LedgerError, LedgerStalled
from dosimeter.monitor.history.lock import AlreadyWriting
from dosimeter.monitor.history.reader import LedgerReader
from dosimeter.monitor.history.refused import Refused
from dosimeter.monitor.history.room import Room
from dosimeter.monitor.history.spool import Spool
from dosimeter.monitor.log_counts import LineCounts, count_lines
from dosimeter.monitor.migrating import migrating
from dosimeter.monitor.pausing import Pausing
from dosimeter.monitor.pipeline import Pipeline
from dosimeter.monitor.receive import Receiver, SocketError
from dosimeter.monitor.recorder import Recorder
from dosimeter.monitor.recounting import recount
from dosimeter.monitor.restoring import restored
from dosimeter.monitor.rulebook import Rulebook
from dosimeter.monitor.score_counts import ScoreCounts
from dosimeter.monitor.scores.status import scores_status
from dosimeter.monitor.sinks.config import OtlpConfig
from dosimeter.monitor.standing import Standing
from dosimeter.monitor.supervising import COMMIT_S, DRAIN_S, ENVIRONMENT
from dosimeter.monitor.writer import Writer
from dosimeter.rules import native
from dosimeter.rules.language.counting import Count

log = logging.getLogger(__name__)

ARCHIVE_AGAIN_S = 10.0
"""Before the next attempt to open the spool of the archive."""
SWITCH_S = 0.0005
"""How long another thread may keep the line from running: a tenth of Python's default."""


def run_line(
    config: Config,
    stop: threading.Event,
    ready: Callable[[Pipeline, int], None] = lambda line, port: None,
) -> int:
    """The line until `stop` is set; returns an exit code. ready: told the line, and its port."""
    sys.setswitchinterval(SWITCH_S)
    lines = count_lines("line")
    started_ns, started_cpu_s = time.monotonic_ns(), time.process_time()
    ledger: Ledger | None = None
    receiver: Receiver | None = None
    recorder = Recorder()
    try:
        room = Room(config.ledger_path, config.ledger.quota)
        with migrating(config.ledger_path, config.http.host, config.http.port):
            ledger = Ledger(config.ledger_path, quota=config.ledger.quota)
        rulebook = Rulebook(config.rules, config.calibrations)
        with LedgerReader(config.ledger_path) as reader:
            accounts = {account.epoch: account for account in reader.accounts()}
            decisions = restored(reader, rulebook.policies, time.time_ns())
            ledger_id = reader.ledger_id
            captures = CaptureNotes(ledger_id, reader.captures())
        receiver = Receiver(config.socket_path, config.peers)
        standing = Standing(config.socket_path), Standing(config.ledger_path)
        chores, counted = line_chores(config, ledger, rulebook), Counted()
        writer = Writer(ledger, Refused.beside(config.ledger_path), chores=chores)
        pipeline = Pipeline(
            receiver,
            rulebook,
            writer,
            accounts,
            decisions=decisions,
            recorder=recorder,
            pausing=Pausing(config.data_dir, ledger_id),
            canary=Canary(ledger_id),
            captures=captures,
            counted_here=config.counted_by == "sidecar",
        )
        with LedgerReader(config.ledger_path) as reader:
            recount(pipeline.counts, reader, time.time_ns())

        def read() -> dict[str, Any]:
            return line() | {"delivery": sinks_status(config, counted)}

        def line() -> dict[str, Any]:
            return status.line_status(
                pipeline,
                started_ns=started_ns,
                expected=config.expect,
                socket=standing[0],
                ledger=standing[1],
                confirmers=[one.name for one in config.confirmers],
                kept=chores.kept,
                disk=room.status(),
                cpu_s=time.process_time() - started_cpu_s,
            )

        health = Health(
            config.http.host,
            config.http.port,
            lambda: status.alive(pipeline),
            read,
            lambda: status.unready(pipeline, socket=standing[0], ledger=standing[1]),
        )
    except (SocketError, HealthError, AlreadyWriting, LedgerError, LedgerStalled, OSError) as error:
        print(f"dosimeter sidecar: {error}", file=sys.stderr)
        if receiver is not None:
            receiver.close()
        if ledger is not None:
            ledger.close()
        return ENVIRONMENT
    if config.archive is not None:
        _keep_scores(ArchiveFolder(config.archive_path), recorder, room, stop)
    writer.start()
    rulebook.start()
    to = config.telemetry
    finish = _observe(to, pipeline, line, lines) if to else lambda: None
    pipeline.turn(0)
    _freeze()
    ready(pipeline, health.port)
    log.info("listening on %s, status at port %d", config.socket_path, health.port)
    if not native.found:
        log.warning(
            "rules decide without the kernel in C, hundreds of times as slowly: it was not built here"
        )
    while not stop.is_set():
        pipeline.turn()
    committed = _drain(pipeline)
    rulebook.stop()
    finish()
    health.close()
    receiver.close()
    if committed:
        ledger.close()
        return 0
    log.error("%d entries could not be committed: %s", writer.waiting, writer.stalled)
    return ENVIRONMENT


def line_chores(config: Config, ledger: Ledger, rulebook: Rulebook) -> Chores:
    """What is done to a ledger between commits: it holds what a rule in force still needs, however old it is."""
    with LedgerReader(config.ledger_path) as reader:
        ledger_id = reader.ledger_id

    def consumer() -> Consumer:
        return slowest(
            config.deliver_path,
            config.history_cursor_path,
            ledger_id=ledger_id,
            history_is_set_up=config.history is not None,
            sinks=[sink.name for sink in config.sinks],
            owed_after=ledger.upkeep.owed_after,
            last_seq=ledger.upkeep.last_seq(),
        )

    return Chores(
        ledger.upkeep,
        config.data_dir,
        keep_ns=lambda: _keep_ns(config, rulebook),
        slowest=consumer,
        elsewhere=copies_beside(config.ledger_path, config.deliver_path),
    )


def _keep_ns(config: Config, rulebook: Rulebook) -> int:
    counts = [rule.when for rule in rulebook.second[0] if isinstance(rule.when, Count)]
    reach = [*(p.reach_ns for p in rulebook.policies), *(count.within_ns for count in counts)]
    return max([config.ledger.days * DAY_NS, *reach])


def _drain(pipeline: Pipeline) -> bool:
    """Take in what is on the wire, then commit; False if the disk did not allow it in time.

    Ledger and spool have the same COMMIT_S: the supervisor kills a line that takes it twice.
    """
    pipeline.turn(0)  # accepts who has connected: what they said is on the wire too
    pipeline.receiver.stop_accepting()
    deadline = time.monotonic() + DRAIN_S
    while pipeline.turn(0.01) and time.monotonic() < deadline:
        pass
    pipeline.flush()
    deadline, spool = time.monotonic() + COMMIT_S, pipeline.recorder.spool
    if spool is not None:
        spool.stop(0)  # only told: it writes while the ledger commits
    committed = pipeline.writer.stop(COMMIT_S)
    if spool is not None and not spool.stop(max(0.0, deadline - time.monotonic())):
        log.error("scores of the last moments are not archived: %s", spool.stalled)
    return committed


def _keep_scores(
    folder: ArchiveFolder, recorder: Recorder, room: Room, stop: threading.Event
) -> None:
    """Open the spool, or go on trying until `stop`: alerts need no archive."""

    def opened() -> bool:
        try:
            spool = Spool(folder, room=room.for_scores).start()
        except Exception as error:  # whatever it is, the line goes on
            if recorder.stalled is None:
                log.error("scores are not kept, will try again: %s", error)
            recorder.stalled = str(error) or repr(error)
            return False
        recorder.spool, recorder.stalled = spool, None
        return True

    def later() -> None:
        while not stop.wait(ARCHIVE_AGAIN_S):
            if opened():
                return

    if not opened():
        threading.Thread(target=later, name="score-spool-opening", daemon=True).start()


def _observe(
    to: OtlpConfig, pipeline: Pipeline, read: Callable[[], dict[str, Any]], lines: LineCounts
) -> Callable[[], None]:
    """Export the line's metrics; returns how to end that. OpenTelemetry is imported only here."""
    from dosimeter.monitor.observe import Observer
    from dosimeter.monitor.telemetry import Telemetry, TelemetryConfig

    telemetry = Telemetry(TelemetryConfig(to))
    lines.record_to(telemetry)
    durations = {
        "dosimeter.decision.duration": pipeline.decision,
        "dosimeter.durable.duration": pipeline.writer.durable,
    }
    pipeline.scores = scores = ScoreCounts()
    observer = Observer(telemetry, read, durations, scores.totals, pipeline.traces).start()

    def finish() -> None:
        observer.stop()
        telemetry.close()

    return finish


def _freeze() -> None:
    """What exists now stays: the collector need not look at it again."""
    gc.collect()
    gc.freeze()


def sinks_status(config: Config, counted: Counted | None = None) -> dict[str, Any]:
    """Where each sink stands, empty without any; and what became of scores that were ever to be sent.

    counted: of whoever looks again and again.
    """
    found: dict[str, Any] = {"sinks": {}, "confirm": {}}
    try:
        if config.sinks:
            files = config.ledger_path, config.deliver_path
            found = delivery_status(*files, now_ns=time.time_ns(), counted=counted)
    except (RuntimeError, OSError, sqlite3.Error) as error:
        return found | {"error": str(error)}
    return found | scores_status(config)
