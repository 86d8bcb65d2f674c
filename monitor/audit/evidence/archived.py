"""One request out of the score archive, by its identity: what a stored alert is decided again on.

It owns how a request is found, and reads of each file what it needs to find it only once. Every request on which a
running rule fired is in the archive, until its file is pruned. What is decided on it: `reproduce.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from dosimeter.detectors.frames import Codes
from dosimeter.monitor.history.archive_folder import ArchiveFolder, uncovered
from dosimeter.monitor.history.archive_part import NotAPart, read_about

Ints = npt.NDArray[np.int64]

NEAR_NS = 86_400 * 10**9
"""An alert is dated at most so far from the tokens of its request, whatever the clocks: other files are left alone."""
PLAIN = ("whole", "tenant", "route", "program", "runs")


@dataclass(frozen=True, slots=True, eq=False)
class Archived:
    """One row of the archive.

    features  of each column of `codes`, int16 [T, F], one row a token that came
    runs      int64 [R, 3]: first position, tokens, Scope, in their order; what lies between two has no score
    whole     False: some of its tokens were lost on the way, or it began elsewhere
    vouched   labels that a gateway vouches for, as far as the archive keeps them
    """

    features: tuple[str, ...]
    codes: Codes
    runs: Ints
    program: str
    whole: bool
    vouched: Mapping[str, str] = field(default_factory=dict)


class ArchivedRequests:
    """The files that were there when it was made. folder: `archive` under the sidecar's data-dir."""

    def __init__(self, folder: Path) -> None:
        self._paths = tuple(part.path for part in uncovered(ArchiveFolder(folder).parts()))
        self._about = lru_cache(maxsize=None)(read_about)
        self._rows = lru_cache(maxsize=256)(_rows)
        self._table = lru_cache(maxsize=2)(_table)

    def find(self, epoch: int, key: int, event_id: str, time_ns: int) -> Archived | None:
        """The request of this identity, and of its parts, where it has several, that on which the alert of this id
        fired, or else its first. Raises NotAPart where it may lie in a file that cannot be read.
        """
        others: list[tuple[Path, int, int]] = []
        broken: NotAPart | None = None
        for path in self._paths:
            try:
                about = self._about(path)
                if not about.since_ns - NEAR_NS <= time_ns <= about.until_ns + NEAR_NS:
                    continue
                for group, row, fired in self._rows(path).get((epoch, key), ()):
                    if event_id in fired:
                        return self._read(path, group, row)
                    others.append((path, group, row))
            except FileNotFoundError:  # pruned meanwhile
                continue
            except NotAPart as error:
                broken = error
        if others:
            return self._read(*others[0])
        if broken is not None:
            raise broken
        return None

    def _read(self, path: Path, group: int, row: int) -> Archived:
        features = tuple(feature for feature, _ in self._about(path).bank.columns)
        one = self._table(path, group, len(features)).slice(row, 1).to_pylist()[0]
        codes = [_codes(one[f"low.{i}"], one[f"high.{i}"]) for i in range(len(features))]
        runs = np.frombuffer(one["runs"], "<i8").reshape(-1, 3)
        vouched = {name: one[name] for name in ("tenant", "route") if one[name]}
        stacked = np.column_stack(codes) if codes else np.zeros((0, 0), np.int16)
        return Archived(features, stacked, runs, one["program"], one["whole"], vouched)


Row = tuple[int, int, tuple[str, ...]]
"""Row group, row in it, event ids of what fired."""


def _rows(path: Path) -> dict[tuple[int, int], list[Row]]:
    """By epoch and key, the requests on which something fired."""
    found: dict[tuple[int, int], list[Row]] = {}
    with _open(path) as parquet:
        for group in range(parquet.num_row_groups):
            table = parquet.read_row_group(group, columns=["epoch", "key", "fired"])
            columns = [table[name].to_pylist() for name in ("epoch", "key", "fired")]
            for row, (epoch, key, fired) in enumerate(zip(*columns, strict=True)):
                if fired:
                    ids = tuple(one["event_id"] for one in fired)
                    found.setdefault((epoch, key), []).append((group, row, ids))
    return found


def _table(path: Path, group: int, features: int) -> Any:
    halves = [f"{half}.{i}" for i in range(features) for half in ("low", "high")]
    with _open(path) as parquet:
        return parquet.read_row_group(group, columns=[*PLAIN, *halves])


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    try:
        with pq.ParquetFile(path) as parquet:
            yield parquet
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise NotAPart(path, f"cannot be read: {error}") from None


def _codes(low: bytes, high: bytes) -> Codes:
    both = np.stack([np.frombuffer(half, np.uint8) for half in (low, high)], axis=1)
    return both.view("<i2").reshape(-1).astype(np.int16)
