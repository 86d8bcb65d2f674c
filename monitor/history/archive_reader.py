"""Reading the archive: row groups as numpy arrays, every request with its weight. For backtests and calibrations.

Nothing here loops over requests or tokens. It never decides what a score means, and holds one row group at a time; what
the archive writes meanwhile is seen when it is opened anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from dosimeter.monitor.history.archive_folder import ArchiveFolder, uncovered
from dosimeter.monitor.history.archive_part import (
    NAMES,
    About,
    Counts,
    add_counts,
    no_counts,
    read_about,
    reading,
)

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
PLAIN = ("epoch", "key", "first_ns", "last_ns", "tokens", "one_in", "stratum", "uniform", "whole")


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """One name a request: names[of[a]]."""

    names: tuple[str, ...]
    of: npt.NDArray[np.int32]

    def only(self, mask: Bools) -> Labels:
        return Labels(self.names, self.of[mask])


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The requests of one row group. A is requests, T tokens, R runs; a request's tokens stand together.

    codes     one int16 [T] for each feature that was asked for, in that order
    offsets   int64 [A + 1]   request a is tokens offsets[a] up to offsets[a + 1]
    runs      int64 [R, 4]    request, first position, tokens, Scope: neighbours in the sequence of one scope;
                              what lies between two runs of a request has no score
    one_in    int64 [A]       its weight: how many requests it stands for
    stratum   uint8 [A]       strata.Stratum
    uniform   bool [A]        together these are 1 request in `about.one_in` of all, whatever their stratum
    whole     bool [A]        False: some of its tokens were lost on the way into the archive
    served    int64 [A]       its tokens by the server's count, scored or not; -1 where nobody said
    epoch, key  uint64 [A]    its identity: of the server process, and within it
    first_ns, last_ns  int64 [A]  wall clock of its first and last token
    """

    about: About
    codes: tuple[npt.NDArray[np.int16], ...]
    offsets: Ints
    runs: Ints
    one_in: Ints
    stratum: npt.NDArray[np.uint8]
    uniform: Bools
    whole: Bools
    served: Ints
    epoch: npt.NDArray[np.uint64]
    key: npt.NDArray[np.uint64]
    first_ns: Ints
    last_ns: Ints
    tenant: Labels
    route: Labels
    program: Labels

    @property
    def requests(self) -> int:
        return len(self.offsets) - 1

    @property
    def tokens(self) -> int:
        return int(self.offsets[-1])

    def only(self, mask: Bools) -> Part:
        """The requests that `mask` [A] marks."""
        lengths = np.diff(self.offsets)
        rows = np.repeat(mask, lengths)
        renamed = np.cumsum(mask) - 1
        runs = self.runs[mask[self.runs[:, 0]]]
        runs[:, 0] = renamed[runs[:, 0]]
        return Part(
            about=self.about,
            codes=tuple(codes[rows] for codes in self.codes),
            offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths[mask])]),
            runs=runs,
            one_in=self.one_in[mask],
            stratum=self.stratum[mask],
            uniform=self.uniform[mask],
            whole=self.whole[mask],
            served=self.served[mask],
            epoch=self.epoch[mask],
            key=self.key[mask],
            first_ns=self.first_ns[mask],
            last_ns=self.last_ns[mask],
            tenant=self.tenant.only(mask),
            route=self.route.only(mask),
            program=self.program.only(mask),
        )


@dataclass(frozen=True)
class ArchiveFile:
    """One Parquet file."""

    path: Path
    day: str

    @cached_property
    def about(self) -> About:
        """Raises NotAPart."""
        return read_about(self.path)

    def within(self, since_ns: int | None, until_ns: int | None) -> bool:
        """Whether some of what is kept may have ended in that time."""
        after = since_ns is None or self.about.until_ns >= since_ns
        return after and (until_ns is None or self.about.since_ns < until_ns)

    def columns_of(self, features: Sequence[str]) -> list[int] | None:
        """None where one of them is not scored here."""
        known = [feature for feature, _ in self.about.bank.columns]
        return [known.index(f) for f in features] if set(features) <= set(known) else None


@dataclass(frozen=True)
class Archive:
    """What was there when it was opened."""

    files: tuple[ArchiveFile, ...]

    def counts(self) -> Counts:
        """How many requests and tokens there were a stratum, and how many are kept: exact, whatever was sampled."""
        total = no_counts()
        for file in self.files:
            add_counts(total, file.about.counts)
        return total

    def parts(
        self, features: Sequence[str], since_ns: int | None = None, until_ns: int | None = None
    ) -> Iterator[Part]:
        """Requests whose last token came since (inclusive) and until (exclusive), where all `features` are scored.

        Raises NotAPart.
        """
        for file in self.files:
            columns = file.columns_of(features)
            if columns is None or not file.within(since_ns, until_ns):
                continue
            with reading(file.path):
                opened = pq.ParquetFile(file.path, read_dictionary=list(NAMES), memory_map=True)
            with opened as parquet:
                for group in range(parquet.num_row_groups):
                    with reading(file.path):
                        part = _part(parquet, group, columns, file.about)
                    mask = _in_time(part, since_ns, until_ns)
                    if mask.all():
                        yield part
                    elif mask.any():
                        yield part.only(mask)


def open_archive(folder: Path) -> Archive:
    """folder: `archive` under the sidecar's data-dir. An empty one is an archive without files."""
    parts = uncovered(ArchiveFolder(folder).parts())
    return Archive(tuple(ArchiveFile(part.path, part.day) for part in parts))


def _in_time(part: Part, since_ns: int | None, until_ns: int | None) -> Bools:
    mask = np.ones(part.requests, bool)
    if since_ns is not None:
        mask &= part.last_ns >= since_ns
    if until_ns is not None:
        mask &= part.last_ns < until_ns
    return mask


def _part(parquet: Any, group: int, columns: Sequence[int], about: About) -> Part:
    halves = [f"{half}.{i}" for i in columns for half in ("low", "high")]
    wanted = [*PLAIN, "served", *NAMES, "runs", *halves]
    table = parquet.read_row_group(group, columns=wanted, use_threads=False).combine_chunks()
    plain: dict[str, Any] = {name: table[name].to_numpy() for name in PLAIN}
    labels: dict[str, Any] = {name: _labels(_only_chunk(table[name])) for name in NAMES}
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(plain.pop("tokens"))])
    codes = tuple(_codes(table, i, int(offsets[-1])) for i in columns)
    return Part(
        about=about,
        codes=codes,
        offsets=offsets,
        runs=_runs(_only_chunk(table["runs"])),
        served=table["served"].fill_null(-1).to_numpy(),
        **plain,
        **labels,
    )


def _codes(table: Any, column: int, tokens: int) -> npt.NDArray[np.int16]:
    """Low and high bytes of all requests, put together again."""
    both = np.empty((tokens, 2), np.uint8)
    for place, half in enumerate(("low", "high")):
        both[:, place] = _bytes(_only_chunk(table[f"{half}.{column}"]))
    return both.view("<i2").reshape(-1)


def _only_chunk(column: Any) -> Any:
    return column.chunk(0)


def _bytes(array: Any) -> npt.NDArray[np.uint8]:
    """The values of a binary column behind each other."""
    _, offsets, data = array.buffers()
    bounds = np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1]
    if data is None:
        return np.empty(0, np.uint8)
    return np.frombuffer(data, np.uint8)[bounds[0] : bounds[-1]]


def _runs(array: Any) -> Ints:
    bounds = np.frombuffer(array.buffers()[1], np.int32)
    bounds = bounds[array.offset : array.offset + len(array) + 1]
    runs = np.frombuffer(_bytes(array), "<i8").reshape(-1, 3)
    of = np.repeat(np.arange(len(array)), np.diff(bounds) // 24)
    return np.column_stack([of, runs])


def _labels(array: Any) -> Labels:
    names = tuple(str(name) for name in array.dictionary.to_pylist())
    return Labels(names, array.indices.to_numpy().astype(np.int32, copy=False))
