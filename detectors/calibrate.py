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
from dosimeter.detectors.placement import (
    Certificate,
    NotEnough,
    Placement,
    certify,
    place_blended,
    place_fixed,
    place_share,
)
from dosimeter.detectors.shapes import (
    NEVER,
    Ints,
    Stream,
    token_statistics,
    unit_statistics,
    units_of,
)

__all__ = ["Calibration", "Certificate", "NotCalibrated", "NotEnough", "Placement"]

VERSION = 2
EVERYWHERE = "all"
"""The route of requests of which nobody said one."""
MAX_ROUTES = 1000
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
    routes           names, and route_of uint16 [A]: which of them each request came by
    labelled         True: somebody said that these requests are benign. False: traffic as it came, so that a
                     level is a share of all alerts; of benign requests at most that / (1 - prevalence) fire
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
    routes: tuple[str, ...] = (EVERYWHERE,)
    route_of: npt.NDArray[np.uint16] | None = None
    labelled: bool = True
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        if self.route_of is None:
            object.__setattr__(self, "route_of", np.zeros(max(0, len(self.offsets) - 1), np.uint16))
        _check(self)
        for array in (self.codes, self.offsets, self.scopes, self.by_route):
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
        routes: Sequence[str] | None = None,
        labelled: bool = True,
    ) -> Calibration:
        """From one (codes int16 [T, F], scopes uint8 [T]) a request, columns as in the bank; routes: one a request."""
        pairs = list(requests)
        lengths = [len(scopes) for _, scopes in pairs]
        empty = np.zeros((0, len(columns)), dtype=np.int16)
        names = sorted(set(routes)) if routes else [EVERYWHERE]
        if len(names) > MAX_ROUTES:
            hint = "a route is a part of the traffic, and not a request of it"
            raise InputError.at("calibration", f"{len(names)} routes, at most {MAX_ROUTES}", hint)
        number = {name: i for i, name in enumerate(names)}
        of = [number[r] for r in routes] if routes is not None else [0] * len(pairs)
        return cls(
            features=tuple(c.feature for c in columns),
            packs=tuple(c.pack for c in columns),
            codes=np.concatenate([empty, *(codes for codes, _ in pairs)]),
            offsets=np.cumsum([0, *lengths], dtype=np.int64),
            scopes=np.concatenate([np.zeros(0, np.uint8), *(scopes for _, scopes in pairs)]),
            corpus=corpus,
            date=date,
            answers_per_day=answers_per_day,
            routes=tuple(names),
            route_of=np.array(of, dtype=np.uint16),
            labelled=labelled,
        )

    @property
    def by_route(self) -> npt.NDArray[np.uint16]:
        """uint16 [A], always there."""
        assert self.route_of is not None  # filled in when it was made
        return self.route_of

    @property
    def requests(self) -> int:
        return len(self.offsets) - 1

    def stream(self, feature: str) -> Stream:
        """Raises NotCalibrated."""
        if feature not in self.features:
            raise NotCalibrated(feature, self.features)
        column = self.features.index(feature)
        return Stream(self.codes[:, column], self.offsets, self.scopes)

    def place(
        self, level: Level, feature: str, scope: Scope, shape: Shape, route: str | None = None
    ) -> Placement:
        """The smallest threshold that at most the level's share of benign units exceeds.

        route: of this route's units, shrunk to the pool where they are few; None: of all.
        Raises NotCalibrated, LevelError (noun and scope or shape disagree; a daily level without
        the traffic's volume, or of one route; an unknown route) and NotEnough (fewer than 10 expected
        exceedances).
        """
        level.check(scope, shape)
        stream = self.stream(feature)
        if route is not None and level.noun in ("tokens", "day"):
            raise LevelError(
                f"level `{level.text}` cannot be placed on one route", "count answers or messages"
            )
        if level.noun == "tokens":
            return _place_tokens(level, feature, stream, scope, shape)
        noun = "messages" if scope is Scope.MESSAGE else "answers"
        values = unit_statistics(stream, scope, shape)
        if level.noun == "z":
            return place_fixed(level.z_code(), noun, values)
        base, every = len(values), level.value
        what = _what(level, feature, scope)
        if level.noun == "day":
            base, every = self.requests, self._answers_per_day(level) / level.value
            if every <= 1:
                raise LevelError(
                    f"level `{level.text}` lets every answer fire: a day has {self.answers_per_day}",
                    "write fewer a day",
                )
        if route is not None:
            own = values[self._on(route)[units_of(stream, scope)]]
            return self._honest(
                place_blended(what, noun, own, values, every, len(own), len(values))
            )
        return self._honest(place_share(what, noun, values, every, base))

    def certify(
        self, level: Level, feature: str, scope: Scope, shape: Shape, route: str | None = None
    ) -> Certificate:
        """Whether the level can be promised, not only placed, on this route or on all traffic.

        Raises NotCalibrated and LevelError; a level of tokens, of a day or in z is none of a share of units.
        """
        level.check(scope, shape)
        if level.noun not in ("answers", "messages"):
            raise LevelError(
                f"level `{level.text}` cannot be certified", "count answers or messages"
            )
        stream = self.stream(feature)
        values = unit_statistics(stream, scope, shape)
        if route is not None:
            values = values[self._on(route)[units_of(stream, scope)]]
        return certify(level.noun, values, level.value)

    def label_first(
        self, feature: str, scope: Scope, shape: Shape, count: int = 200
    ) -> list[tuple[int, int]]:
        """(request, statistic) of those that can exceed a threshold and a person should look at first: the highest.

        What lies above any level decides its precision, and one false exceedance less certifies it.
        """
        stream = self.stream(feature)
        values, requests = unit_statistics(stream, scope, shape), units_of(stream, scope)
        first = np.argsort(-values, kind="stable")[:count]
        return [(int(requests[i]), int(values[i])) for i in first if values[i] != NEVER]

    def _on(self, route: str) -> npt.NDArray[np.bool_]:
        """bool [A]: the requests of a route."""
        if route not in self.routes:
            raise LevelError(f"route `{route}` is not calibrated", hint_for(route, self.routes))
        return np.asarray(self.by_route == self.routes.index(route))

    def _honest(self, placed: Placement) -> Placement:
        """Unlabelled traffic holds alerts that are right: the level then bounds alerts, not mistakes."""
        if self.labelled:
            return placed
        said = "placed on unlabelled traffic: a share of alerts, of which some are right"
        return replace(placed, warnings=(*placed.warnings, said))

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
            "labelled": self.labelled,
            "routes": list(self.routes),
            "requests": self.requests,
            "tokens": len(self.codes),
            "columns": [
                {"feature": feature, "pack": pack}
                for feature, pack in zip(self.features, self.packs, strict=True)
            ],
        }

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        return {
            "codes": self.codes,
            "offsets": self.offsets,
            "scopes": self.scopes,
            "routes": self.by_route,
        }

    def save(self, folder: Path) -> str:
        """Write `card.yaml` and `streams.safetensors`; returns the digest."""
        write_artefact(folder, self.card(), STREAMS, self.tensors())
        return self.digest

    @classmethod
    def load(cls, folder: Path) -> Calibration:
        """Read a folder that nobody vouches for. Raises InputError."""
        artefact = read_artefact(folder, STREAMS, MAX_BYTES)
        card = Fields(artefact.card)
        version = card.integer("version", 0, 1 << 30)
        if version != VERSION:
            raise InputError.at(
                card.at("version"),
                f"calibration format {version}, this build reads {VERSION}",
                "calibrate again: `dosimeter detectors calibrate`",
            )
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
        labelled = card.boolean("labelled")
        routes = card.texts("routes")
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
            routes=routes,
            route_of=tensor(artefact, "routes", np.uint16, (requests,)),
            labelled=labelled,
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
    if not 1 <= len(c.routes) <= MAX_ROUTES or len(set(c.routes)) != len(c.routes):
        raise InputError.at(place, f"1 to {MAX_ROUTES} routes, each named once")
    of = c.by_route
    if of.dtype != np.uint16 or of.shape != (len(ends) - 1,) or (of >= len(c.routes)).any():
        raise InputError.at(place, "routes uint16 [A], each one of those named")
    if len(c.scopes) and int(c.scopes.max()) > max(Scope):
        raise InputError.at(place, f"scope {int(c.scopes.max())} is not known")
    try:
        datetime.date.fromisoformat(c.date)
    except ValueError:
        raise InputError.at(place, f"date `{c.date[:20]}` is not an ISO day") from None
