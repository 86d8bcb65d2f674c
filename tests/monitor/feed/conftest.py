"""A real ledger to feed from, and what a feed gives until it has nothing more to say."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dosimeter.monitor.feed.items import Item
from dosimeter.monitor.feed.ledger_feed import LedgerFeed
from dosimeter.monitor.history.evidence import Evidence, encode_evidence
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.records import LedgerRecord

START_NS = 1_800_000_000 * 10**9  # a full hour
assert START_NS % (3600 * 10**9) == 0


class Clock:
    def __init__(self) -> None:
        self.now_ns = START_NS

    def __call__(self) -> int:
        return self.now_ns

    def forward(self, seconds: float) -> None:
        self.now_ns += int(seconds * 10**9)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path, clock: Clock) -> Iterator[Ledger]:
    with Ledger(path, now_ns=clock) as ledger:
        yield ledger


@pytest.fixture
def feed(path: Path) -> Iterator[LedgerFeed]:
    with LedgerFeed(path, "pod-1") as feed:
        yield feed


def body_of(rows: int, tokens: bool = False) -> bytes:
    """Evidence of so many tokens."""
    codes = np.arange(rows, dtype=np.int16).reshape(-1, 1)
    text = tuple(f"word{n}" for n in range(rows)) if tokens else None
    return encode_evidence(Evidence(0, ("deception",), codes, text))


@pytest.fixture
def hit_of(record_of: Callable[..., LedgerRecord]) -> Callable[..., LedgerRecord]:
    def make(number: int, rows: int = 3, tokens: bool = False, **changes: Any) -> LedgerRecord:
        return dataclasses.replace(record_of(number, **changes), evidence=body_of(rows, tokens))

    return make


def drain(feed: LedgerFeed, now_ns: int, limit: int = 500) -> list[Item]:
    """Everything it has to say now."""
    found: list[Item] = []
    while True:
        batch = feed.read(now_ns, limit)
        found += batch.items
        if not batch.items and not feed.owes:
            return found
