"""The rules as they are now: loaded, compiled for each bank, watched, and kept when broken.

A change on disk is compiled on a thread of its own and taken over by the line between two frames.
A file that does not compile changes nothing: the last good rules go on, and the error stands in the
status with its place. It knows nothing of requests or of what fires.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dosimeter.detectors.calibrate import Calibration
from dosimeter.monitor.records import Column
from dosimeter.rules.program import Program, compile_program
from dosimeter.rules.schema import RuleSet, load_rules

log = logging.getLogger(__name__)

WATCH_S = 0.5
MAX_BANKS = 64
"""Programs kept; the oldest gives way and is compiled again when its bank greets anew."""
WATCHED = (".yaml", ".yml", ".safetensors")

Stamp = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True)
class Compiled:
    """A program, and the texts that its alerts name by sha256."""

    program: Program
    blobs: Mapping[str, bytes] = field(default_factory=dict)


class Rulebook:
    """Rules and calibrations of these paths. `version` grows whenever new ones are in force."""

    def __init__(self, rules: Sequence[Path] = (), calibrations: Sequence[Path] = ()) -> None:
        self._rules, self._calibrations = tuple(rules), tuple(calibrations)
        self._ruleset, self._known = RuleSet(()), tuple[Calibration, ...]()
        self._compiled: dict[tuple[Column, ...], Compiled] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._stamp: Stamp | None = None
        self.version = 0
        self.error: str | None = None
        self.refresh()

    def compile(self, columns: tuple[Column, ...]) -> Compiled:
        """The present rules for a bank with these columns; made once.

        Where they cannot be placed on it at all, a program without rules, and `error` says why.
        """
        with self._lock:
            found = self._compiled.get(columns)
            if found is None:
                try:
                    found = self._make(columns, self._ruleset, self._known)
                except ValueError as error:
                    self.error = str(error)
                    log.error("no rules for this bank: %s", error)
                    found = self._make(columns, RuleSet(()), ())
                self._compiled[columns] = found
                if len(self._compiled) > MAX_BANKS:  # whoever speaks to us can make up columns
                    del self._compiled[next(iter(self._compiled))]
            return found

    def programs(self) -> list[Program]:
        """One for each bank that was met."""
        return [compiled.program for compiled in list(self._compiled.values())]

    def refresh(self) -> bool:
        """Look at the files; True if other rules are in force now."""
        stamp = tuple(_stamps((*self._rules, *self._calibrations)))
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            ruleset = load_rules(self._rules) if self._rules else RuleSet(())
            known = tuple(Calibration.load(folder) for folder in self._calibrations)
            banks = list(self._compiled)
            compiled = {columns: self._make(columns, ruleset, known) for columns in banks}
        except (OSError, ValueError) as error:
            self.error = str(error)
            log.error("rules not taken over, the last good ones stay:\n%s", error)
            return False
        with self._lock:
            self._ruleset, self._known, self._compiled = ruleset, known, compiled
            self.error = None
            self.version += 1
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
                self.refresh()
            except Exception as error:
                self.error = f"rules could not be read: {error!r}"
                log.exception("watching the rules failed, will try again")

    @staticmethod
    def _make(
        columns: tuple[Column, ...], ruleset: RuleSet, known: tuple[Calibration, ...]
    ) -> Compiled:
        program = compile_program(ruleset, columns, known)
        blobs = {rule.sha256: rule.canonical for rule in ruleset.rules}
        return Compiled(program, blobs | {program.digest: program.canonical})


def _stamps(paths: Sequence[Path]) -> Iterator[tuple[str, int, int, int]]:
    """What tells that a file was changed or replaced: name, inode, size, time of change."""
    for path in paths:
        inside = sorted(file for end in WATCHED for file in path.glob(f"*{end}"))
        for file in inside if path.is_dir() else (path,):
            try:
                found = file.stat()
            except OSError:
                yield str(file), 0, 0, 0
            else:
                yield str(file), found.st_ino, found.st_size, found.st_mtime_ns
