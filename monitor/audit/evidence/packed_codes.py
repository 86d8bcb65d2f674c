"""Score codes in few bits each, and numbers in few bytes: the part of the evidence that is no text.

Owns the packing and its inverse. Each code becomes its distance from the middle of its neighbour and the mean of its
column; of that, folded to be positive, a Rice code keeps the high bits in unary and some low ones as they are. Codes as
benign traffic has them take 3 to 10 % more than their entropy. It never learns which features or tokens they are of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.frames import CODE_MAX, CODE_UNSCORED, Codes
from dosimeter.monitor.history.evidence import EvidenceError

MAX_CODES = 1 << 17
"""Of all columns; a window has 256 rows."""

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """columns: equally long. others: codes that have no neighbours."""

    columns: Sequence[Codes]
    others: Codes


@dataclass(frozen=True, slots=True)
class Packed:
    """unscored: some are CODE_UNSCORED, which `read_codes` must be told. head: what is small, and comes before."""

    unscored: bool
    head: bytes
    coded: bytes


def pack_codes(windows: Sequence[Window]) -> list[Packed]:
    """Of several at once: numpy takes about as long for one as for thirty."""
    runs = [(one, run) for one in windows for run in (*one.columns, one.others) if len(run)]
    if not runs:
        return [Packed(unscored=False, head=b"\0", coded=b"")] * len(windows)
    codes = np.concatenate([run for _, run in runs]).astype(np.int64)
    lengths = np.array([len(run) for _, run in runs])
    alone = np.array([run is one.others for one, run in runs])
    gone = codes == CODE_UNSCORED
    means = _decorrelate(codes, lengths, alone, gone)
    there = np.concatenate(([0], np.cumsum(~gone)))
    sizes = [sum(map(len, one.columns)) + len(one.others) for one in windows]
    ends = np.cumsum([0, *sizes])
    whole = int(there[-1]) == len(codes)
    coded = _rice(codes if whole else codes[~gone], there[ends])
    marks = [b""] * len(windows) if whole else _marks(gone, ends, there)
    found, own = [], iter(means[~alone].tolist())
    for one, mark, (bits, body) in zip(windows, marks, coded, strict=True):
        head = bytearray()
        for column in one.columns:
            if len(column):
                put_numbers(head, _fold(next(own)))
        head.append(bits)
        found.append(Packed(bool(mark), bytes(head), mark + body))
    return found


def _marks(gone: Bools, ends: Ints, there: Ints) -> list[bytes]:
    """Of each window a bit a code that says whether it has no score; empty where all have one."""
    each = zip(ends[:-1].tolist(), ends[1:].tolist(), np.diff(there[ends]).tolist(), strict=True)
    return [
        b"" if count == end - start else np.packbits(gone[start:end]).tobytes()
        for start, end, count in each
    ]


def _decorrelate(codes: Ints, lengths: Ints, alone: Bools, gone: Bools) -> Ints:
    """Of each run that is not alone, each code becomes its distance from the middle of its neighbour and the mean; what
    is gone counts as the mean. Returns the means.
    """
    starts = np.cumsum(lengths) - lengths
    codes[gone] = 0
    counts = np.maximum(np.add.reduceat(~gone, starts, dtype=np.int64), 1)
    means = np.where(alone, 0, np.add.reduceat(codes, starts) // counts)
    codes -= np.repeat(means, lengths)
    codes[gone] = 0
    before = codes >> 1
    before *= np.repeat(~alone, lengths)
    before[starts[1:] - 1] = 0  # the last of a run is nobody's neighbour
    codes[1:] -= before[:-1]
    return means


def _rice(values: Ints, ends: Ints) -> Iterator[tuple[int, bytes]]:
    """Of each part of the values, folded to be positive, the high bits in unary and `bits` low ones as they are."""
    counts = np.diff(ends)
    folded = values << 1 ^ values >> 63
    sums = np.diff(np.concatenate(([0], np.cumsum(folded)))[ends])
    bits = np.frexp(7 * sums // np.maximum(1, 10 * counts))[1].astype(np.int64) - 1
    bits = np.clip(bits, 0, 16)
    each = np.repeat(bits, counts)
    high = folded >> each
    ones = np.cumsum(high)
    unary = np.diff(np.concatenate(([0], ones))[ends]) + counts  # bits of it
    past = np.cumsum((unary + 7) // 8)
    written = np.zeros(8 * int(past[-1]), np.uint8)
    ones += np.arange(len(values))
    begun = 8 * (past - (unary + 7) // 8) - (np.cumsum(unary) - unary)
    written[ones + np.repeat(begun, counts)] = 1
    data = np.packbits(written).tobytes()
    first = 0
    for end, low, own in zip(past.tolist(), _low(folded, counts, bits), bits.tolist(), strict=True):
        yield own, data[first:end] + low
        first = end


def _low(folded: Ints, counts: Ints, bits: Ints) -> Iterator[bytes]:
    """Of each part, its `bits` low bits of every value, behind each other."""
    room = (counts + 7) // 8 * 8  # a whole number of bytes, however many bits a value takes
    begun = np.cumsum(room) - room
    words = np.zeros(int(room.sum()), ">u2")
    words[np.arange(len(folded)) + np.repeat(begun - (np.cumsum(counts) - counts), counts)] = folded
    each = np.unpackbits(words.view(np.uint8).reshape(-1, 2), axis=1)
    packed = {k: np.packbits(each[:, 16 - k :]).tobytes() for k in set(bits.tolist())}
    for start, count, k in zip(begun.tolist(), counts.tolist(), bits.tolist(), strict=True):
        yield packed[k][start * k // 8 : (start + count) * k // 8 + bool(count * k % 8)]


def read_codes(at: Place, count: int, rows: int, columns: int, *, unscored: bool) -> Codes:
    """The inverse of `pack_codes`."""
    means = [_unfold(at.number(1 << 17)) for _ in range(columns if rows else 0)]
    bits = at.number(16)
    gone = at.bits(count).astype(bool) if unscored else np.zeros(count, bool)
    there = count - int(gone.sum())
    high = at.unary(there)
    low = at.bits(there * bits).reshape(there, bits).astype(np.int64)
    folded = (high << bits) + (low << np.arange(bits)[::-1]).sum(1)
    rest = iter((folded >> 1 ^ -(folded & 1)).tolist())
    found = [CODE_UNSCORED] * count
    mean = before = 0
    for index, missing in enumerate(gone.tolist()):
        if index >= rows * columns:
            mean = before = 0
        elif not index % rows:
            mean, before = means[index // rows], 0
        if missing:
            before = 0
            continue
        code = mean + (before >> 1) + next(rest)
        if not CODE_UNSCORED < code <= CODE_MAX:
            raise EvidenceError(f"evidence has the code {code}, beyond 16 bits")
        found[index], before = code, code - mean
    return np.array(found, np.int16)


def _fold(number: int) -> int:
    return 2 * number if number >= 0 else -2 * number - 1


def _unfold(number: int) -> int:
    return number >> 1 ^ -(number & 1)


def put_numbers(head: bytearray, *numbers: int) -> None:
    """LEB128."""
    for number in numbers:
        while number > 127:
            head.append(number & 127 | 128)
            number >>= 7
        head.append(number)


class Place:
    """A place in the bytes; whatever is not there is an EvidenceError."""

    def __init__(self, data: bytes, place: int) -> None:
        self._data, self.place = data, place

    def number(self, most: int) -> int:
        value = shift = 0
        while shift < 63:
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        if not value <= most:
            raise EvidenceError(f"evidence has the number {value} where at most {most} can be")
        return value

    def bits(self, count: int) -> npt.NDArray[np.uint8]:
        return np.unpackbits(np.frombuffer(self.take((count + 7) // 8), np.uint8))[:count]

    def unary(self, count: int) -> Ints:
        """So many numbers, each as zeros before a one."""
        ones = np.flatnonzero(np.unpackbits(np.frombuffer(self._data[self.place :], np.uint8)))
        if len(ones) < count:
            raise EvidenceError("evidence ends within its codes")
        self.take(int(ones[count - 1]) // 8 + 1 if count else 0)
        return np.diff(ones[:count], prepend=-1) - 1

    def take(self, count: int) -> bytes:
        found = self._data[self.place : self.place + count]
        if len(found) < count:
            raise EvidenceError(f"evidence ends within a value, at byte {len(self._data)}")
        self.place += count
        return found
