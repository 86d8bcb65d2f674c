"""The rules as they are now: loaded, compiled for each bank, watched, and kept when broken.

A change on disk that has been the same for two looks is read, its own tests are run, and it is compiled, on a thread
of its own; the line takes it over between two frames. Files that do not compile, or whose tests fail, change nothing:
the last good rules go on, and the error stands in the status with its place. A new day is a change too: what expires
is left out from then on, also of last good rules. It knows nothing of requests or of what fires.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.findings import InputError, render
from dosimeter.monitor.records import Column
from dosimeter.monitor.self_test import NotRun, SelfTest
from dosimeter.rules.canonical import canonical, digest
from dosimeter.rules.language.schema import Rule, RuleSet, load_rules
from dosimeter.rules.language.second import SecondRule
from dosimeter.rules.policy import Policy
from dosimeter.rules.program import Program, compile_program

log = logging.getLogger(__name__)

WATCH_S = 0.5
"""A change is taken over after one to two of these: what is still being copied looks different the next time."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 600.0
"""Before tests that could not be run are tried again: twice as long each time."""
MAX_BANKS = 64
"""Programs kept; the oldest gives way and is compiled again when its bank greets anew."""
WATCHED = (".yaml", ".yml", ".safetensors")
LOCK = ".#"
"""How the link begins that Emacs puts beside a file while it is edited. It leads nowhere, and is no rule."""

MOST_TOLD = 50
"""Findings that stand in the error."""

Stamp = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True)
class Compiled:
    """A program, and the texts that its alerts name by sha256."""

    program: Program
    blobs: Mapping[str, bytes] = field(default_factory=dict)


class Rulebook:
    """Rules and calibrations of these paths. `version` grows whenever new ones are in force."""

    def __init__(
        self,
        rules: Sequence[Path] = (),
        calibrations: Sequence[Path] = (),
        *,
        today: Callable[[], date] = lambda: datetime.now(UTC).date(),
        time_ns: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rules, self._calibrations = tuple(rules), tuple(calibrations)
        self._today, self._time_ns, self._monotonic = today, time_ns, monotonic
        self._day = today()
        self._self_test = SelfTest()
        self._ruleset, self._known = RuleSet(()), tuple[Calibration, ...]()
        self._compiled: dict[tuple[Column, ...], Compiled] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._stamp: tuple[date, Stamp] | None = None  # of what was read last, good or not
        self._seen: tuple[date, Stamp] | None = None  # at the last look of the watch
        self._untested: tuple[date, Stamp] | None = None  # its tests could not be run
        self._pause_s = self._again_s = 0.0  # before they are tried again; monotonic, when
        self.version = 0
        self.error: str | None = None
        self.digest = _digest(self._ruleset)  # equal in sidecars whose rules say the same
        self.changed_ns = 0  # wall clock, when files were taken over last
        self.changed: Mapping[str, str] = {}  # then, by rule: `added`, `changed` or `removed`
        self.refresh()

    def compile(self, columns: tuple[Column, ...]) -> Compiled:
        """The present rules for a bank with these columns; made once.

        Where they cannot be placed on it at all, a program without rules, and `error` says why.
        """
        with self._lock:
            found = self._compiled.get(columns)
            if found is None:
                found = self._compiled[columns] = self._present(columns, self._day)
                if len(self._compiled) > MAX_BANKS:  # whoever speaks to us can make up columns
                    del self._compiled[next(iter(self._compiled))]
            return found

    @property
    def second(self) -> tuple[tuple[SecondRule, ...], tuple[Calibration, ...], date]:
        """What no program has: rules over hits and over the monitor, with what they go by."""
        with self._lock:
            return self._ruleset.second, self._known, self._day

    @property
    def policies(self) -> tuple[Policy, ...]:
        """Of the rules in force."""
        rules: list[Rule | SecondRule] = [*self._ruleset.rules, *self._ruleset.second]
        return tuple(rule.policy for rule in rules)

    @property
    def texts(self) -> Mapping[str, bytes]:
        """The rules in force over tokens, by hash."""
        return {rule.sha256: rule.canonical for rule in self._ruleset.rules}

    def programs(self) -> list[Program]:
        """One for each bank that was met."""
        return [compiled.program for compiled in list(self._compiled.values())]

    def look(self) -> bool:
        """As `refresh`, where the files are as they were at the look before: nobody is writing them."""
        seen, self._seen = self._seen, self._stamp_now()
        if self._seen == self._untested and self._monotonic() < self._again_s:
            return False
        return seen == self._seen and self.refresh()

    def refresh(self) -> bool:
        """Read the files if they were changed; True if other rules are in force now."""
        stamp = self._stamp_now()
        if stamp == self._stamp:
            return False
        before, self._stamp = self._stamp, stamp
        failed: InputError | NotRun | None = None
        try:
            ruleset, known = self._read(stamp[1])
            try:
                self._self_test.run(ruleset.rules, apart=self.version > 0)
            except (InputError, NotRun) as error:
                if self.version:
                    raise
                failed = error  # there are no last good ones: they watch better than none
            banks = list(self._compiled)
            compiled = {bank: self._make(bank, ruleset, known, stamp[0]) for bank in banks}
        except (OSError, ValueError, NotRun) as error:
            said = _first_of(error)
            if said != self.error:
                log.error("rules not taken over, the last good ones stay:\n%s", said)
            moved = self._move_to(stamp[0])
            self.error = said
            if isinstance(error, NotRun):
                self._try_again(stamp, before)
            return moved
        if self.version and self._stamp_now() != stamp:
            return False  # changed while it was read: a mixture, perhaps
        if failed is None:
            self._self_test.passed(ruleset.rules)
        changed = _changes(self._ruleset, ruleset) if self.version else {}
        with self._lock:
            self._ruleset, self._known, self._compiled = ruleset, known, compiled
            self._day, self.digest = stamp[0], _digest(ruleset)
            self.error = _first_of(failed) if failed is not None else None
            self.version += 1
        if before is None or before[1] != stamp[1]:
            self.changed_ns, self.changed = self._time_ns(), changed
            log.info("rules %s in force%s", self.digest[:12], _told(changed))
        if failed is not None:
            log.error(
                "tests of rules fail, and there are no earlier rules to keep:\n%s", self.error
            )
        if isinstance(failed, NotRun):
            self._try_again(stamp, before)
        return True

    def start(self) -> Rulebook:
        """Watch the files."""
        self._thread = threading.Thread(target=self._watch, name="rules-watch", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(2 * WATCH_S)

    def _watch(self) -> None:
        while not self._stop.wait(WATCH_S):
            try:
                self.look()
            except Exception as error:
                self.error = f"rules could not be read: {error!r}"
                log.exception("reading the rules failed, will try again when they change")

    def _try_again(self, stamp: tuple[date, Stamp], before: tuple[date, Stamp] | None) -> None:
        """These files count as unread; the watch reads them after a pause, others at once."""
        again = stamp == self._untested
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S) if again else FIRST_PAUSE_S
        self._again_s = self._monotonic() + self._pause_s
        self._untested, self._stamp = stamp, before

    def _move_to(self, day: date) -> bool:
        """The last good rules on this day, without those that have expired; False if it is the day in force."""
        if day == self._day or not self.version:
            return False
        compiled = {bank: self._present(bank, day) for bank in list(self._compiled)}
        with self._lock:
            self._day, self._compiled = day, compiled
            self.version += 1
        return True

    def _present(self, columns: tuple[Column, ...], day: date) -> Compiled:
        """The rules in force, for a bank; none where they cannot be placed on it."""
        try:
            return self._make(columns, self._ruleset, self._known, day)
        except ValueError as error:
            self.error = str(error)
            log.error("no rules for this bank: %s", error)
            return self._make(columns, RuleSet(()), (), day)

    def _stamp_now(self) -> tuple[date, Stamp]:
        return self._today(), tuple(_stamps((*self._rules, *self._calibrations)))

    def _read(self, stamp: Stamp) -> tuple[RuleSet, tuple[Calibration, ...]]:
        ruleset = load_rules(self._rules) if self._rules else RuleSet(())
        known = tuple(Calibration.load(folder) for folder in self._calibrations)
        for name, *found in stamp:
            if not any(found):  # its folder lists it
                hint = "a link that leads nowhere? mend or remove it"
                raise InputError.at(name, "there is nothing behind this name", hint)
        return ruleset, known

    @staticmethod
    def _make(
        columns: tuple[Column, ...], ruleset: RuleSet, known: tuple[Calibration, ...], day: date
    ) -> Compiled:
        program = compile_program(ruleset, columns, known, day)
        blobs = {rule.sha256: rule.canonical for rule in ruleset.rules}
        return Compiled(program, blobs | {program.digest: program.canonical})


def _stamps(paths: Sequence[Path]) -> Iterator[tuple[str, int, int, int]]:
    """What tells that a file was changed or replaced: name, inode, size, time of change."""
    for path in paths:
        for name, stat in _watched(path):
            try:
                found = stat()
            except OSError:
                yield name, 0, 0, 0
            else:
                yield name, found.st_ino, found.st_size, found.st_mtime_ns


def _watched(path: Path) -> list[tuple[str, Callable[[], os.stat_result]]]:
    """Names in their order; of a folder, what it holds. Twice a second, so it makes no paths of them."""
    try:
        with os.scandir(path) as inside:
            names = [
                one
                for one in inside
                if one.name.endswith(WATCHED) and not one.name.startswith(LOCK)
            ]
            return sorted((one.path, one.stat) for one in names)
    except OSError:  # a file, or no folder that can be listed
        return [(str(path), path.stat)]


def _texts(ruleset: RuleSet) -> dict[str, str]:
    """Digest of what each rule says, by id."""
    rules: list[Rule | SecondRule] = [*ruleset.rules, *ruleset.second]
    return {rule.id: rule.sha256 for rule in rules}


def _digest(ruleset: RuleSet) -> str:
    """Of what the rules say, in whatever files."""
    return digest(canonical(_texts(ruleset)))


def _changes(old: RuleSet, new: RuleSet) -> dict[str, str]:
    """By rule id, sorted."""
    before, after = _texts(old), _texts(new)
    words = dict.fromkeys(before, "removed") | dict.fromkeys(after, "added")
    words |= dict.fromkeys(before.keys() & after.keys(), "changed")
    return {rule: words[rule] for rule in sorted(words) if before.get(rule) != after.get(rule)}


def _first_of(error: Exception) -> str:
    """Of a file that is no rule file every line is wrong, and the status is asked for every few seconds."""
    if not isinstance(error, InputError) or len(error.findings) <= MOST_TOLD:
        return str(error)
    more = len(error.findings) - MOST_TOLD
    return (
        f"{render(error.findings[:MOST_TOLD])}\nand {more} more; `dosimeter rules lint` lists them"
    )


def _told(changed: Mapping[str, str], most: int = 20) -> str:
    said = [f"{rule} {word}" for rule, word in changed.items()]
    more = f", and {len(said) - most} more" if len(said) > most else ""
    return f": {', '.join(said[:most])}{more}" if said else ""
