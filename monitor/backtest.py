"""Rules over an archive: which files there are to read, and what comes together of what each of them gave.

It owns the walk over files and time, and which rules are run on which of them; a file is replayed by `backtest_work`,
and what the hits say of all traffic is `rules/backtesting/estimate`. It prints nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.findings import InputError
from dosimeter.monitor.backtest_work import UNREADABLE, Said, Seen, Task, run_tasks, unreadable
from dosimeter.monitor.history.archive_reader import Archive, ArchiveFile, open_archive
from dosimeter.monitor.records import Column
from dosimeter.rules.backtesting.backtest import asks_beyond
from dosimeter.rules.backtesting.distribution import Distribution
from dosimeter.rules.backtesting.estimate import DAY_NS, Found, joined, nothing
from dosimeter.rules.language.schema import RuleSet
from dosimeter.rules.program import Program, compile_program

LABELS = ("tenant", "route")
"""What the archive keeps of who asked: only where a gateway vouches for it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of the archive. against: other rules, or `live` for what fired when the requests came."""

    rules: RuleSet
    calibrations: tuple[Calibration, ...]
    day: date
    since_ns: int | None = None
    until_ns: int | None = None
    against: RuleSet | str | None = None
    values: bool = False  # histograms too


@dataclass(frozen=True)
class Answer:
    """before: hits of what was compared with. inactive, unasked: by rule, why it was not run in full. held_back: rules
    that do not send every alert. days: of traffic; 0 where nothing was read."""

    rules: tuple[str, ...]
    found: Found
    before: Found | None
    live: bool  # that is what fired when the requests came
    seen: Seen
    days: float
    counts: Mapping[str, Mapping[str, int]]
    inactive: Mapping[str, str]
    unasked: Mapping[str, tuple[str, ...]]
    held_back: tuple[str, ...]
    values: Mapping[str, Distribution]


def backtest(folder: Path, wanted: Wanted, said: Said = lambda tokens: None) -> Answer:
    """Raises InputError for a folder without an archive, or a file in it that cannot be read."""
    archive = _opened(folder)
    names = tuple(rule.id for rule in wanted.rules.rules if rule.status != "retired")
    tasks: list[Task] = []
    inactive: list[tuple[str, str]] = []
    unasked: dict[str, tuple[str, ...]] = {}
    for file in archive.files:
        if not file.within(wanted.since_ns, wanted.until_ns):
            continue
        program = _program(wanted.rules, file, wanted)
        inactive += program.inactive.items()
        beyond = {rule.rule: asks_beyond(rule, LABELS) for rule in program.rules}
        unasked |= {rule: asked for rule, asked in beyond.items() if asked}
        programs = [program.canonical]
        if isinstance(wanted.against, RuleSet):
            programs.append(_program(wanted.against, file, wanted).canonical)
        tasks.append(
            Task(file, tuple(programs), file.about.bank.model, wanted.since_ns, wanted.until_ns,
                 wanted.against == "live", wanted.values)
        )  # fmt: skip
    told = list(run_tasks(tasks, said))
    seen = sum((one.seen for one in told), Seen())
    before = [one.before for one in told if one.before is not None]
    compared = wanted.against is not None
    values: dict[str, Distribution] = {}
    for one in told:
        for rule, held in one.values.items():
            values[rule] = values[rule].add(held.counts) if rule in values else held
    return Answer(
        rules=names,
        found=joined([nothing(names), *(one.found for one in told)]),
        before=joined([nothing(()), *before]) if compared else None,
        live=wanted.against == "live",
        seen=seen,
        days=_days(seen, wanted),
        counts=Archive(tuple(task.file for task in tasks)).counts(),
        inactive=_second(wanted.rules) | _inactive(inactive, len(tasks)),
        unasked=unasked,
        held_back=tuple(r.id for r in wanted.rules.rules if r.id in names and r.policy.reach_ns),
        values=values,
    )


def tokens_kept(folder: Path, wanted: Wanted) -> int:
    """In the files that a backtest reads."""
    files = (f for f in _opened(folder).files if f.within(wanted.since_ns, wanted.until_ns))
    return sum(one["kept_tokens"] for file in files for one in file.about.counts.values())


def _opened(folder: Path) -> Archive:
    archive = open_archive(folder)
    if not archive.files:
        hint = (
            "name the folder `archive` under the sidecar's data-dir; `dosimeter archive` fills it"
        )
        raise InputError.at(folder, "no archive of scores", hint)
    for file in archive.files:
        try:
            _ = file.about
        except UNREADABLE as error:
            raise unreadable(error, file.path) from None
    return archive


def _program(rules: RuleSet, file: ArchiveFile, wanted: Wanted) -> Program:
    """A draft is run as if in shadow: to try it is what a backtest is for."""
    tried = replace(
        rules,
        rules=tuple(replace(r, status="shadow") if r.status == "draft" else r for r in rules.rules),
    )
    columns = [Column(feature, pack, "") for feature, pack in file.about.bank.columns]
    return compile_program(tried, columns, wanted.calibrations, wanted.day)


def _inactive(found: Sequence[tuple[str, str]], files: int) -> dict[str, str]:
    """Why rules were not run, by rule; where that is so of some files alone, of how many."""
    return {
        rule: why if count == files else f"in {count} of {files} files: {why}"
        for (rule, why), count in Counter(found).items()
    }


def _second(rules: RuleSet) -> dict[str, str]:
    why = "it looks at all hits in their order, of which a sample has only some"
    return {rule.id: why for rule in rules.second if rule.status != "retired"}


def _days(seen: Seen, wanted: Wanted) -> float:
    """From the first kept token to the last, within the time that was asked for."""
    if not seen.requests:
        return 0.0
    first, last = seen.first_ns, seen.last_ns
    if wanted.since_ns is not None:
        first = max(first, wanted.since_ns)
    if wanted.until_ns is not None:
        last = min(last, wanted.until_ns)
    return max(last - first, 0) / DAY_NS
