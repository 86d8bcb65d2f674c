"""Attacks on the files and services beside the sidecar: rules, ledger, disk, broker."""

from __future__ import annotations

import contextlib
import resource
import sqlite3
from collections.abc import Generator

from dosimeter.monitor.chaos.arena import Arena
from dosimeter.monitor.chaos.attack import Attack

STALLED = r"ledger\.stalled"
QUOTA = 4096


def rules_broken(arena: Arena) -> Generator[None]:
    good = arena.rules.read_text()
    arena.rules.write_text(good.replace("average:", "averge:"))
    yield
    arena.rules.write_text(good)


def rules_removed(arena: Arena) -> Generator[None]:
    kept = arena.rules.with_suffix(".kept")
    arena.rules.rename(kept)
    yield
    kept.rename(arena.rules)


def disk_full(arena: Arena) -> Generator[None]:
    """No file of the line may grow: a quota, as the kernel knows it for one process."""
    line = arena.line()
    before = resource.prlimit(line, resource.RLIMIT_FSIZE)
    resource.prlimit(line, resource.RLIMIT_FSIZE, (QUOTA, before[1]))
    yield
    resource.prlimit(line, resource.RLIMIT_FSIZE, before)


def ledger_locked(arena: Arena) -> Generator[None]:
    with contextlib.closing(sqlite3.connect(arena.ledger, timeout=5)) as visitor:
        visitor.execute("BEGIN IMMEDIATE")
        yield
        visitor.execute("ROLLBACK")


def ledger_removed(arena: Arena) -> Generator[None]:
    kept = arena.ledger.with_suffix(".kept")
    arena.ledger.rename(kept)
    yield
    arena.ledger.unlink(missing_ok=True)
    kept.rename(arena.ledger)


def broker_gone(arena: Arena) -> Generator[None]:
    arena.stage.broker.stop()
    yield
    arena.stage.broker.start()


ATTACKS = (
    Attack("rules-broken", "breaks a rule file that is in force", rules_broken, r"rules\.error"),
    Attack("rules-removed", "takes the rule file away", rules_removed, r"rules\.error"),
    Attack(
        "disk-full",
        "no file of the line may grow any more",
        disk_full,
        STALLED,
        fake="a limit on the running process, as a quota would set",
    ),
    Attack("ledger-locked", "another process holds the ledger's lock", ledger_locked, STALLED),
    Attack(
        "ledger-removed", "moves the ledger away under the line", ledger_removed, r"ledger\.lost"
    ),
    Attack("broker-gone", "ends the broker", broker_gone, r"delivery\.kafka"),
)
