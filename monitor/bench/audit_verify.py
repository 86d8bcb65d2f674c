"""How fast a log is verified: by us and by Go's; and the store beside it.

The entries are of the size that an alert's has. It makes its logs itself, but for the store's.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from dosimeter.monitor.audit.checks.verifying import verify_history
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import HotStore
from dosimeter.monitor.audit.store.opening import KEY
from dosimeter.monitor.bench.child import BenchError
from dosimeter.monitor.bench.figures import Figure
from dosimeter.monitor.tlog.note import Signer, Verifier
from dosimeter.monitor.tlog.verify import verify
from dosimeter.monitor.tlog.writer import LogWriter

ENTRIES, SIZE = 500_000, 690
GO = "verify-go"
"""Built from deploy/audit/verify-go, where it is on the PATH."""


def figures(entries: int = ENTRIES) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="dosimeter-log-") as name:
        folder = Path(name)
        signer = Signer.generate("bench")
        write_log(folder / "log", signer, entries)
        ours = _rate(entries, lambda: _ours(folder / "log", signer.verifier))
        go = shutil.which(GO)
        other = (
            None
            if go is None
            else _rate(entries, lambda: _go(go, folder / "log", signer.verifier.vkey))
        )
    return [
        Figure("verify, the log: entries", entries, ""),
        Figure("verify, the log", ours, "entries/s", ">= 150000"),
        Figure("verify, the log, by Go's checksum database", other, "entries/s", ">= 150000"),
    ]  # fmt: skip


def write_log(folder: Path, signer: Signer, entries: int) -> None:
    """Of entries that say nothing, each as long as an alert's."""
    part = 1 << 14
    with LogWriter(folder, signer) as writer:
        for first in range(0, entries, part):
            past = min(first + part, entries)
            writer.append(first, [b"{}".ljust(SIZE)] * (past - first))
            writer.checkpoint()


def with_store(folder: HistoryFolder, entries: int) -> float:
    """Entries a second, log and store compared."""
    verifier = Verifier.parse((folder.log / KEY).read_text())

    def check() -> None:
        with HotStore(folder.hot, read_only=True) as hot:
            if not verify_history(folder, hot, verifier, now_ns=time.time_ns()).ok:
                raise BenchError(f"{folder.root}: does not verify")

    return _rate(entries, check)


def _ours(folder: Path, verifier: Verifier) -> None:
    found = verify(folder, verifier)
    if not found.ok:
        raise BenchError(f"{folder}: does not verify: {found.findings[0]}")


def _go(program: str, folder: Path, vkey: str) -> None:
    subprocess.run([program, str(folder), vkey], check=True, capture_output=True)


def _rate(entries: int, work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return entries / (time.perf_counter() - began)
