"""A kit that cannot fail proves nothing: each defect that a tap has had, or could have, must be found by it.

Every defect is planted in the real tap, in the process in which the kit watches it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from dosimeter.monitor.conformance import kit, report
from dosimeter.monitor.conformance.findings import Findings
from dosimeter.monitor.taps import batch, continuous, requests
from dosimeter.monitor.taps.probe_op import HookError, ProbeOp
from dosimeter.monitor.taps.rows import Rows
from dosimeter.monitor.taps.score_cache import ScoreCache
from dosimeter.monitor.taps.sender import Sender, Sent
from dosimeter.monitor.taps.serve import Runtime
from dosimeter.monitor.taps.tap import Held, Tap

Patch = pytest.MonkeyPatch
Row = tuple[requests.Request, int, int]  # whose, from which position, how many


def run(server: str, case: str) -> tuple[bool, dict[str, int], Findings]:
    """Whether the one case conforms, what it was found guilty of, and all of its figures."""
    (outcome,) = kit.run(kit.Wanted(servers=(server,), only=case, tokens=0))
    assert outcome.error is None, outcome.error
    assert outcome.findings is not None
    return report.conforms([outcome]), outcome.faults or {}, outcome.findings


def mapped(patch: Patch, change: Callable[[list[Row]], list[Row]]) -> None:
    """Change what the row map of continuous batching says."""
    original = continuous._packed_rows

    def packed(*args: Any) -> tuple[Rows, Any]:
        rows, select = original(*args)
        changed = Rows()
        for row in change([*rows]):
            changed.add(*row)
        return changed, select

    patch.setattr(continuous, "_packed_rows", packed)


def shifted(patch: Patch) -> None:
    mapped(patch, lambda rows: [(request, start + 1, n) for request, start, n in rows])


def swapped(patch: Patch) -> None:
    def change(rows: list[Row]) -> list[Row]:
        if len(rows) > 1 and rows[0][2] == rows[1][2]:
            rows[:2] = rows[1], rows[0]
        return rows

    mapped(patch, change)


def packed_in_another_order(patch: Patch) -> None:
    mapped(patch, lambda rows: rows[::-1])


def chunk_dropped(patch: Patch) -> None:
    """The last request of a batch is forgotten, and nobody says so."""
    mapped(patch, lambda rows: rows[:-1] if len(rows) > 1 else rows)


def sent_twice(patch: Patch) -> None:
    original = Sender.step

    def step(self: Sender, rows: Any, codes: Any, *times: int) -> Sent:
        original(self, rows, codes, *times)
        return original(self, rows, codes, *times)

    patch.setattr(Sender, "step", step)


def counted_twice(patch: Patch) -> None:
    original = requests.Request.advance

    def advance(self: requests.Request, start: int, n: int) -> tuple[int, bool]:
        new, first = original(self, start, n)
        return 2 * new, first

    patch.setattr(requests.Request, "advance", advance)


def frame_lost(patch: Patch) -> None:
    """A frame is thrown away where it should be sent, and is counted as sent."""
    original, calls = Sender.step, []

    def step(self: Sender, rows: Any, codes: Any, *times: int) -> Sent:
        calls.append(1)
        return Sent(len(codes), None) if len(calls) == 3 else original(self, rows, codes, *times)

    patch.setattr(Sender, "step", step)


def served_overstated(patch: Patch) -> None:
    original = Runtime._control

    def control(self: Runtime, kind: str, record: dict[str, Any]) -> None:
        if kind == "CLOSE":
            record = {**record, "served": record["served"] + 1}
        original(self, kind, record)

    patch.setattr(Runtime, "_control", control)


def step_unread(patch: Patch) -> None:
    """A gap with a reason is a gap: in a mode that is scored, `tap_error` is no way out."""
    original, calls = ProbeOp.read, []

    def read(self: ProbeOp, *args: Any) -> Any:
        calls.append(1)
        if len(calls) == 5:  # the first is the canary's
            raise HookError("injected")
        return original(self, *args)

    patch.setattr(ProbeOp, "read", read)


def labels_mixed_up(patch: Patch) -> None:
    """Each request gets the ticket of the one before it: right rows, under another tenant's name."""
    original, tickets = requests.Requests.open, []

    def opened(self: Any, ids: Any, ticket: Any, parent: Any = None) -> Any:
        tickets.append(ticket)
        return original(self, ids, tickets[-2] if len(tickets) > 1 else ticket, parent)

    patch.setattr(requests.Requests, "open", opened)


def prefixes_confused(patch: Patch) -> None:
    """The score cache tells blocks apart by where they stand and not by their tokens."""

    def hashed(self: ScoreCache, chain: Any, ids: Any) -> bool:
        chain.digest = b"%16d" % chain.hashed
        chain.hashed += 1
        return True

    patch.setattr(ScoreCache, "_hash", hashed)


def padding_taken_for_tokens(patch: Patch) -> None:
    def real(self: Any, b: int, first: int, columns: int) -> Any:
        return np.arange(columns)

    patch.setattr(batch.Batch, "_real", real)


def ends_not_noticed(patch: Patch) -> None:
    patch.setattr(batch.Batch, "_stopped", lambda self, over, columns: None)


def rejected_drafts_handed_on(patch: Patch) -> None:
    release = Tap.release

    def everything(self: Tap, held: Held, kept: Sequence[int]) -> None:
        release(self, held, held.rows.n)

    patch.setattr(Tap, "release", everything)


DEFECTS = [
    (shifted, "continuous", "packing", "misattributed"),
    (swapped, "continuous", "packing", "misattributed"),
    (packed_in_another_order, "continuous", "packing", "misattributed"),
    (chunk_dropped, "continuous", "packing", "unaccounted"),
    (sent_twice, "continuous", "packing", "twice"),
    (counted_twice, "continuous", "packing", "counts_differ"),
    (frame_lost, "continuous", "packing", "missing"),
    (served_overstated, "continuous", "packing", "unaccounted"),
    (step_unread, "continuous", "packing", "failed"),
    (labels_mixed_up, "continuous", "packing", "misattributed"),
    (prefixes_confused, "continuous", "turns", "misattributed"),
    (padding_taken_for_tokens, "generate", "mixed lengths", "twice"),
    (ends_not_noticed, "generate", "a row ends early", "counts_differ"),
    (rejected_drafts_handed_on, "generate", "assisted", "twice"),
    (frame_lost, "generate", "mixed lengths", "missing"),
]


@pytest.mark.parametrize(
    ("plant", "server", "case", "fault"),
    [
        pytest.param(
            *defect,
            id=f"{defect[0].__name__}, {defect[1]}",
            marks=[pytest.mark.parts] if defect[1] == "continuous" else [],  # a manager of its own
        )
        for defect in DEFECTS
    ],
)
def test_a_planted_defect_is_found(
    plant: Callable[[Patch], None],
    server: str,
    case: str,
    fault: str,
    monkeypatch: Patch,
) -> None:
    plant(monkeypatch)
    conforms, faults, findings = run(server, case)
    assert not conforms
    assert faults[fault]  # it is found as what it is, and not as one of ours in planting it
    assert findings.examples or set(faults) == {"twice"}  # and the reader is told where


@pytest.mark.parts
@pytest.mark.parametrize("case", ["packing", "turns"])
def test_without_a_defect_the_same_cases_conform(case: str) -> None:
    """Else the finding above would say nothing."""
    conforms, faults, findings = run("continuous", case)
    assert (conforms, faults, findings.examples) == (True, {}, [])
    assert findings.compared >= findings.served > 100


@pytest.mark.parts
def test_rows_of_two_requests_swapped_are_named_as_each_others(monkeypatch: Patch) -> None:
    swapped(monkeypatch)
    _, faults, findings = run("continuous", "packing")
    assert faults["misattributed"] == findings.misattributed > 0
    assert "position" in findings.examples[0]


def test_nothing_compared_is_no_conformance() -> None:
    assert not report.conforms([])
    outcomes = kit.run(kit.Wanted(servers=("continuous",), only="offload", tokens=0))
    assert [one.verdict for one in outcomes] == ["not offered"]
    assert not report.conforms(outcomes)
