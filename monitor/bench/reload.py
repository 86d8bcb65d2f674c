"""`dosimeter bench reload`: a thousand changes of rules while a server decodes, and what they cost.

The line as it is, in one process with a ledger on disk; only the server is played. Every fifth time the files are
broken first, or half of them copied. The line looks for new rules twice a second; its clock is set ahead instead of
waited for. It owns the order of changes and the figures.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from dosimeter.monitor import status
from dosimeter.monitor.bench.child import BenchError
from dosimeter.monitor.bench.figures import Figure, Result, undisturbed
from dosimeter.monitor.bench.reload_checked import checked
from dosimeter.monitor.bench.reload_files import RULES, noise, write
from dosimeter.monitor.bench.reload_line import PATIENCE_S, Line
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.reader import LedgerReader
from dosimeter.monitor.pipeline import HOUSEKEEPING_NS
from dosimeter.monitor.service import SWITCH_S

RELOADS, BROKEN_EVERY = 1000, 5
MANY = 100
"""Rules that are all tested at once; of the thousand changes there are RULES."""
MANY_RELOADS = 10
PAUSE_MS = 5
"""Goal for a turn; where neighbours hold up the line for half of that without any reload, nothing can be judged."""
TESTS = 5  # of each rule
QUIET_S = 2.0


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
    write(folder, 0)
    noise().save(folder / "calibration")
    ledger = Ledger(folder / "ledger.db")
    line = Line(folder, ledger)
    alone = line.turns(line.play_for(QUIET_S))
    changing = _Reloads(folder, line)
    turns = line.turns(line.play_while(lambda: changing.thousand(reloads)))
    testing = _Reloads(folder, line)
    tested = line.turns(line.play_while(lambda: testing.all_tested(many_reloads)))
    account, dropped, unknown, committed = line.end()
    ledger.close()
    with LedgerReader(folder / "ledger.db") as reader:
        found = checked(reader)
    quiet = _at(alone.quiet, 99) or PAUSE_MS
    pause = f"<= {PAUSE_MS}" if quiet <= PAUSE_MS / 2 else None
    return [
        Figure("reloads", len(changing.took_ms), "reloads", f"== {reloads}"),
        Figure("tokens not scored", account.served - account.scored, "tokens", "== 0"),
        Figure("unaccounted", account.unaccounted, "tokens", "== 0"),
        Figure("rows dropped", dropped, "rows", "== 0"),
        Figure("rows not evaluated", unknown, "rows", "== 0"),
        Figure("alerts", found.alerts, "alerts", ">= 1"),
        Figure("entries not committed", committed, "entries", "== 0"),
        Figure("programs that alerted", found.programs, "programs", f">= {reloads // 10}"),
        Figure("alerts that are not of their program", found.wrong, "alerts", "== 0"),
        Figure("requests with alerts of two programs", found.mixed, "requests", "== 0"),
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


class _Reloads:
    """Changes the files, and sees that they are taken over."""

    def __init__(self, folder: Path, line: Line) -> None:
        self._folder, self._line = folder, line
        self.took_ms: list[float] = []
        self.broken = self.broken_taken = self.broken_silent = 0

    def thousand(self, reloads: int) -> None:
        for number in range(1, reloads + 1):
            if number % BROKEN_EVERY == 0:
                self._break(number)
            write(self._folder, number)
            self._reload()

    def all_tested(self, reloads: int) -> None:
        for number in range(1, reloads + 1):
            write(self._folder, RELOADS + number, MANY, TESTS)
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
            write(self._folder, number, tests=1)
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
