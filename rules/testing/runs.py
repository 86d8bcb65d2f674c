"""How the tests of a rule write many scores on one line: `3.2*20 ?*3 0..4*10`.

Owns that notation, both ways. A run is a value in benign sd (`?`: not scored) and how many tokens have it; `0..4*10` is
a straight line from 0 to 4 over ten. It never learns which feature or scope they are of.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache

import numpy as np

from dosimeter.detectors.frames import CODE_MAX, CODE_UNSCORED, CODES_PER_SD, Codes

MAX_TOKENS = 100_000

_NUMBER = r"-?[0-9]{1,3}(?:\.[0-9]{1,4})?"
_RUN = re.compile(
    rf"(?:(?P<value>{_NUMBER})(?:\.\.(?P<to>{_NUMBER}))?|\?)(?:\*(?P<n>[0-9]{{1,9}}))?"
)
FORM = "write `3.2*20` for 20 tokens at 3.2 sd, `?*3` for 3 not scored, `0..4*10` for a ramp"


class RunError(ValueError):
    """A run that cannot be. message, hint; offset: its first character, from 0."""

    def __init__(self, message: str, hint: str, offset: int) -> None:
        super().__init__(f"{message}\n  hint: {hint}")
        self.message, self.hint, self.offset = message, hint, offset


def read_runs(text: str) -> Codes:
    """int16 [T]. Raises RunError at the first run that is wrong."""
    found = [np.zeros(0, np.int16)]
    left = MAX_TOKENS
    for word in re.finditer(r"\S+", text):
        run = _run(word[0], word.start(), left)
        left -= len(run)
        found.append(run)
    return np.concatenate(found)


def _run(word: str, offset: int, left: int) -> Codes:
    """left: how many tokens it may have."""
    match = _RUN.fullmatch(word)
    if match is None:
        raise RunError(f"`{word[:40]}` is no run of scores", FORM, offset)
    n = 1 if match["n"] is None else int(match["n"])
    if n < 1:
        raise RunError(f"`{word[:40]}` has no token", FORM, offset)
    if n > left:
        hint = f"at most {MAX_TOKENS} in a stream"
        raise RunError(f"`{word[:40]}` makes too many tokens", hint, offset)
    if match["value"] is None:
        return np.full(n, CODE_UNSCORED, np.int16)
    first = Fraction(match["value"])
    last = first if match["to"] is None else Fraction(match["to"])
    if max(abs(code_of(first)), abs(code_of(last))) > CODE_MAX:
        hint = f"|z| is below {(CODE_MAX + 1) // CODES_PER_SD}"
        raise RunError(f"`{word[:40]}` is outside what a code can hold", hint, offset)
    if match["to"] is not None and n < 2:
        raise RunError(f"`{word[:40]}` is a ramp of 1 token", FORM, offset)
    if first == last:
        return np.full(n, code_of(first), np.int16)
    step = (last - first) / (n - 1)
    return np.array([code_of(first + step * i) for i in range(n)], np.int16)


def code_of(value: Fraction) -> int:
    """Half to even, as `frames.to_codes` rounds."""
    return round(value * CODES_PER_SD)


def write_runs(codes: Iterable[int]) -> str:
    """Text that `read_runs` reads back to the same codes, each with as few decimals as say it."""
    runs: list[tuple[int, int]] = []
    for code in codes:
        if runs and runs[-1][0] == code:
            runs[-1] = code, runs[-1][1] + 1
        else:
            runs.append((code, 1))
    return " ".join(f"{'?' if c == CODE_UNSCORED else decimal(c)}*{n}" for c, n in runs)


@lru_cache(maxsize=1 << 16)
def decimal(code: int) -> str:
    """A code in sd. Three decimals always tell two of them apart."""
    exact = Fraction(code, CODES_PER_SD)
    for digits in range(4):
        scaled = round(exact * 10**digits)
        if code_of(Fraction(scaled, 10**digits)) == code:
            break
    whole, rest = divmod(abs(scaled), 10**digits)
    text = f"{whole}.{rest:0{digits}d}" if digits else str(whole)
    return f"-{text}" if scaled < 0 else text
