"""The three shapes that travel along the line: fields, dtypes and nothing else.

A `StepFrame` is what a tap emits for one engine step of the server; a `ScoreFrame` is the same rows
after `join` has found their request and their scope; an `ActivationFrame` exists only where
activations may be read: fit, capture, replay. Axes: T tokens, D hidden, L layers, F features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

CODES_PER_SD = 256
"""One score code is 1/256 of a benign standard deviation (DESIGN: score, code)."""

CODE_MAX = 32767
CODE_UNSCORED = -32768
"""Reserved: the activation was not finite, so this (token, feature) has no score. Never a value."""

Codes = npt.NDArray[np.int16]


class Scope(IntEnum):
    """Whose tokens. `history` is earlier turns resent by the client: scored, fires nothing."""

    SYSTEM = 0
    HISTORY = 1
    MESSAGE = 2
    ANSWER = 3
    REASONING = 4
    TOOL = 5


ROWS = np.dtype(
    [
        ("key", "<u8"),  # request, minted by the tap; never a client's id
        ("start", "<u4"),  # position of the first row in its sequence
        ("n", "<u4"),  # rows; consecutive positions
        ("cached", "<u4"),  # with ROW_FIRST: positions of the key that have no score, never run
        ("flags", "<u4"),  # ROW_FIRST, ROW_REUSED
    ]
)
"""Entries of a step in the order their rows stand in `codes`: one a request, more where rows are reused."""

ROW_FIRST = 1
"""The first rows of this key."""
ROW_REUSED = 2
"""The server took these positions from its prefix cache: the codes are those the same tokens had before."""

SEGMENTS = np.dtype([("key", "<u8"), ("start", "<i8"), ("n", "<i8"), ("scope", "u1")])
"""Like ROWS, after join: cut at scope boundaries, so a segment has one scope."""


@dataclass(frozen=True, slots=True)
class StepFrame:
    """One engine step of the server, as the tap saw it.

    rows   ROWS [R]       sum(rows["n"]) == T
    codes  int16 [T, F]   1/256 benign sd; columns in the order of the bank
    """

    rows: npt.NDArray[np.void]
    codes: Codes
    hook_ns: int  # CLOCK_MONOTONIC when the last hook of the step returned
    time_ns: int  # wall clock at the same moment


@dataclass(frozen=True, slots=True)
class ScoreFrame:
    """The rows of one step, each with its request and scope: what `Engine.step` consumes.

    segments  SEGMENTS [S]   sum(segments["n"]) == T
    codes     int16 [T, F]
    """

    segments: npt.NDArray[np.void]
    codes: Codes
    hook_ns: int
    time_ns: int


@dataclass(frozen=True, slots=True)
class ActivationFrame:
    """Residual stream after each tapped block. hidden: float32 [L, T, D]; layers: [L] blocks."""

    hidden: npt.NDArray[np.float32]
    layers: tuple[int, ...]


def to_codes(scores: npt.NDArray[np.floating]) -> Codes:
    """float [T, F] in benign sd -> int16 [T, F], rounded half to even and saturated.

    Not finite -> CODE_UNSCORED.
    """
    scaled = np.asarray(scores, dtype=np.float32) * np.float32(CODES_PER_SD)
    np.rint(scaled, out=scaled)
    # One pass where all is well. What overflows a square is looked at like what is not finite.
    unscored = None if math.isfinite(np.vdot(scaled, scaled)) else ~np.isfinite(scaled)
    if unscored is not None:
        scaled[unscored] = 0
    np.maximum(scaled, -CODE_MAX, out=scaled)
    np.minimum(scaled, CODE_MAX, out=scaled)
    codes = scaled.astype(np.int16)
    if unscored is not None:
        codes[unscored] = CODE_UNSCORED
    return codes
