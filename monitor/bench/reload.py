"""`dosimeter bench reload`: a thousand changes of rules while a server decodes, and what they cost.

The line as it is, in one process with a ledger on disk; only the server is played, in the line's own thread. Requests
live longer than rules do: each hits every rule in turn, under the rules it began with. Every fifth time the files are
broken first, or half of them copied. Every rule says its own level, so that an alert whose level and whose words come
from two versions is found. The line looks for new rules twice a second; its clock is set ahead instead of waited for.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.frames import CODES_PER_SD, ROWS, Codes
from dosimeter.monitor import status
from dosimeter.monitor.bench.child import BenchError
from dosimeter.monitor.bench.figures import Figure, Result, undisturbed
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.reader import LedgerReader
from dosimeter.monitor.history.records import StoredAlert
from dosimeter.monitor.history.refused import Refused
from dosimeter.monitor.pipeline import HOUSEKEEPING_NS, Pipeline
from dosimeter.monitor.receive import Receiver
from dosimeter.monitor.rulebook import Rulebook
from dosimeter.monitor.service import SWITCH_S
from dosimeter.monitor.taps.sender import Sender
from dosimeter.monitor.taps.wire import Kind
from dosimeter.monitor.writer import Writer
from dosimeter.rules.program import Program

RELOADS, BROKEN_EVERY = 1000, 5
FILES, RULES, MANY = 4, 20, 100
"""Rules of the thousand changes, and of those that are all tested at once."""
MANY_RELOADS = 10
PAUSE_MS = 5
"""Goal for a turn; where neighbours hold up the line for half of that without any reload, nothing can be judged."""
TESTS = 5  # of each rule
FEATURES, REQUESTS, PROMPT, LENGTH = 16, 64, 4, 100
EARLY, LATE = 20, 80
"""Tokens of a request at which it hits rules: under the same ones, though others came in between."""
FRAMES_PER_S, QUIET_S = 100, 2.0
EPOCH, PACK = 7, "0" * 64
PATIENCE_S = 60.0


def run(reloads: int = RELOADS, many_reloads: int = MANY_RELOADS) -> Result:
    undisturbed()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    try:
        with tempfile.TemporaryDirectory(prefix="dosimeter-reload-") as folder:
            return Result("reload", tuple(_figures(Path(folder), reloads, many_reloads)))
    finally:
        sys.setswitchinterval(interval)


def _figures(folder: Path, reloads: int, many_reloads: int) -> list[Figure]:
    (folder / "rules").mkdir()
    _write(folder, 0)
    _noise().save(folder / "calibration")
    ledger = Ledger(folder / "ledger.db")
    line = _Line(folder, ledger)
    alone = line.turns(line.play_for(QUIET_S))
    changing = _Reloads(folder, line)
    turns = line.turns(line.play_while(lambda: changing.thousand(reloads)))
    testing = _Reloads(folder, line)
    tested = line.turns(line.play_while(lambda: testing.all_tested(many_reloads)))
    account, dropped, unknown, committed = line.end()
    ledger.close()
    with LedgerReader(folder / "ledger.db") as reader:
        wrong, mixed, programs, alerts = _checked(reader)
    quiet = _at(alone.quiet, 99) or PAUSE_MS
    pause = f"<= {PAUSE_MS}" if quiet <= PAUSE_MS / 2 else None
    return [
        Figure("reloads", len(changing.took_ms), "reloads", f"== {reloads}"),
        Figure("tokens not scored", account.served - account.scored, "tokens", "== 0"),
        Figure("unaccounted", account.unaccounted, "tokens", "== 0"),
        Figure("rows dropped", dropped, "rows", "== 0"),
        Figure("rows not evaluated", unknown, "rows", "== 0"),
        Figure("alerts", alerts, "alerts", ">= 1"),
        Figure("entries not committed", committed, "entries", "== 0"),
        Figure("programs that alerted", programs, "programs", f">= {reloads // 10}"),
        Figure("alerts that are not of their program", wrong, "alerts", "== 0"),
        Figure("requests with alerts of two programs", mixed, "requests", "== 0"),
        Figure("broken file sets", changing.broken, "sets", f"== {reloads // BROKEN_EVERY}"),
        Figure("of those taken over", changing.broken_taken, "sets", "== 0"),
        Figure("of those not named in the status", changing.broken_silent, "sets", "== 0"),
        Figure(f"reload of {RULES} rules, p50", _at(changing.took_ms, 50), "ms"),
        Figure(f"reload of {RULES} rules, p99", _at(changing.took_ms, 99), "ms"),
        Figure("turn of the line that takes rules over, p99", _at(turns.swapping, 99), "ms", pause),
        Figure("turn without reloads, p50", _at(alone.quiet, 50), "ms"),
        Figure("turn without reloads, p99", quiet, "ms"),
        Figure("turn while rules are read and tested, p50", _at(turns.working, 50), "ms"),
        Figure("turn while rules are read and tested, p99", _at(turns.working, 99), "ms", pause),
        Figure(f"reload of {MANY} rules with {MANY * TESTS} tests, p50", _at(testing.took_ms, 50), "ms"),
        Figure("turn during those, p99", _at(tested.working, 99), "ms", pause),
        Figure("turn during those, worst", _at(tested.working, 100), "ms"),
    ]  # fmt: skip


def _at(values: list[float], percent: int) -> float | None:
    return float(np.percentile(values, percent)) if values else None


@dataclass
class _Turns:
    """How long one frame took, from its send to the decision, in ms."""

    quiet: list[float] = field(default_factory=list)
    working: list[float] = field(default_factory=list)  # while files were read, tested, compiled
    swapping: list[float] = field(default_factory=list)  # in which other rules were taken over


class _Line:
    """The sidecar's line and the server that is played to it."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        self.ahead_ns = 0
        self.working = threading.Event()
        self.swapped = threading.Event()
        self.rulebook = Rulebook((folder / "rules",), (folder / "calibration",))
        if self.rulebook.error is not None:
            raise BenchError(self.rulebook.error)
        self._writer = Writer(ledger, Refused.beside(ledger.path)).start()
        self.pipeline = Pipeline(
            Receiver(folder / "tap.sock"),
            self.rulebook,
            self._writer,
            monotonic_ns=lambda: time.monotonic_ns() + self.ahead_ns,
            time_ns=lambda: time.time_ns() + self.ahead_ns,
        )
        columns = [{"feature": f, "pack": PACK, "packName": "bench"} for f in _features()]
        hello = {"role": "tap", "state": "live", "columns": columns}
        self._sender = Sender(folder / "tap.sock", EPOCH, lambda: hello, list)
        self._sender.tick()
        while EPOCH not in self.pipeline.servers:
            self.pipeline.turn()
        self._lengths: dict[int, int] = {}  # of open requests, by key
        self._key = self._frames = 0
        self._codes = _risen()

    @property
    def in_force(self) -> str:
        return self.pipeline.servers[EPOCH].engine.program.digest

    def play_for(self, seconds: float) -> Iterator[None]:
        for _ in range(int(seconds * FRAMES_PER_S)):
            yield

    def play_while(self, work: Any) -> Iterator[None]:
        """Frames until `work`, on a thread of its own, is done. Raises BenchError if it failed."""
        failed: list[BaseException] = []

        def keeping() -> None:
            try:
                work()
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=keeping, name="rules-watch", daemon=True)
        thread.start()
        while thread.is_alive():
            yield
        if failed:
            raise BenchError(f"the reloads ended: {failed[0]!r}")

    def turns(self, frames: Iterator[None]) -> _Turns:
        """Plays a frame for each of `frames`, FRAMES_PER_S at most."""
        found = _Turns()
        due = time.perf_counter()
        for _ in frames:
            due = max(due + 1 / FRAMES_PER_S, time.perf_counter())
            time.sleep(max(0.0, due - time.perf_counter()))
            rows, codes = self._frame()
            working, before = self.working.is_set(), self.in_force
            began = time.perf_counter()
            self._sender.step(rows, codes, self.pipeline.monotonic_ns(), self.pipeline.time_ns())
            while self.pipeline.turn(0):
                pass
            took = 1000 * (time.perf_counter() - began)
            if self.in_force != before:
                found.swapping.append(took)
                self.swapped.set()
            elif working:
                found.working.append(took)
            elif not self.working.is_set():
                found.quiet.append(took)
            self._frames += 1
            if self._frames % (FRAMES_PER_S // 2) == 0:
                self._sender.tick()
        return found

    def end(self) -> tuple[Any, int, int, int]:
        """Coverage, rows dropped, rows not evaluated, entries not committed."""
        for key, length in list(self._lengths.items()):
            self._close(key, length)
        self._sender.tick()
        self._sender.tick()
        while self.pipeline.turn(0.05):
            pass
        self.pipeline.flush()
        committed = self._writer.stop(PATIENCE_S)
        account = status.coverage(self.pipeline)
        unknown = self.pipeline.servers[EPOCH].engine.rows_unknown
        dropped = self._sender.counters()["rows_dropped"]
        self._sender.close()
        self.pipeline.receiver.close()
        return account, dropped, unknown, self._writer.refused + int(not committed)

    def _frame(self) -> tuple[Any, Any]:
        """One token of each request; the first frame of a new one is its prompt."""
        for key, length in list(self._lengths.items()):
            if length >= LENGTH:
                self._close(key, length)
        entries, blocks = [], []
        new = min(REQUESTS - len(self._lengths), 1 + REQUESTS // 32)
        for _ in range(new):
            self._key += 1
            self._lengths[self._key] = 0
            self._sender.control(Kind.OPEN, _opened(self._key))
        for key, length in self._lengths.items():
            n = 1 if length else PROMPT
            entries.append((key, length, n, 0, int(not length)))
            blocks.append(self._codes[key % FEATURES, length : length + n])
            self._lengths[key] = length + n
        return np.array(entries, ROWS), np.concatenate(blocks)

    def _close(self, key: int, length: int) -> None:
        del self._lengths[key]
        record = {"key": key, "outcome": "finished", "served": length, "emitted": length}
        self._sender.control(Kind.CLOSE, record)


class _Reloads:
    """Changes the files, and sees that they are taken over."""

    def __init__(self, folder: Path, line: _Line) -> None:
        self._folder, self._line = folder, line
        self.took_ms: list[float] = []
        self.broken = self.broken_taken = self.broken_silent = 0

    def thousand(self, reloads: int) -> None:
        for number in range(1, reloads + 1):
            if number % BROKEN_EVERY == 0:
                self._break(number)
            _write(self._folder, number)
            self._reload()

    def all_tested(self, reloads: int) -> None:
        for number in range(1, reloads + 1):
            _write(self._folder, RELOADS + number, MANY, TESTS)
            self._reload()

    def _reload(self) -> None:
        line = self._line
        line.swapped.clear()
        line.working.set()
        began = time.perf_counter()
        taken = line.rulebook.refresh()
        line.working.clear()
        if not taken or line.rulebook.error is not None:
            raise BenchError(f"not taken over: {line.rulebook.error}")
        line.ahead_ns += HOUSEKEEPING_NS
        if not line.swapped.wait(PATIENCE_S):
            raise BenchError("the line did not take the rules over")
        self.took_ms.append(1000 * (time.perf_counter() - began))

    def _break(self, number: int) -> None:
        """A set that must not be taken: cut off, not YAML, half copied, against its own tests, empty."""
        folder, rulebook = self._folder / "rules", self._line.rulebook
        way = number // BROKEN_EVERY % 5
        if way == 3:
            _write(self._folder, number, tests=1)
        text = (folder / "1.yaml").read_text(encoding="utf-8")
        broken = (
            text[: text.rindex("summary") + number % 9],
            text + "\x00" * (number % 7 + 1),
            (folder / "0.yaml").read_text(encoding="utf-8"),
            text.replace("at: answer 4", "at: answer 5"),
            "",
        )[way]
        (folder / "1.yaml").write_text(broken, encoding="utf-8")
        before = rulebook.digest
        self.broken += 1
        self.broken_taken += rulebook.refresh() or rulebook.digest != before
        said = status.rules_status(self._line.pipeline)["error"]
        self.broken_silent += not (said and ".yaml" in said)


def _features() -> tuple[str, ...]:
    return tuple(f"feature_{index:02d}" for index in range(FEATURES))


def _risen() -> Codes:
    """Of FEATURES kinds of requests, codes of each token: two features rise to 9 sd, early and late."""
    codes = np.zeros((FEATURES, LENGTH, FEATURES), np.int16)
    for kind in range(FEATURES):
        for feature, begin in ((kind, EARLY), ((kind + 5) % FEATURES, LATE)):
            codes[kind, begin : begin + 8, feature] = 9 * CODES_PER_SD
    return codes


def _opened(key: int) -> dict[str, Any]:
    record = {"key": key, "prompt_len": PROMPT, "labels": {"request_id": str(key)}}
    return record | {"spans": [[2, 0, PROMPT]], "spans_exact": True, "trusted": []}


def _write(folder: Path, number: int, rules: int = RULES, tests: int = 0) -> None:
    """All files as of this change, each replaced at once. Every rule is another one than before."""
    level = f"z {2 + number / 1000:.3f}"
    for file in range(FILES):
        lines = ["version: 1", "rules:"]
        for rule in range(file, rules, FILES):
            feature = _features()[rule % FEATURES]
            lines += [
                f"  - rule: reload-{rule:03d}",
                f"    when: {{feature: {feature}, in: answer, above: {level}, average: 4 tokens}}",
                "    status: live",
                "    severity: low",
                "    owner: bench",
                f'    summary: "{level}"',
                *(["    tests:"] if tests else []),
            ]
            for test in range(tests):
                runs = f'"0*20 {test - 9}*20"' if test else '"9*20"'
                hits = "[]" if test else "[{at: answer 4}]"
                lines += [
                    f"      - name: test {test}",
                    f"        stream: [{{answer: {{{feature}: {runs}}}}}]",
                    f"        expect: {hits}",
                ]
        new = folder / "rules" / f"{file}.new"
        new.write_text("\n".join(lines) + "\n", encoding="utf-8")
        new.replace(folder / "rules" / f"{file}.yaml")


def _noise() -> Calibration:
    codes = np.random.default_rng(3).normal(0, CODES_PER_SD, (640, FEATURES))
    return Calibration(
        features=_features(),
        packs=(PACK,) * FEATURES,
        codes=np.rint(codes).astype(np.int16),
        offsets=np.arange(11, dtype=np.int64) * 64,
        scopes=np.full(640, 3, np.uint8),
        corpus="noise",
        date="2026-01-01",
    )


def _checked(reader: LedgerReader) -> tuple[int, int, int, int]:
    """Alerts that are not as their program's rule says; requests of two programs; programs; alerts."""
    programs: dict[str, Program] = {}
    of: dict[str, set[str]] = defaultdict(set)  # by request
    wrong = alerts = 0
    for alert in _all(reader):
        record = json.loads(alert.core)
        sha256 = record["program_sha256"]
        if sha256 not in programs:
            body = reader.blob(sha256)
            if body is None:
                raise BenchError(f"program {sha256} is not in the ledger")
            programs[sha256] = Program.from_json(body)
        alerts += 1
        wrong += not _belongs(record, programs[sha256])
        of[record["key"]].add(sha256)
    mixed = sum(len(found) > 1 for found in of.values())
    return wrong, mixed, len(programs), alerts


def _belongs(record: dict[str, Any], program: Program) -> bool:
    rule = program.rule(record["rule"])
    literals = [one for clause in rule.logic.clauses for one in clause.literals]
    levels = {(one.level, program.atoms[one.atom].threshold) for one in literals}
    said = (record["level"], record["threshold_code"])
    return rule.sha256 == record["rule_sha256"] and said in levels and record["summary"] == said[0]


def _all(reader: LedgerReader) -> Iterator[StoredAlert]:
    seq = 0
    while found := reader.alerts_since(seq, limit=5000):
        yield from found
        seq = found[-1].seq
