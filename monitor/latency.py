"""How long things took: a fixed histogram with quantiles, cheap enough for every frame.

It knows nothing of what is timed. Bins grow by 1/16 of a doubling, so a quantile is right to 5 %.
"""

from __future__ import annotations

import math
from collections import deque

BINS_PER_DOUBLING = 16
RECENT = 4096
BINS = 40 * BINS_PER_DOUBLING  # 1 ns .. 18 minutes


class Latency:
    """Counts of durations in nanoseconds."""

    def __init__(self) -> None:
        self._bins = [0] * BINS
        self.count = 0
        self.longest_ns = 0
        self.recent: deque[int] = deque(maxlen=RECENT)  # for whoever exports them; it empties this

    def add(self, duration_ns: int) -> None:
        index = int(math.log2(duration_ns) * BINS_PER_DOUBLING) if duration_ns > 1 else 0
        self._bins[min(index, BINS - 1)] += 1
        self.recent.append(duration_ns)
        self.count += 1
        self.longest_ns = max(self.longest_ns, duration_ns)

    def quantile_ms(self, q: float) -> float | None:
        """The upper edge of the bin in which the q-quantile lies; None while nothing was added."""
        if not self.count:
            return None
        wanted, seen = math.ceil(q * self.count), 0
        for index, n in enumerate(self._bins):
            seen += n
            if seen >= wanted:
                edge: float = 2.0 ** ((index + 1) / BINS_PER_DOUBLING)
                return round(min(edge, float(max(self.longest_ns, 1))) / 1e6, 4)
        raise AssertionError("bins hold fewer durations than were counted")

    def as_dict(self) -> dict[str, float | int | None]:
        return {
            "count": self.count,
            "p50_ms": self.quantile_ms(0.50),
            "p99_ms": self.quantile_ms(0.99),
            "max_ms": round(self.longest_ns / 1e6, 4) if self.count else None,
        }
