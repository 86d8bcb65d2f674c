"""Texts read and judged: every feature's score, and the share of ordinary texts that score as high.

A text as long as the reader's window fires by the highest mean of a window, a shorter one by its own mean; each
is a shape of the rule language, placed on the same calibration. What the scores are made of is the reader's.
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
from dosimeter.detectors.frames import CODES_PER_SD, Codes, Scope, to_codes
from dosimeter.detectors.levels import Level, Shape
from dosimeter.detectors.pack import Pack, bind, load_pack
from dosimeter.detectors.shapes import Stream, unit_statistics
from dosimeter.monitor.sources.reader import Reader, reader_folder

HERE = Path(__file__).parent
PACK, CALIBRATION = HERE / "packs" / "core", HERE / "calibration"
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
    for name, example in texts:
        tokens = subject.tokens(example, SCOPE)
        ((_, scores),) = subject.scores([tokens], [pack], lambda done, of: None)
        codes = to_codes(scores)
        window = average or subject.window or len(codes)
        shape = Shape("average", window) if len(codes) >= window else Shape("average_scope")
        judged = [_score(pack, calibration, wanted, feature, codes, shape) for feature in features]
        pieces = subject.slices(example.words)
        yield Reading(
            name,
            len(codes),
            tokens.cut,
            f"the highest mean of {window} tokens" if shape.kind == "average" else "its mean",
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


def _score(
    pack: Pack, calibration: Calibration, level: Level, feature: str, codes: Codes, shape: Shape
) -> Score:
    column = pack.features.index(feature)
    scopes = np.full(len(codes), SCOPE, np.uint8)
    mine = Stream(codes[:, column], np.array([0, len(codes)]), scopes)
    value = int(unit_statistics(mine, SCOPE, shape)[0])
    benign = unit_statistics(calibration.stream(feature), SCOPE, shape)
    placed = calibration.place(level, feature, SCOPE, shape)
    return Score(
        feature,
        round(value / CODES_PER_SD, 3),
        round(placed.threshold / CODES_PER_SD, 3),
        value > placed.threshold,
        float((benign >= value).mean()),
        str(pack.notes[column].metrics.get("verdict", "uncalibrated")),
    )
