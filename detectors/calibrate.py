"""`Calibration`: benign score streams of some traffic, and what any level means on it.

A separate artefact from the pack, re-made without touching it. A threshold is placed as the
quantile of the shape's own statistic over benign units (answers, messages, tokens), in whole codes,
ties on the quiet side; too few units is an answer, not a guess. It never learns where the streams
came from, nor about rules.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.artefact import digest_of, read_artefact, tensor, write_artefact
from dosimeter.detectors.bank import Column
from dosimeter.detectors.fields import HEX64, NAME, Fields
from dosimeter.detectors.findings import InputError, hint_for
from dosimeter.detectors.frames import Codes, Scope
from dosimeter.detectors.levels import Level, LevelError, Shape
from dosimeter.detectors.placement import NotEnough, Placement, place_fixed, place_share
from dosimeter.detectors.shapes import Ints, Stream, token_statistics, unit_statistics

__all__ = ["Calibration", "NotCalibrated", "NotEnough", "Placement"]

VERSION = 1
STREAMS = "streams.safetensors"
MAX_BYTES = 4 << 30


class NotCalibrated(LookupError):
    """The calibration has no stream of this feature: a probe without one may not alert."""

    def __init__(self, feature: str, known: Sequence[str]) -> None:
        super().__init__(
            f"feature `{feature}` is not calibrated on this traffic: it may not alert\n"
            f"  hint: calibrate its pack; {hint_for(feature, known)}"
        )
        self.feature = feature


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Benign streams, read-only.

    features         [F]            one a column of codes
    packs            [F]            digest of the pack behind each column
    codes            int16 [T, F]   CODE_UNSCORED where a token has no score
    offsets          int64 [A + 1]  request a is tokens offsets[a] up to offsets[a + 1]
    scopes           uint8 [T]      Scope of each token
    corpus           what the traffic was, in words · date: ISO day, an argument and never the clock
    answers_per_day  requests a day on the traffic this stands for; None where nobody knows
    """

    features: tuple[str, ...]
    packs: tuple[str, ...]
    codes: Codes
    offsets: Ints
    scopes: npt.NDArray[np.uint8]
    corpus: str
    date: str
    answers_per_day: int | None = None
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        _check(self)
        for array in (self.codes, self.offsets, self.scopes):
            array.setflags(write=False)
        object.__setattr__(self, "digest", digest_of(self.card(), self.tensors()))

    @classmethod
    def from_requests(
        cls,
        columns: Sequence[Column],
        requests: Iterable[tuple[Codes, npt.NDArray[np.uint8]]],
        *,
        corpus: str,
        date: str,
        answers_per_day: int | None = None,
    ) -> Calibration:
        """From one (codes int16 [T, F], scopes uint8 [T]) a request, columns as in the bank."""
        pairs = list(requests)
        lengths = [len(scopes) for _, scopes in pairs]
        empty = np.zeros((0, len(columns)), dtype=np.int16)
        return cls(
            features=tuple(c.feature for c in columns),
            packs=tuple(c.pack for c in columns),
            codes=np.concatenate([empty, *(codes for codes, _ in pairs)]),
            offsets=np.cumsum([0, *lengths], dtype=np.int64),
            scopes=np.concatenate([np.zeros(0, np.uint8), *(scopes for _, scopes in pairs)]),
            corpus=corpus,
            date=date,
            answers_per_day=answers_per_day,
        )

    @property
    def requests(self) -> int:
        return len(self.offsets) - 1

    def stream(self, feature: str) -> Stream:
        """Raises NotCalibrated."""
        if feature not in self.features:
            raise NotCalibrated(feature, self.features)
        column = self.features.index(feature)
        return Stream(self.codes[:, column], self.offsets, self.scopes)

    def place(self, level: Level, feature: str, scope: Scope, shape: Shape) -> Placement:
        """The smallest threshold that at most the level's share of benign units exceeds.

        Raises NotCalibrated, LevelError (noun and scope or shape disagree; a daily level without
        the traffic's volume) and NotEnough (fewer than 10 expected exceedances).
        """
        level.check(scope, shape)
        stream = self.stream(feature)
        if level.noun == "tokens":
            return _place_tokens(level, feature, stream, scope, shape)
        noun = "messages" if scope is Scope.MESSAGE else "answers"
        values = unit_statistics(stream, scope, shape)
        if level.noun == "z":
            return place_fixed(level.z_code(), noun, values)
        base, every = len(values), level.value
        if level.noun == "day":
            base, every = self.requests, self._answers_per_day(level) / level.value
        return place_share(_what(level, feature, scope), noun, values, every, base)

    def _answers_per_day(self, level: Level) -> Fraction:
        if self.answers_per_day is None:
            raise LevelError(
                f"level `{level.text}` needs the traffic's volume, which this calibration lacks",
                "calibrate with the answers a day, or write `1 in N answers`",
            )
        return Fraction(self.answers_per_day)

    def card(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "corpus": self.corpus,
            "date": self.date,
            "answers_per_day": self.answers_per_day,
            "requests": self.requests,
            "tokens": len(self.codes),
            "columns": [
                {"feature": feature, "pack": pack}
                for feature, pack in zip(self.features, self.packs, strict=True)
            ],
        }

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        return {"codes": self.codes, "offsets": self.offsets, "scopes": self.scopes}

    def save(self, folder: Path) -> str:
        """Write `card.yaml` and `streams.safetensors`; returns the digest."""
        write_artefact(folder, self.card(), STREAMS, self.tensors())
        return self.digest

    @classmethod
    def load(cls, folder: Path) -> Calibration:
        """Read a folder that nobody vouches for. Raises InputError."""
        artefact = read_artefact(folder, STREAMS, MAX_BYTES)
        card = Fields(artefact.card)
        card.integer("version", VERSION, VERSION)
        columns = card.sections("columns")
        features = tuple(c.text("feature", pattern=NAME) for c in columns)
        packs = tuple(c.text("pack", pattern=HEX64) for c in columns)
        for column in columns:
            column.done()
        requests = card.integer("requests", 0, 1 << 40)
        tokens = card.integer("tokens", 0, 1 << 40)
        corpus, date = card.text("corpus"), card.text("date")
        known = card.optional("answers_per_day")
        per_day = card.integer("answers_per_day", 1, 1 << 50) if known else None
        card.done()
        return cls(
            features=features,
            packs=packs,
            codes=tensor(artefact, "codes", np.int16, (tokens, len(features))),
            offsets=tensor(artefact, "offsets", np.int64, (requests + 1,)),
            scopes=tensor(artefact, "scopes", np.uint8, (tokens,)),
            corpus=corpus,
            date=date,
            answers_per_day=per_day,
        )


def _place_tokens(
    level: Level, feature: str, stream: Stream, scope: Scope, shape: Shape
) -> Placement:
    values = token_statistics(stream, scope, shape)
    what = _what(level, feature, scope)
    placement = place_share(what, "tokens", values, level.value, len(values))
    share = float((unit_statistics(stream, scope, shape) > placement.threshold).mean())
    warning = (
        f"`{level.text}` fires in {share:.1%} of the benign requests that have this scope; "
        "its bound takes neighbouring tokens for independent"
    )
    return replace(placement, warnings=(*placement.warnings, warning))


def _what(level: Level, feature: str, scope: Scope) -> str:
    return f"`{level.text}` of `{feature}` in scope `{scope.name.lower()}`"


def _check(c: Calibration) -> None:
    place = "calibration"
    tokens, columns = c.codes.shape if c.codes.ndim == 2 else (-1, -1)
    types = [array.dtype.str for array in (c.codes, c.offsets, c.scopes)]
    if types != ["<i2", "<i8", "|u1"] or c.scopes.shape != (tokens,):
        raise InputError.at(place, "codes int16 [T, F], offsets int64 [A + 1], scopes uint8 [T]")
    if not columns == len(c.features) == len(c.packs) or len(set(c.features)) != columns:
        raise InputError.at(place, "one feature, given once, and one pack digest a column")
    ends = c.offsets
    if ends.ndim != 1 or not len(ends) or ends[0] != 0 or ends[-1] != tokens:
        raise InputError.at(place, f"offsets must run from 0 to {tokens}")
    if (ends[1:] < ends[:-1]).any():  # a difference of two int64 may wrap around
        raise InputError.at(place, "offsets must not descend")
    if len(c.scopes) and int(c.scopes.max()) > max(Scope):
        raise InputError.at(place, f"scope {int(c.scopes.max())} is not known")
    try:
        datetime.date.fromisoformat(c.date)
    except ValueError:
        raise InputError.at(place, f"date `{c.date[:20]}` is not an ISO day") from None
