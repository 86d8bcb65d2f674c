"""Packed codes: bytes worked out by hand, and exact for every code there is. Whole bodies: `test_evidence_body.py`."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosimeter.detectors.frames import CODE_UNSCORED
from dosimeter.monitor.audit.evidence.packed_codes import (
    Packed,
    Place,
    Window,
    pack_codes,
    put_numbers,
    read_codes,
)
from dosimeter.monitor.history.evidence import EvidenceError


def window(codes: list[int], rows: int, columns: int) -> Window:
    each = np.array(codes, np.int16)
    return Window([each[i * rows :][:rows] for i in range(columns)], each[columns * rows :])


def packed(codes: list[int], rows: int, columns: int) -> tuple[bytes, bytes, bool]:
    (found,) = pack_codes([window(codes, rows, columns)])
    return found.head, found.coded, found.unscored


def test_the_bytes_are_these() -> None:
    """0 1 -1: mean 0, distances 0, 1 - 0, -1 - (1 >> 1), folded 0 2 1, no low bits: in unary 1 001 01."""
    assert packed([0, 1, -1], 3, 1) == (b"\x00\x00", bytes([0b10010100]), False)


def test_what_has_no_score_is_marked_and_takes_no_other_room() -> None:
    """Marks 1 0; of the other code 4 the mean is 4, folded 8, and the distance 0, in unary 1."""
    assert packed([CODE_UNSCORED, 4], 2, 1) == (b"\x08\x00", bytes([0b10000000] * 2), True)


def test_large_values_keep_low_bits_as_they_are() -> None:
    """Without neighbours 300 is folded to 600; 0.7 of that has 9 bits, so 8 are low: 600 = 2 * 256 + 88."""
    assert packed([300], 0, 0) == (b"\x08", bytes([0b00100000, 88]), False)


SHAPES = st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(0, 4))


@given(shapes=st.lists(SHAPES, max_size=6), seed=st.integers(0, 99))
def test_several_windows_are_packed_as_each_alone(
    shapes: list[tuple[int, int, int]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    windows = []
    for columns, rows, others in shapes:
        codes = rng.integers(-900, 900, columns * rows + others)
        codes[rng.random(len(codes)) < 0.3 * (seed % 2)] = CODE_UNSCORED
        windows.append(window(codes.tolist(), rows, columns))
    alone: list[Packed] = [pack_codes([one])[0] for one in windows]
    assert pack_codes(windows) == alone


@given(
    columns=st.integers(0, 4),
    rows=st.integers(0, 20),
    others=st.integers(0, 6),
    seed=st.integers(0, 2**32),
    scale=st.sampled_from([1, 300, 32767]),
)
def test_what_is_packed_comes_back(
    columns: int, rows: int, others: int, seed: int, scale: int
) -> None:
    rng = np.random.default_rng(seed)
    count = rows * columns + others
    codes = rng.integers(-scale, scale + 1, count)
    codes[rng.random(count) < 0.2 * (seed % 3)] = CODE_UNSCORED
    head, body, unscored = packed(codes.tolist(), rows, columns)
    place = Place(head + body, 0)
    found = read_codes(place, count, rows, columns, unscored=unscored)
    assert found.tolist() == codes.tolist()
    assert place.place == len(head + body)
    assert unscored == (CODE_UNSCORED in codes)


@pytest.mark.parametrize(("number", "expected"), [(0, "00"), (127, "7f"), (128, "8001"), (300, "ac02")])  # fmt: skip
def test_numbers_are_leb128(number: int, expected: str) -> None:
    head = bytearray()
    put_numbers(head, number)
    assert head.hex() == expected
    assert Place(bytes(head), 0).number(300) == number
    with pytest.raises(EvidenceError):
        Place(bytes(head), 0).number(number - 1)
