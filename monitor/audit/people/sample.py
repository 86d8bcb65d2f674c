"""Requests on which nothing fired, a few a day at random: what alone can say what the rules miss.

Owns the draw: out of what the archive keeps of a day, by weight and without repetition, so that all requests of that
day had the same chance, and the same ones for everybody who asks. It never learns what a reviewer says of them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dosimeter.monitor.history.archive_reader import Part, open_archive
from dosimeter.monitor.history.strata import Stratum

DAY_NS = 86_400 * 10**9
Words = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Sampled:
    """A request of the queue. one_in: how many quiet ones of its day it stands for; an empty name is none."""

    epoch: int
    key: int
    tenant: str
    route: str
    time_ns: int
    one_in: int

    @property
    def request(self) -> str:
        """As labels name it."""
        return f"{self.epoch:016x}/{self.key:016x}"


def queue_sample(folder: Path, day: date, seed: str, n: int) -> list[Sampled]:
    """n requests that ended on that day (UTC), or as many as there are. folder: `archive` under a data-dir.

    seed: of this history, such as its store id. What the archive takes in later can still change the draw of a day.
    """
    first = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 10**9
    draw = np.frombuffer(hashlib.sha256(f"{day.isoformat()} {seed}".encode()).digest(), "<u8")
    found: list[tuple[float, str, Sampled]] = []
    weight = 0
    for part in open_archive(folder).parts([], first, first + DAY_NS):
        quiet = part.only(part.stratum != Stratum.FLAGGED)
        weight += int(quiet.one_in.sum())
        ranks = _ranks(draw, quiet)
        best = np.argsort(ranks, kind="stable")[:n]
        each = [(float(ranks[at]), _one(quiet, int(at))) for at in best]
        found += [(rank, one.request, one) for rank, one in each]
    drawn = [one for *_, one in sorted(found, key=lambda each: each[:2])[:n]]
    return [replace(one, one_in=max(1, round(weight / len(drawn)))) for one in drawn]


def _one(part: Part, at: int) -> Sampled:
    return Sampled(
        int(part.epoch[at]),
        int(part.key[at]),
        part.tenant.names[part.tenant.of[at]],
        part.route.names[part.route.of[at]],
        int(part.last_ns[at]),
        int(part.one_in[at]),
    )


def _ranks(draw: Words, part: Part) -> npt.NDArray[np.float64]:
    """Exponential with the weight as its rate: the smallest n are a sample by weight (Efraimidis and Spirakis 2006)."""
    mixed = _mixed(_mixed(part.epoch + draw[0]) ^ (part.key + draw[1]))
    uniform = ((mixed >> np.uint64(11)).astype(np.float64) + 0.5) / 2**53
    return np.asarray(-np.log(uniform) / part.one_in)


def _mixed(words: Words) -> Words:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014); wraps around."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
