"""One file of an archive replayed by one process, and the processes that share the files.

It owns what a process is told and what it gives back, and what of the archive was seen. Which files and which rules is
`backtest.py`.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dosimeter.detectors.findings import InputError
from dosimeter.monitor.history.archive_fired import fired_in
from dosimeter.monitor.history.archive_part import NotAPart
from dosimeter.monitor.history.archive_reader import Archive, ArchiveFile, Labels, Part
from dosimeter.monitor.supervising import end_with
from dosimeter.rules.backtesting.backtest import HITS, Backtest
from dosimeter.rules.backtesting.distribution import Distribution, distribution, first_condition
from dosimeter.rules.backtesting.estimate import REQUESTS, Found, joined, nothing
from dosimeter.rules.program import Program

PROCESSES = 2
ALONE_TOKENS = 2_000_000
"""Up to so many tokens a second process takes longer to start than it saves."""
POLL_S = 0.25
UNREADABLE = (ValueError, pa.ArrowException, OSError)
"""What a file that is not whole ends in; `NotAPart` is a ValueError."""

Said = Callable[[int], None]
"""Told now and then how many tokens were replayed so far."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was read. Kept: as it lies there; weighted: how many requests and tokens it stands for."""

    requests: int = 0
    tokens: int = 0
    weighted_requests: int = 0
    weighted_tokens: int = 0
    incomplete: int = 0  # of the kept ones: some tokens were lost on the way into the archive
    counted_tokens: int = 0  # of requests whose server said how many tokens it served, and ...
    served_tokens: int = 0  # ... those
    one_in: int = 1  # the largest weight
    first_ns: int = 0
    last_ns: int = 0

    def __add__(self, other: Seen) -> Seen:
        if not (self.requests and other.requests):
            return self if self.requests else other
        summed = {
            name: getattr(self, name) + getattr(other, name)
            for name in self.__slots__
            if name not in ("one_in", "first_ns", "last_ns")
        }
        first, last = min(self.first_ns, other.first_ns), max(self.last_ns, other.last_ns)
        return Seen(**summed, one_in=max(self.one_in, other.one_in), first_ns=first, last_ns=last)


@dataclass(frozen=True, slots=True)
class Task:
    """One file for one process. programs: in canonical form, the one that is asked for first."""

    file: ArchiveFile
    programs: tuple[bytes, ...]
    model: str
    since_ns: int | None
    until_ns: int | None
    live: bool
    values: bool


@dataclass(frozen=True)
class Told:
    """What one file gave."""

    found: Found
    before: Found | None
    seen: Seen
    values: dict[str, Distribution] = field(default_factory=dict)


def replay_file(task: Task, said: Said) -> Told:
    """Raises UNREADABLE."""
    runs = [Backtest(Program.from_json(text), task.model) for text in task.programs]
    reads = tuple(dict.fromkeys(name for run in runs for name in run.reads))
    founds: list[list[Found]] = [[nothing([r.rule for r in run.program.rules])] for run in runs]
    seen, values = Seen(), dict[str, Distribution]()
    for part in Archive((task.file,)).parts(reads, task.since_ns, task.until_ns):
        codes = dict(zip(reads, part.codes, strict=True))
        for run, found in zip(runs, founds, strict=True):
            labels = {"tenant": part.tenant, "route": part.route}
            mine = [codes[name] for name in run.reads]
            hits = run.replay(mine, part.runs, part.requests, labels)
            found.append(_found(run.program, part, hits))
        if task.values:
            for rule, one in _values(runs[0], [codes[name] for name in runs[0].reads], part):
                values[rule] = values[rule].add(one.counts) if rule in values else one
        seen += _seen(part)
        said(part.tokens)
    before = joined(founds[1]) if len(founds) > 1 else None
    if task.live:
        before = fired_in(task.file.path, task.since_ns, task.until_ns)
    return Told(joined(founds[0]), before, seen, values)


def unreadable(error: Exception, path: Path) -> InputError:
    return _input_error(_said(error, path))


def _input_error(said: str) -> InputError:
    message, _, hint = said.partition("\n  hint: ")
    place, _, message = message.partition(": ")
    return InputError.at(place, message, hint or None)


def _found(program: Program, part: Part, hits: npt.NDArray[np.void]) -> Found:
    """Of all requests only those with a hit."""
    used, of = np.unique(hits["request"], return_inverse=True)
    requests = np.zeros(len(used), REQUESTS)
    for name in ("epoch", "key", "last_ns", "one_in"):
        requests[name] = getattr(part, name)[used]
    tenants, requests["tenant"] = _used(part.tenant, used)
    routes, requests["route"] = _used(part.route, used)
    mine = np.empty(len(hits), HITS)
    mine[:] = hits
    mine["request"] = of
    rules = tuple(rule.rule for rule in program.rules)
    return Found(rules, requests, mine, tenants, routes)


def _used(labels: Labels, requests: npt.NDArray[np.int64]) -> tuple[tuple[str, ...], Any]:
    """The names that these requests have, and which each has."""
    names, of = np.unique(labels.of[requests], return_inverse=True)
    return tuple(labels.names[i] for i in names.tolist()), of.astype(np.int32)


def _seen(part: Part) -> Seen:
    tokens = np.diff(part.offsets)
    counted = part.served >= 0
    return Seen(
        requests=part.requests,
        tokens=part.tokens,
        weighted_requests=int(part.one_in.sum()),
        weighted_tokens=int((part.one_in * tokens).sum()),
        incomplete=int((~part.whole).sum()),
        counted_tokens=int((part.one_in * tokens)[counted].sum()),
        served_tokens=int((part.one_in * part.served)[counted].sum()),
        one_in=int(max(part.about.one_in, part.one_in.max(initial=1))),
        first_ns=int(part.first_ns[part.first_ns > 0].min(initial=np.iinfo(np.int64).max)),
        last_ns=int(part.last_ns.max(initial=0)),
    )


def _values(
    run: Backtest, codes: Sequence[npt.NDArray[np.int16]], part: Part
) -> Iterator[tuple[str, Distribution]]:
    columns = run.columns(codes)
    for rule in run.program.rules:
        feature, atom = first_condition(rule, run.program.atoms)
        of = columns[atom.column]
        if of is not None:
            yield rule.rule, distribution(atom, feature, of, part.runs, part.offsets, part.one_in)


_counter: Any = None
"""In a process of the pool: tokens that all of them have replayed."""


def _begin(counter: Any, parent: int) -> None:
    global _counter
    end_with(parent, signal.SIGKILL)  # it has nothing to save
    _counter = counter
    pa.set_cpu_count(1)


def _work(task: Task) -> Told | str:
    """The text of an error, which need not survive the way between processes."""

    def count(tokens: int) -> None:
        with _counter.get_lock():
            _counter.value += tokens

    try:
        return replay_file(task, count)
    except UNREADABLE as error:
        return _said(error, task.file.path)


def _said(error: Exception, path: Path) -> str:
    if isinstance(error, NotAPart):
        return str(error)
    return f"{path}: cannot be read: {error}\n  hint: move it out of the archive"


def run_tasks(tasks: Sequence[Task], said: Said) -> Iterator[Told]:
    """In any order. Raises InputError."""
    sizes = {
        id(task): sum(one["kept_tokens"] for one in task.file.about.counts.values())
        for task in tasks
    }
    if len(tasks) < 2 or sum(sizes.values()) < ALONE_TOKENS:
        yield from _alone(tasks, said)
        return
    context = multiprocessing.get_context("spawn")
    counter = context.Value("q", 0)
    processes = min(PROCESSES, len(os.sched_getaffinity(0)), len(tasks))
    with ProcessPoolExecutor(processes, context, _begin, (counter, os.getpid())) as pool:
        largest = sorted(tasks, key=lambda task: -sizes[id(task)])
        waiting = {pool.submit(_work, task) for task in largest}
        while waiting:
            done, waiting = wait(waiting, POLL_S, FIRST_COMPLETED)
            said(counter.value)
            for future in done:
                told = future.result()
                if isinstance(told, str):
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise _input_error(told)
                yield told


def _alone(tasks: Sequence[Task], said: Said) -> Iterator[Told]:
    done = 0

    def count(tokens: int) -> None:
        nonlocal done
        done += tokens
        said(done)

    for task in tasks:
        try:
            yield replay_file(task, count)
        except UNREADABLE as error:
            raise unreadable(error, task.file.path) from None
