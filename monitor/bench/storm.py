"""`dosimeter bench storm`: a million hits within a minute, and what becomes of them.

A played server decodes requests that hit every rule, through the join, the rules, the decisions, the writer and a
ledger on disk, as fast as they are taken. Every rule limits what it sends; one counts a user once, one is in shadow.
Then the sidecar is taken to have died before the minute was over, and what it had decided is restored from the ledger.
"""

from __future__ import annotations

import gc
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dosimeter.detectors.bank import Column
from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.frames import CODES_PER_SD, ROWS, Codes, StepFrame
from dosimeter.monitor.alerts import Decided
from dosimeter.monitor.bench.figures import Figure, Result, undisturbed
from dosimeter.monitor.decisions import LATE_NS, Decisions
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.reader import LedgerReader
from dosimeter.monitor.history.refused import Refused
from dosimeter.monitor.records import Close, Hello, Open
from dosimeter.monitor.restoring import restore
from dosimeter.monitor.servers import Server
from dosimeter.monitor.service import SWITCH_S
from dosimeter.monitor.writer import Writer
from dosimeter.rules.language.schema import parse_rules
from dosimeter.rules.program import Program, compile_program

HITS, PER_S = 1_000_000, 16_667
RULES, LIMIT = 10, 50
FEATURES, REQUESTS, PROMPT, TOKENS, MORE = 16, 100, 4, 8, 4
"""A frame is TOKENS of each of REQUESTS, and each of those hits every rule; a second one has what comes after."""
START_NS = 1_767_225_600 * 10**9
"""2026-01-01T00:00Z: where the minute begins."""
MINUTE_NS = 60 * 10**9
PACK = "0" * 64


def run(hits: int = HITS) -> Result:
    undisturbed()
    with tempfile.TemporaryDirectory(prefix="dosimeter-storm-") as folder:
        return Result("storm", tuple(_figures(Path(folder), hits)))


def _figures(folder: Path, hits: int) -> list[Figure]:
    program = _program()
    ledger = Ledger(folder / "ledger.db")
    writer = Writer(ledger, Refused.beside(folder / "ledger.db")).start()
    with LedgerReader(ledger.path) as reader:
        line = _Line(program, writer, Decisions(reader.ledger_id))
    writer.put(blobs=program.blobs())
    sys.setswitchinterval(SWITCH_S)
    gc.collect()
    gc.freeze()  # as the line does, once it has begun
    began, own = time.perf_counter(), time.thread_time()
    for frame in range(hits // (REQUESTS * RULES)):
        line.play(frame, START_NS + frame * MINUTE_NS * REQUESTS * RULES // hits)
    line.hand_over(line.decisions.digests(START_NS + MINUTE_NS + LATE_NS))
    own = time.thread_time() - own
    committed = writer.stop(600)
    seconds = time.perf_counter() - began
    ledger.close()
    with LedgerReader(folder / "ledger.db") as reader:
        stored = _stored(reader)
        digests = _digests(reader)
        again = Decisions(reader.ledger_id)
        began = time.perf_counter()
        known = restore(again, reader, 1 << 62, START_NS + MINUTE_NS)
        restored_s = time.perf_counter() - began
    limited = Counter({rule: n for (rule, word), n in stored.items() if word == "limited"})
    sent = {rule: n for (rule, word), n in stored.items() if word == "notified"}
    wrong = sum(digests[rule] != (sent[rule], limited[rule]) for rule in limited)
    wrong += len(digests.keys() - limited.keys())
    return [
        Figure("hits", line.tally.total(), "hits", f"== {hits}"),
        Figure("hits a second, committed", round(line.tally.total() / seconds), "hits/s", f">= {PER_S}"),
        Figure("the line's own time a hit, without waiting", 1e6 * own / hits, "µs"),
        Figure("hits not stored", line.tally.total() - sum(stored.values()), "hits", "== 0"),
        Figure("stored with another decision than was taken", (line.tally - stored).total(), "hits", "== 0"),
        Figure("entries not committed", int(not committed) + writer.refused, "entries", "== 0"),
        Figure("most notifications of a rule in the minute", max(sent.values()), "hits", f"<= {LIMIT}"),
        Figure("digests", len(digests), "digests", f"== {len(limited)}"),
        Figure("digests that do not state what is stored", wrong, "digests", "== 0"),
        Figure("restored after a restart", known, "records"),
        Figure("restored within", restored_s, "s"),
        Figure("ledger", (folder / "ledger.db").stat().st_size / hits, "B a hit"),
    ]  # fmt: skip


@dataclass
class _Line:
    """A server as the sidecar holds it, and the way of its hits to the writer."""

    program: Program
    writer: Writer
    decisions: Decisions
    tally: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        columns = [{"feature": f, "pack": PACK, "packName": "bench"} for f in self.program.columns]
        hello = Hello.parse({"role": "tap", "state": "live", "columns": columns})
        self.decisions.expect(self.program)
        self.server = Server.begin(7, hello, self.program, None, self.decisions)
        self.frames = [
            (np.array([(0, 0, TOKENS, 0, 1)] * REQUESTS, ROWS), _high(TOKENS)),
            (np.array([(0, TOKENS, MORE, 0, 0)] * REQUESTS, ROWS), _high(MORE)),
        ]

    def play(self, frame: int, time_ns: int) -> None:
        """REQUESTS begin, are scored and end, each with a hit of every rule."""
        keys = range(frame * REQUESTS + 1, (frame + 1) * REQUESTS + 1)
        for key in keys:
            self.hand_over(self.server.open(_opened(key), "tap"))
        for rows, codes in self.frames:
            rows["key"] = keys
            self.hand_over(self.server.step(StepFrame(rows, codes, 0, time_ns)))
        for key in keys:
            tokens = TOKENS + MORE
            closed = {"key": key, "outcome": "finished", "served": tokens, "emitted": tokens}
            self.hand_over(*self.server.close(Close.parse(closed), time_ns))
        while not self.writer.room:
            time.sleep(0.001)

    def hand_over(self, decided: list[Decided], evidence: dict[str, bytes] | None = None) -> None:
        now_ns = time.monotonic_ns()
        records = [(one.record, now_ns) for one in decided if one.record is not None]
        self.writer.put(records, evidence=evidence, defects=[d.defect for d in decided if d.defect])
        self.tally.update((d.rule, d.decision) for d in decided if d.decision != "digest")


def _high(tokens: int) -> Codes:
    return np.full((REQUESTS * tokens, FEATURES), 4 * CODES_PER_SD, np.int16)


def _opened(key: int) -> Open:
    labels = {"tenant": f"t{key % 20}", "user": f"u{key % 5000}", "request_id": str(key)}
    record: dict[str, Any] = {"key": key, "prompt_len": PROMPT, "labels": labels}
    return Open.parse(record | {"trusted": list(labels), "spans": [[2, 0, PROMPT]]})


def _program() -> Program:
    """Rules of one condition and of two by turns, all of which the codes of `_Line` satisfy."""
    features = [f"feature_{index:02d}" for index in range(FEATURES)]
    lines = ["version: 1", "rules:"]
    for number in range(RULES):
        one = f"{{feature: {features[number]}, in: answer, above: z 2, average: 4 tokens}}"
        two = f"{{feature: {features[number + 1]}, in: answer, above: z 3}}"
        lines += [
            f"  - rule: storm-{number:02d}",
            f"    when: {one if number % 2 else f'{{all: [{one}, {two}], within: 64 tokens}}'}",
            f"    status: {'shadow' if number == RULES - 1 else 'live'}",
            "    severity: high",
            "    owner: bench",
            f"    limit: {LIMIT} per minute",
            '    summary: "{feature} reached {value} in {scope} of {tenant}"',
        ]
        if number == 0:
            lines += ["    group-by: [tenant, user]", "    repeat-after: 1h"]
    benign = Calibration(
        features=tuple(features),
        packs=(PACK,) * FEATURES,
        codes=np.rint(np.random.default_rng(3).normal(0, CODES_PER_SD, (640, FEATURES))).astype(np.int16),
        offsets=np.arange(11, dtype=np.int64) * 64,
        scopes=np.full(640, 3, np.uint8),
        corpus="noise",
        date="2026-01-01",
    )  # fmt: skip
    bank = [Column(feature, PACK, "bench") for feature in features]
    return compile_program(parse_rules("\n".join(lines) + "\n"), bank, [benign])


def _stored(reader: LedgerReader) -> Counter[tuple[str, str]]:
    """Hits in the ledger, by rule and decision."""
    return Counter(reader.decisions())


def _digests(reader: LedgerReader) -> dict[str, tuple[int, int]]:
    """By rule: notified, limited."""
    found = [alert.record for alert in reader.search(limit=10 * RULES)]
    return {
        one["rule"]: (one["notified"], one["limited"]) for one in found if one["kind"] == "digest"
    }
