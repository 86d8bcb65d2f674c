"""A calibration out of the score archive: what a level means on the traffic that really came.

It takes the plain sample, one request in so many of all, whatever became of it, so no weights are needed. It is given
a folder and a time; what the calibration is used for it never learns. Nobody has looked at this traffic, so it is
unlabelled: a level bounds alerts, of which some are right.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.bank import Column
from dosimeter.detectors.calibrate import EVERYWHERE, Calibration
from dosimeter.detectors.fields import NAME
from dosimeter.detectors.findings import InputError, visible
from dosimeter.detectors.frames import CODE_UNSCORED, Codes
from dosimeter.monitor.history.archive_reader import Part, open_archive

DAY_NS = 86_400 * 10**9
Request = tuple[Codes, npt.NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class Taken:
    """requests: EPOCH/KEY of each in the calibration; broken: left out, for some of their tokens were lost;
    risky: left out, for somebody said that they are."""

    calibration: Calibration
    requests: tuple[str, ...]
    broken: int
    risky: int


def from_archive(
    folder: Path,
    *,
    date: str,
    since_ns: int | None = None,
    until_ns: int | None = None,
    risky: Collection[tuple[int, int]] = (),
    tell: Callable[[int, int], None] = lambda done, of: None,
) -> Taken:
    """The newest bank's plain sample, without `risky` ones (epoch, key). Raises InputError where there is none."""
    archive = open_archive(folder)
    files = [f for f in archive.files if f.within(since_ns, until_ns) and f.about.bank.columns]
    if not files:
        hint = "is `archive:` in the sidecar's file, and has it run in that time?"
        raise InputError.at(str(folder), "no scores of that time", hint)
    bank = max(files, key=lambda f: f.about.until_ns).about.bank
    odd = [feature for feature, _ in bank.columns if not NAME.fullmatch(feature)]
    if odd:  # no pack has such a name; names become those of files
        hint = "who else wrote to the topic, or to the socket, that these scores are of?"
        raise InputError.at(str(folder), f"scores of `{visible(odd[0])[:80]}`: no feature", hint)
    found: list[Request] = []
    names: list[str] = []
    routes: list[str] = []
    broken, left_out, first_ns, last_ns, stands_for = 0, 0, 1 << 63, 0, 0
    mine = [f for f in files if f.about.bank.columns == bank.columns]
    for done, file in enumerate(mine):
        tell(done, len(mine))
        one = type(archive)((file,))
        for part in one.parts([name for name, _ in bank.columns], since_ns, until_ns):
            broken += int((part.uniform & ~part.whole).sum())
            sample = part.only(part.uniform & part.whole)
            benign = _without(sample, risky)
            left_out += sample.requests - benign.requests
            sample = benign
            found += _requests(sample)
            names += [f"{e:016x}/{k:016x}" for e, k in zip(sample.epoch, sample.key, strict=True)]
            routes += [visible(sample.route.names[i]) or EVERYWHERE for i in sample.route.of]
            stands_for += part.requests and int(part.uniform.sum()) * part.about.one_in
            if part.requests:
                first_ns = min(first_ns, int(part.first_ns.min()))
                last_ns = max(last_ns, int(part.last_ns.max()))
    tell(len(mine), len(mine))
    if not found:
        raise InputError.at(str(folder), "the sample of that time is empty", "wait, or keep more")
    days = (last_ns - first_ns) / DAY_NS
    made = Calibration.from_requests(
        [Column(feature, pack, "archive") for feature, pack in bank.columns],
        found,
        corpus=f"score archive of {visible(bank.model)}, {len(found)} requests of about {stands_for}",
        date=date,
        answers_per_day=round(stands_for / days) if days >= 1 else None,
        routes=routes,
        labelled=False,
    )
    return Taken(made, tuple(names), broken, left_out)


def _without(part: Part, risky: Collection[tuple[int, int]]) -> Part:
    if not risky:
        return part
    each = zip(part.epoch.tolist(), part.key.tolist(), strict=True)
    return part.only(np.array([one not in risky for one in each], bool))


def _requests(part: Part) -> Iterator[Request]:
    """Each request's rows by position; where positions never came stands one without a score, which breaks windows."""
    runs = part.runs
    columns = np.column_stack(part.codes)
    ends = np.searchsorted(runs[:, 0], np.arange(part.requests), side="right")
    for request in range(part.requests):
        mine = runs[(ends[request - 1] if request else 0) : ends[request]]
        at, rows, scopes = int(part.offsets[request]), [], []
        expected = int(mine[0, 1]) if len(mine) else 0
        for _, start, n, scope in mine.tolist():
            if start > expected:
                rows.append(np.full((1, columns.shape[1]), CODE_UNSCORED, np.int16))
                scopes.append(np.array([scope], np.uint8))
            rows.append(columns[at : at + n])
            scopes.append(np.full(n, scope, np.uint8))
            at, expected = at + n, start + n
        yield np.concatenate(rows), np.concatenate(scopes)
