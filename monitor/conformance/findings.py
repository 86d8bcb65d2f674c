"""The figures of a case, how they add up, and which of them must be 0. Where they come from is `compare`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

EXAMPLES = 5
FAULTS = (
    "differ",
    "misattributed",
    "missing",
    "counted_over",
    "counts_differ",
    "strays",
    "failed",
    "unaccounted",
)


@dataclass(slots=True)
class Findings:
    """The figures of a case. Those in `faults` must be 0."""

    requests: int = 0
    compared_requests: int = 0
    compared: int = 0  # positions
    beyond: int = 0  # positions whose tokens nobody but the server knew
    worst: int = 0  # largest difference, in 1/256 sd
    differ: int = 0  # rows that are not their own reference
    misattributed: int = 0  # of those: the reference of another position or request
    missing: int = 0  # served, not scored, and no reason given
    counted_over: int = 0  # more reasons and rows than were served
    counts_differ: int = 0  # requests whose counts disagree: client, server, tap
    strays: int = 0  # requests of the tap that no client made, or that never came or ended
    failed: int = 0  # tokens with a reason that means that the tap failed
    reused: int = 0
    twice: int = 0
    after_end: int = 0
    gone: int = 0  # requests whose client did not wait for the end
    cancelled: int = 0  # of those: given up by the server before their end
    never_begun: int = 0  # calls given up before the server ran anything of them
    served: int = 0
    scored: int = 0
    unscored: dict[str, int] = field(default_factory=dict)
    unaccounted: int = 0
    examples: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        if len(self.examples) < EXAMPLES:
            self.examples.append(text)

    def add(self, other: Findings) -> None:
        for name, value in asdict(other).items():
            if isinstance(value, int) and name != "worst":
                setattr(self, name, getattr(self, name) + value)
        self.worst = max(self.worst, other.worst)
        for reason, tokens in other.unscored.items():
            self.unscored[reason] = self.unscored.get(reason, 0) + tokens
        for text in other.examples:
            self.note(text)

    def faults(self, *, repeats: bool, scored: bool) -> dict[str, int]:
        """What must be 0 and is not. repeats: the server may run rows again; scored: some must be."""
        found = {name: getattr(self, name) for name in FAULTS}
        found["twice"] = 0 if repeats else self.twice
        found["nothing_compared"] = int(scored and not self.compared)
        return {name: value for name, value in found.items() if value}
