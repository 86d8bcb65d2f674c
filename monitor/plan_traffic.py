"""The requests a plan is made on, out of the archive of scores: codes, weights and labels, a row group at a time.

It owns which files can be read together: those of the bank that scored last. It never learns what a rule is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dosimeter.detectors.findings import InputError
from dosimeter.monitor.history.archive_part import NotAPart
from dosimeter.monitor.history.archive_reader import Archive, open_archive
from dosimeter.monitor.records import Column
from dosimeter.rules.planning.reach import Requests

DAY_NS = 86_400 * 1_000_000_000


@dataclass(frozen=True)
class Stored:
    """Iterated, it reads the archive again.

    columns   of the bank, with their packs; model: what it is bound to
    features  those that are read
    other     files of other banks, left out
    days      from the first kept token to the last
    per_day   requests a day, those included that were not kept
    hours     share of the requests in each hour of UTC
    """

    archive: Archive
    columns: tuple[Column, ...]
    model: str
    features: tuple[str, ...]
    other: int
    requests: int
    days: float
    per_day: float
    hours: tuple[float, ...]

    def __iter__(self) -> Iterator[Requests]:
        for part in self.archive.parts(self.features):
            pairs = zip(part.epoch.tolist(), part.key.tolist(), strict=True)
            yield Requests(
                ids=tuple(f"{epoch:016x}/{key:016x}" for epoch, key in pairs),
                weights=part.one_in.astype(np.float64),
                codes=dict(zip(self.features, part.codes, strict=True)),
                runs=part.runs,
                labels={"tenant": part.tenant, "route": part.route},
            )


def stored(folder: Path, wanted: Collection[str]) -> Stored:
    """wanted: features that rules read; those that the bank has not are left out. Raises InputError."""
    archive = open_archive(folder)
    if not archive.files:
        hint = (
            "name the folder `archive` under the sidecar's data-dir; `dosimeter archive` fills it"
        )
        raise InputError.at(folder, "no archive of scores", hint)
    try:
        bank = max(archive.files, key=lambda file: file.about.until_ns).about.bank
        files = tuple(file for file in archive.files if file.about.bank.digest == bank.digest)
        features = tuple(name for name, _ in bank.columns if name in wanted)
        weights, times = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for part in Archive(files).parts(()):
            weights.append(part.one_in)
            times.append(part.last_ns)
    except NotAPart as error:
        raise InputError.at(folder, str(error)) from None
    weight, time = np.concatenate(weights), np.concatenate(times)
    if not len(weight):
        raise InputError.at(folder, "no request in the archive", "wait for traffic")
    days = float(time.max() - time.min()) / DAY_NS
    hour = np.bincount(time % DAY_NS * 24 // DAY_NS, weight, minlength=24)
    return Stored(
        archive=Archive(files),
        columns=tuple(Column(name, pack, "") for name, pack in bank.columns),
        model=bank.model,
        features=features,
        other=len(archive.files) - len(files),
        requests=len(weight),
        days=days,
        per_day=float(weight.sum()) / days if days else 0.0,
        hours=tuple((hour / hour.sum()).tolist()),
    )
