"""What the kernel says of a process that is measured: its memory and its processor time. Linux alone.

It owns the reading of /proc and knows nothing of what the processes do.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

MIB = 1 << 20
LOOK_S = 0.1


def rss_mib(pid: int) -> float:
    """Resident, with what it shares with others."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


def pss_mib(pid: int) -> float:
    """Resident, of a page that n processes have an nth: the sum over all is what they take together."""
    found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
    return int(found[1]) / 1024 if found else 0.0


def cpu_s(pid: int) -> float:
    """User and system time of all its threads so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()


@dataclass
class Peak:
    """The most memory that each of some processes had, looked at from `with` to its end. pids: name -> pid."""

    pids: Mapping[str, int]
    before: dict[str, float] = field(default_factory=dict)
    most: dict[str, float] = field(default_factory=dict)

    def __enter__(self) -> Peak:
        self.before = {name: rss_mib(pid) for name, pid in self.pids.items()}
        self.most = dict(self.before)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="peak", daemon=True)
        self._thread.start()
        return self

    def _run(self) -> None:
        while not self._stop.wait(LOOK_S):
            self.look()

    def look(self) -> None:
        for name, pid in self.pids.items():
            self.most[name] = max(self.most[name], rss_mib(pid))

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.look()

    def grown(self, name: str) -> float:
        return self.most[name] - self.before[name]
