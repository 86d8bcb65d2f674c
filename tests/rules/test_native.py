"""The kernel in C refuses what would reach beyond its memory, and gives back what it took."""

from __future__ import annotations

import numpy as np
import pytest
from rule_streams import one

from dosimeter.detectors.frames import Scope
from dosimeter.rules.atoms import Atom
from dosimeter.rules.native import NativeKernel

ANSWER = int(Scope.ANSWER)
CODES = np.array([[5, -5], [6, -6], [7, -7]], np.int16)


def kernel(*shapes: tuple[str, int]) -> NativeKernel:
    atoms = [Atom(1, Scope.ANSWER, -1, shape, n, -6) for shape, n in shapes or (("once", 1),)]
    return NativeKernel(atoms, [one(i) for i in range(len(atoms))])


def step(k: NativeKernel, segment: tuple[int, ...], codes: np.ndarray = CODES) -> list[int]:
    fields = [np.array([value]) for value in segment]
    return [firing.position for firing in k.step(*fields, codes)]


def test_a_segment_is_taken_where_it_fits() -> None:
    k = kernel()
    assert step(k, (k.open(), ANSWER, 0, 3, 0)) == [2]


@pytest.mark.parametrize(
    "segment",
    [
        (64, ANSWER, 0, 1, 0),
        (-1, ANSWER, 0, 1, 0),
        (0, 256, 0, 1, 0),
        (0, -1, 0, 1, 0),
        (0, ANSWER, -1, 1, 0),
        (0, ANSWER, 0, 4, 0),
        (0, ANSWER, 0, -1, 0),
        (0, ANSWER, 0, 2, 2),
        (0, ANSWER, 0, 1, -1),
        (0, ANSWER, 0, 2**63 - 1, 1),
        (0, ANSWER, 0, 1, 2**63 - 1),
    ],
)
def test_what_reaches_beyond_slots_or_codes_is_refused_and_nothing_taken(
    segment: tuple[int, ...],
) -> None:
    k = kernel()
    slot = k.open()
    with pytest.raises(ValueError, match="do not fit"):
        step(k, segment)
    assert step(k, (slot, ANSWER, 0, 3, 0)) == [2]


def test_codes_without_a_column_that_an_atom_reads_are_refused() -> None:
    k = kernel()
    with pytest.raises(ValueError, match="do not fit"):
        step(k, (k.open(), ANSWER, 0, 3, 0), CODES[:, :1])


def test_slots_grow_and_are_used_again_with_nothing_left_in_them() -> None:
    k = kernel(("for", 2), ("average", 3), ("average_scope", 1))
    slots = [k.open() for _ in range(200)]
    assert len(set(slots)) == k.open_slots == 200
    for slot in slots:
        step(k, (slot, ANSWER, 0, 2, 1))
        k.close(slot)
    assert k.open_slots == 0
    again = [k.open() for _ in range(200)]
    assert [step(k, (slot, ANSWER, 0, 1, 2)) for slot in again] == [[]] * 200


def test_more_events_than_ever_before_are_all_told() -> None:
    atoms = [Atom(0, Scope.ANSWER, 1, "once", 1, -t) for t in range(1000)]
    k = NativeKernel(atoms, [one(i) for i in range(1000)])
    assert step(k, (k.open(), ANSWER, 0, 1, 0)) == [0] * 1000


def test_a_slot_takes_a_few_kilobytes_whatever_has_run_through_it() -> None:
    k = kernel(*[("average", n) for n in (8, 16, 32)], ("for", 8), ("average_scope", 1))
    before = k.slot_bytes
    slot = k.open()
    for at in range(0, 3000, 3):
        step(k, (slot, ANSWER, at, 3, 0))
    assert k.slot_bytes == before < 400
