"""All of `dosimeter audit attack`: one clean history, so many manipulations, so many untouched ones, on every core."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from dosimeter.monitor.chaos import audit_run
from dosimeter.monitor.chaos.audit_history import Made, build
from dosimeter.monitor.chaos.audit_report import Report
from dosimeter.monitor.chaos.audit_run import TABLE, Outcome, Progress, memory
from dosimeter.monitor.supervising import end_with

ENTRIES = 2000
RUNS, HISTORIES = 500, 200
PART = 10
Part = tuple[int, int]
"""[first, past) of the runs."""


def _nothing(done: int, of: int) -> None:
    """Nobody looks."""


def run(
    runs: int = RUNS,
    histories: int = HISTORIES,
    *,
    entries: int = ENTRIES,
    seed: int = 0,
    progress: Progress = _nothing,
) -> Report:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="dosimeter-history-", dir=memory()) as folder:
        made = build(Path(folder), entries, seed)
        total, done = runs + histories, 0
        outcomes, alarms = list[Outcome](), list[str]()
        for some, said, count in _each(made, runs, histories, seed):
            outcomes += some
            alarms += said
            done += count
            progress(done, total)
    order = {id_: n for n, id_ in enumerate((m.adversary, m.name) for m in TABLE)}
    outcomes.sort(key=lambda one: order[one.manipulation.adversary, one.manipulation.name])
    return Report(outcomes, histories, alarms, made.signed, time.monotonic() - began)


def _each(
    made: Made, runs: int, histories: int, seed: int
) -> Iterator[tuple[Sequence[Outcome], Sequence[str], int]]:
    """A few at a time, in processes of their own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), context, _begin, (os.getpid(),)) as pool:
        parts = [pool.submit(_attack, made, part, seed) for part in _parts(runs)]
        clean = [pool.submit(_watch, part, seed) for part in _parts(histories)]
        for (first, past), one in zip(_parts(runs), parts, strict=True):
            yield _outcomes(one.result()), (), past - first
        for (first, past), two in zip(_parts(histories), clean, strict=True):
            yield (), two.result(), past - first


def _parts(count: int) -> list[Part]:
    return [(first, min(first + PART, count)) for first in range(0, count, PART)]


def _outcomes(found: Sequence[tuple[int, str, str]]) -> list[Outcome]:
    return [Outcome(TABLE[at], actual, said) for at, actual, said in found]


def _attack(made: Made, part: Part, seed: int) -> list[tuple[int, str, str]]:
    """(place in the table, what was said, a line of it): a table's functions do not travel."""
    numbers = range(*part)
    table = [TABLE[n % len(TABLE)] for n in numbers]
    found = audit_run.manipulations(made, table, len(table), f"{seed}/{part[0]}", _nothing)
    return [(n % len(TABLE), one.actual, one.said) for n, one in zip(numbers, found, strict=True)]


def _watch(part: Part, seed: int) -> list[str]:
    first, past = part
    return list(audit_run.alarms(past - first, seed + first, _nothing))


def _begin(parent: int) -> None:
    """It ends with who asked; and what histories say of themselves meanwhile is not what was asked for."""
    end_with(parent, signal.SIGKILL)
    logging.disable(logging.ERROR)
