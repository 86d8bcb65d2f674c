"""Texts read and judged: every feature's score, and the share of ordinary texts that score as high.

A text speaks by the highest mean of a window of tokens, a shorter one by its mean, and so does every ordinary text
of the calibration: a level is a share of all of them. What the scores are made of is the reader's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.examples import Example
from dosimeter.detectors.findings import InputError
from dosimeter.detectors.frames import CODES_PER_SD, Scope, to_codes
from dosimeter.detectors.levels import Level, LevelError, Shape
from dosimeter.detectors.pack import bind, load_pack
from dosimeter.detectors.placement import place_share
from dosimeter.detectors.shapes import NEVER, Ints, Stream, unit_statistics
from dosimeter.monitor.sources.reader import Reader, reader_folder

HERE = Path(__file__).parent
PACK, CALIBRATION = HERE / "packs" / "core", HERE / "calibration"
MAX_AVERAGE = 65_536
SCOPE = Scope.ANSWER
"""A lone text stands for an answer: for whoever wrote it."""


@dataclass(frozen=True, slots=True)
class Score:
    """value, threshold: sd · rank: share of ordinary texts that reach the value · verdict: of the pack's evidence."""

    feature: str
    value: float
    threshold: float
    fires: bool
    rank: float
    verdict: str


@dataclass(frozen=True, slots=True)
class Reading:
    """One text. scores: highest rank first · pieces: by feature, (text, score in sd) of every token."""

    name: str
    tokens: int
    cut: bool
    shape: str
    scores: tuple[Score, ...]
    pieces: dict[str, list[tuple[str, float]]]

    def as_json(self, explain: bool) -> dict[str, Any]:
        found = {
            "name": self.name,
            "reads": "reader",
            "tokens": self.tokens,
            "cut": self.cut,
            "shape": self.shape,
            "scores": [asdict(score) for score in self.scores],
        }
        return found | ({"pieces": self.pieces} if explain else {})


def read_texts(
    texts: Sequence[tuple[str, Example]],
    level: str,
    pack_folder: Path | None = None,
    calibration_folder: Path | None = None,
    only: Sequence[str] = (),
    average: int | None = None,
) -> Iterator[Reading]:
    """In the order given. average: tokens of the mean that speaks for a text; None: the reader's window.

    Raises NoReader, InputError, LevelError, NotEnough.
    """
    wanted = Level.parse(level)
    pack = load_pack(pack_folder or PACK)
    calibration = Calibration.load(calibration_folder or CALIBRATION)
    if wrong := set(only) - set(pack.features):
        raise InputError.at(
            f"pack {pack.name}", f"does not score {', '.join(sorted(wrong))}",
            f"it scores {', '.join(pack.features)}",
        )  # fmt: skip
    subject = Reader(reader_folder())
    if differences := bind(pack, subject.identity):
        raise InputError.at(f"pack {pack.name}", "; ".join(differences))
    if pack.digest not in calibration.packs:
        raise InputError.at(
            calibration_folder or CALIBRATION, "was made with another pack", "calibrate again"
        )
    features = only or pack.features
    window = average or subject.window or 1
    if not 1 <= window <= MAX_AVERAGE:
        raise InputError.at("--average", f"`{window}` tokens", f"from 1 to {MAX_AVERAGE}")
    wanted.check(SCOPE, Shape("average", window))
    if wanted.noun != "answers":
        raise LevelError(f"level `{wanted.text}` is of no share of texts", "write `1 in N answers`")
    ordinary = {f: spoken(calibration.stream(f), window) for f in features}
    placed = {
        f: place_share(f"`{wanted.text}` of `{f}`", "answers", v, wanted.value, len(v)).threshold
        for f, v in ordinary.items()
    }
    for name, example in texts:
        tokens = subject.tokens(example, SCOPE)
        ((_, scores),) = subject.scores([tokens], [pack], lambda done, of: None)
        codes = to_codes(scores)
        pieces = subject.slices(example.words)
        judged = []
        for feature in features:
            column = pack.features.index(feature)
            scopes = np.full(len(codes), SCOPE, np.uint8)
            mine = Stream(codes[:, column], np.array([0, len(codes)]), scopes)
            value = int(spoken(mine, window)[0])
            judged.append(
                Score(
                    feature,
                    round(value / CODES_PER_SD, 3),
                    round(placed[feature] / CODES_PER_SD, 3),
                    value > placed[feature],
                    float((ordinary[feature] >= value).mean()),
                    str(pack.notes[column].metrics.get("verdict", "uncalibrated")),
                )
            )
        yield Reading(
            name,
            len(codes),
            tokens.cut,
            f"the highest mean of {window} tokens" if len(codes) >= window else "its mean",
            tuple(sorted(judged, key=lambda score: (score.rank, -score.value))),
            {
                feature: [
                    (piece, round(float(value), 2))
                    for piece, value in zip(
                        pieces, scores[:, pack.features.index(feature)], strict=True
                    )
                ]
                for feature in features
            },
        )


def spoken(stream: Stream, window: int) -> Ints:
    """int64 [U]: what speaks for each text: the highest mean of `window` tokens, or its mean where it is shorter."""
    long = unit_statistics(stream, SCOPE, Shape("average", window))
    return np.where(long > NEVER, long, unit_statistics(stream, SCOPE, Shape("average_scope")))
