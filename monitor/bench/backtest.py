"""`dosimeter bench backtest`: how long rules take over an archive of stored scores, on two processes.

Requests of a prompt and an answer, 32 features of autocorrelated scores, half of those kept standing for ten; files of
four million tokens, copies of one, as a week of traffic would have. Reading and decompressing is in the time, and so is
starting the processes. The baseline in the same run is the engine as the line feeds it: a frame of one token of each of
256 requests.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.frames import CODES_PER_SD, SEGMENTS, Scope, ScoreFrame
from dosimeter.monitor.backtest_work import PROCESSES, Task, run_tasks
from dosimeter.monitor.bench.figures import Figure, Result, undisturbed
from dosimeter.monitor.bench.rules import CONDITIONS, SHAPES, logics
from dosimeter.monitor.history.archive_folder import ArchiveFolder
from dosimeter.monitor.history.archive_part import About, Kept, no_counts, write_part
from dosimeter.monitor.history.archive_reader import open_archive
from dosimeter.monitor.history.assembly import Request
from dosimeter.monitor.history.chunk import Bank, Opened
from dosimeter.monitor.history.strata import Stratum
from dosimeter.monitor.progress import Progress
from dosimeter.rules import native
from dosimeter.rules.atoms import Atom, CompiledRule
from dosimeter.rules.engine import Engine
from dosimeter.rules.program import Program

TOKENS = 20_000_000
FEATURES = 32
PROMPT, ANSWER = 128, 384
FILE_TOKENS, ONE_IN = 4_000_000, 10
STATED = 100_000_000
GOALS_S = {1: 30, 100: 180}
"""By rules, for STATED tokens."""
LIVE_REQUESTS = 256
NOON_NS = 1_764_417_600_000_000_000

Codes = npt.NDArray[np.int16]


def run(tokens: int = TOKENS) -> Result:
    undisturbed()
    rng = np.random.default_rng(0)
    codes = np.concatenate(list(_requests(rng, FILE_TOKENS)))
    found = [
        Figure("the kernel in C was built here", int(native.found), "", "== 1"),
        Figure("processes", min(PROCESSES, len(os.sched_getaffinity(0))), ""),
    ]
    with tempfile.TemporaryDirectory(prefix="dosimeter-bench-") as scratch:
        folder = Path(scratch)
        stored, size = _write(folder, codes, tokens)
        found.append(Figure("archive", size / 1e9, "GB"))
        found.append(Figure("archive: a token and feature", size / (stored * FEATURES), "B"))
        for rules in GOALS_S if native.found else ():
            found += _figures(folder, _program(rng, rules), stored, codes)
    return Result("backtest", tuple(found))


def _figures(folder: Path, program: Program, stored: int, codes: Codes) -> Iterator[Figure]:
    rules = len(program.rules)
    what = f"{rules} rule{'s' if rules > 1 else ''}, {len(program.atoms)} conditions"
    tasks = [
        Task(file, (program.canonical,), "", None, None, live=False, values=False)
        for file in open_archive(folder).files
    ]
    progress = Progress(what)
    busy, started = _busy(), time.perf_counter()
    told = list(run_tasks(tasks, lambda done: progress(done, stored)))
    took, busy = time.perf_counter() - started, _busy() - busy
    progress.close()
    hits = sum(len(one.found.hits) for one in told)
    live = _live(program, codes)
    each = busy / min(PROCESSES, len(os.sched_getaffinity(0))) * STATED / stored
    yield Figure(f"{what}: {stored:,} tokens", took, "s")
    yield Figure(
        f"{what}: 100 M tokens at that rate", took * STATED / stored, "s", f"<= {GOALS_S[rules]}"
    )
    yield Figure(f"{what}: 100 M tokens, processor time of each", each, "s")
    yield Figure(f"{what}: hits", hits, "")
    yield Figure(f"{what}: a processor", stored / busy / 1e6, "M tokens/s")
    yield Figure(f"{what}: the engine frame by frame", live / 1e6, "M tokens/s")
    yield Figure(f"{what}: as a multiple of that", stored / busy / live, "x")


def _busy() -> float:
    """Processor seconds of this process and of those that it waited for."""
    return sum(os.times()[:4])


def _live(program: Program, codes: Codes) -> float:
    """Tokens a second of this thread's own time, as the line feeds the engine."""
    engine = Engine(program)
    segments = np.zeros(LIVE_REQUESTS, SEGMENTS)
    segments["key"], segments["n"] = np.arange(LIVE_REQUESTS), 1
    for key in range(LIVE_REQUESTS):
        engine.open(key, {})
    started = time.thread_time()
    for position in range(PROMPT + ANSWER):
        segments["start"] = position
        segments["scope"] = Scope.MESSAGE if position < PROMPT else Scope.ANSWER
        engine.step(ScoreFrame(segments, codes[:LIVE_REQUESTS, position], 0, 0))
    for key in range(LIVE_REQUESTS):
        engine.close(key, finished=True)
    return LIVE_REQUESTS * (PROMPT + ANSWER) / (time.thread_time() - started)


def _program(rng: np.random.Generator, rules: int) -> Program:
    count = CONDITIONS.get(rules, 1)
    found: dict[Atom, None] = {}
    while len(found) < count:
        shape, sd, lengths = SHAPES[len(found) % len(SHAPES)]
        threshold = round(CODES_PER_SD * (sd + rng.random()))
        column = int(rng.integers(FEATURES))
        found[Atom(column, Scope.ANSWER, 1, shape, int(rng.choice(lengths)), threshold)] = None
    text = {"status": "live", "severity": "low", "summary": "it fired"}
    made = tuple(
        CompiledRule(f"r{i}", "0" * 64, logic, {"rule": f"r{i}", **text})
        for i, logic in enumerate(logics(count))
    )
    return Program(tuple(f"f{i}" for i in range(FEATURES)), tuple(found), made)


def _requests(rng: np.random.Generator, tokens: int) -> Iterator[Codes]:
    """int16 [some requests, PROMPT + ANSWER, FEATURES] of benign sd 1, each token nine tenths of the last."""
    length, left = PROMPT + ANSWER, tokens // (PROMPT + ANSWER)
    while left > 0:
        part = min(left, 1024)
        noise = rng.standard_normal((part, length, FEATURES), np.float32)
        noise *= np.float32((1 - 0.81) ** 0.5)
        for at in range(1, length):
            noise[:, at] += np.float32(0.9) * noise[:, at - 1]
        yield np.rint(noise * CODES_PER_SD).astype(np.int16)
        left -= part


def _write(folder: Path, codes: Codes, tokens: int) -> tuple[int, int]:
    """(tokens stored, bytes): one file, and copies of it."""
    bank = Bank(tuple((f"f{i}", f"{i:064x}") for i in range(FEATURES)), "bench", "0" * 64)
    kept = [_kept(bank, key, one) for key, one in enumerate(codes)]
    counts = no_counts()
    each = len(codes) * (PROMPT + ANSWER)
    for stratum in ("flagged", "rest"):
        counts[stratum] |= {"kept_tokens": each // 2, "tokens": each // 2}
    about = About(bank, ONE_IN, counts, NOON_NS, NOON_NS + len(codes))
    files = max(round(tokens / each), 1)
    paths = [ArchiveFolder(folder).part("2026-11-29", i, i, bank.digest).path for i in range(files)]
    write_part(paths[0], kept, about)
    for path in paths[1:]:
        shutil.copyfile(paths[0], path)
    return each * files, sum(path.stat().st_size for path in paths)


def _kept(bank: Bank, key: int, codes: Codes) -> Kept:
    opened = Opened(1, key, bank.digest, "", NOON_NS, f"tenant-{key % 10}", "chat")
    request = Request(opened, bank, NOON_NS)
    segments = np.zeros(2, SEGMENTS)
    segments["start"], segments["n"] = (0, PROMPT), (PROMPT, ANSWER)
    segments["scope"] = (Scope.MESSAGE, Scope.ANSWER)
    request.add(segments, codes, (NOON_NS + key, NOON_NS + key))
    rest = bool(key % 2)
    return Kept(request, Stratum.REST if rest else Stratum.FLAGGED, ONE_IN if rest else 1, rest)
