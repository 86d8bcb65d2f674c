"""The last codes of every live request, so that an alert can carry what stood around its span.

Owns the ring of each request and the follow-ups: what comes after the deciding token is not there
when the alert is committed, so evidence is written once at the decision and once more when the
margin has arrived or the request has ended. It knows nothing of rules, nor where evidence is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.frames import CODE_UNSCORED, Codes
from dosimeter.monitor.history.evidence import Evidence, encode_evidence

KEPT = 256
"""Tokens kept of each request. A longer span is shown by its end."""
MARGIN = 64
"""Tokens on each side of the span."""
FIRST_SLOTS = 512

Ints = npt.NDArray[np.int64]


class Recent:
    """One plane int16 [slots, KEPT, F]; position p of a slot stands at p % KEPT.

    The plane is allocated empty and touched only as far as tokens arrive, so an idle slot costs
    address space and no memory. Positions that were never scored hold CODE_UNSCORED.
    """

    def __init__(self, features: int, slots: int = FIRST_SLOTS) -> None:
        self._plane: Codes = np.empty((slots, KEPT, features), np.int16)

    @property
    def slots(self) -> int:
        return len(self._plane)

    def grow(self) -> None:
        larger = np.empty((2 * len(self._plane), *self._plane.shape[1:]), np.int16)
        larger[: len(self._plane)] = self._plane
        self._plane = larger

    def put_tokens(self, slots: Ints, positions: Ints, codes: Codes) -> None:
        """One token each of many requests. codes: int16 [S, F]."""
        self._plane[slots, positions % KEPT] = codes

    def put_run(self, slot: int, start: int, codes: Codes) -> None:
        """Consecutive tokens of one request. codes: int16 [n, F]."""
        tail = codes[-KEPT:]
        first = start + len(codes) - len(tail)
        self._plane[slot, np.arange(first, first + len(tail)) % KEPT] = tail

    def skip(self, slot: int, start: int, end: int) -> None:
        """Mark positions [start, end) as never scored."""
        first = max(start, end - KEPT)
        self._plane[slot, np.arange(first, end) % KEPT] = CODE_UNSCORED

    def read(self, slot: int, start: int, end: int, length: int) -> tuple[int, Codes]:
        """Codes of [start, end) as far as kept of a request `length` long, and where they begin."""
        high = min(end, length)
        low = min(high, max(start, length - KEPT, 0))
        at = low % KEPT
        if at + high - low <= KEPT:
            return low, self._plane[slot, at : at + high - low].copy()
        return low, self._plane[slot, np.arange(low, high) % KEPT]


@dataclass(frozen=True, slots=True)
class FollowUp:
    """Evidence that is complete once the request is `due` tokens long, or has ended."""

    event_id: str
    start: int
    end: int
    due: int


def around(recent: Recent, slot: int, length: int, start: int, end: int) -> tuple[int, Codes]:
    """The codes of a span and MARGIN tokens on each side, as far as they exist and are kept."""
    return recent.read(slot, max(0, start - MARGIN), end + MARGIN, length)


class Bodies:
    """The evidence of one moment: rules that hit together look at the same codes, and share a body.

    content: that of a CLOSE record, where a tenant chose it.
    """

    def __init__(
        self,
        recent: Recent,
        columns: tuple[str, ...],
        content: Mapping[str, object] | None = None,
    ) -> None:
        self._recent, self._columns, self._content = recent, columns, content
        self._made: dict[tuple[int, int, int], bytes] = {}

    def around(self, slot: int, length: int, start: int, end: int) -> bytes:
        """Of a span of a request that is `length` tokens long."""
        at = (slot, max(0, start - MARGIN), min(end + MARGIN, length))
        made = self._made.get(at)
        if made is None:
            first, codes = around(self._recent, slot, length, start, end)
            made = self._made[at] = body(first, self._columns, codes, self._content)
        return made


def body(
    first: int, columns: tuple[str, ...], codes: Codes, content: Mapping[str, object] | None = None
) -> bytes:
    """The evidence of one alert; `content` is that of a CLOSE record, where a tenant chose it."""
    tokens = (content or {}).get("tokens")
    shown: tuple[str, ...] | None = None
    if isinstance(tokens, list) and all(isinstance(token, str) for token in tokens):
        part = tokens[first : first + len(codes)]
        shown = (*part, *[""] * (len(codes) - len(part)))
    return encode_evidence(Evidence(first, columns, codes, shown))
