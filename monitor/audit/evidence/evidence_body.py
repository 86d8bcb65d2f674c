"""The plaintext of an alert's evidence, in as few bytes as it takes: what may lead to a person, and the codes.

Owns the encoding and its limits. Kept are the labels and words of a record, the codes of the columns that its
conditions read, over the whole window, and at the deciding position the codes of all columns. It never learns who may
read that, under which key it lies, or which columns a condition reads.

    version u8, kinds u8           of what follows: CODES, AT, TOKENS, UNSCORED
    numbers                        LEB128: how many there are, first, at, mean of each column ...
    unary u8[], low u8[]           Rice code of each code's distance from the middle of its neighbour and the mean
    text                           raw deflate with a preset dictionary: every text, behind each other
    packed u8[]                    ids in hexadecimal that stood in the labels, two digits a byte

At rest come 16 bytes of salt and 28 of AES-GCM.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from uuid import UUID

import numpy as np

from dosimeter.detectors.frames import Codes
from dosimeter.monitor.audit.evidence.packed_codes import (
    MAX_CODES,
    Packed,
    Place,
    Window,
    pack_codes,
    put_numbers,
    read_codes,
)
from dosimeter.monitor.history.evidence import Evidence, EvidenceError

VERSION = 1
LABELS = ("conversation", "request_id", "route", "tenant", "traceparent", "user")
"""By their place in a bit field; others are written with their names."""
MAX_FIRST = 1 << 48
MAX_TEXT = 1 << 20
"""Bytes of all texts together."""
TOGETHER = 1 << 14
"""Codes that are packed at once: what they take fits into a cache."""
CODES, AT, TOKENS, UNSCORED = 1, 2, 4, 8

_BITS = {name: 1 << i for i, name in enumerate(LABELS)}

_WORDS = (
    b"harmful_request\0power_seeking\0flattery_tone\0"
    b"deception\0sycophancy\0scam\0defection\0scam_warning\0"
    b"roles within the prompt are not verified: all of it counts as message\0"
    b"chatcmpl-\0user-\0conversation in the message of tenant average above threshold "
    b" in an answer of model to : 2.00 sd over 32 tokens\0"
    b"10 of 10 tokens of this request were scored so far\0"
)
"""What texts are likely to hold. Part of the format: never changed under the same VERSION."""
_DEFLATE = zlib.compressobj(9, zlib.DEFLATED, -10, 2, zlib.Z_DEFAULT_STRATEGY, _WORDS)
_NONE = np.zeros(0, np.int16)
_ESCAPED = {"\0": "\1a", "\1": "\1b", "\2": "\1c", "\3": "\1d"}
_ESCAPE = str.maketrans(_ESCAPED)
_RESTORED = {written: plain for plain, written in _ESCAPED.items()}
_HEX = re.compile("([0-9a-f]{8}(?:[0-9a-f]{8,246}|(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}))")
_ESCAPES = re.compile("\1[a-d]")
_PACKED = re.compile("\2|\3(.)", re.DOTALL)
"""A UUID; other ids with the number of their bytes."""


@dataclass(frozen=True, eq=False)
class Body:
    """Codes of rows first .. first + T of one request. T is 0, and all of it empty, where no codes were kept."""

    labels: Mapping[str, str]
    summary: str
    coverage: str
    first: int = 0
    columns: tuple[str, ...] = ()
    codes: Codes = field(default_factory=lambda: np.zeros((0, 0), np.int16))  # [T, C]
    at: int | None = None  # the deciding position, where it lies in the window
    vector: Mapping[str, int] = field(default_factory=dict)  # the code of every feature at `at`
    tokens: tuple[str, ...] | None = None  # [T], only where a tenant chose that


Given = tuple[Mapping[str, Any], Evidence | None, Sequence[str]]
"""A record as the ledger has it, its evidence, and the features whose codes are kept over the whole window."""


def encode_body(core: Mapping[str, Any], evidence: Evidence | None, reads: Sequence[str]) -> bytes:
    """core: a record as the ledger has it. reads: features whose codes are kept over the whole window, as far as
    the evidence has them. Raises EvidenceError for what `decode_body` would refuse.
    """
    (found,) = encode_bodies([(core, evidence, reads)])
    if isinstance(found, EvidenceError):
        raise found
    return found


def encode_bodies(given: Iterable[Given]) -> list[bytes | EvidenceError]:
    """As `encode_body` of each, several times as quickly; an error stands in the place of its body."""
    drafts = [_draft(*one) for one in given]
    windows = [d.window for d in drafts if isinstance(d, _Draft) and d.window is not None]
    packed = _packed(windows)
    return [d if isinstance(d, EvidenceError) else d.body(packed) for d in drafts]


def _packed(windows: Sequence[Window]) -> Iterator[Packed]:
    """As many at once as are quick, whatever somebody sends."""
    part, codes = list[Window](), 0
    for one in windows:
        part.append(one)
        codes += len(one.others) + sum(map(len, one.columns))
        if codes >= TOGETHER:
            yield from pack_codes(part)
            part, codes = [], 0
    yield from pack_codes(part)


@dataclass(frozen=True, slots=True, eq=False)
class _Draft:
    """A body whose codes are not packed yet."""

    kinds: int
    head: bytearray
    window: Window | None
    rest: bytes

    def body(self, packed: Iterator[Packed]) -> bytes:
        if self.window is None:
            return b"".join((bytes((VERSION, self.kinds)), self.head, self.rest))
        codes = next(packed)
        kinds = self.kinds | UNSCORED * codes.unscored
        parts = bytes((VERSION, kinds)), self.head, codes.head, codes.coded, self.rest
        return b"".join(parts)


def _draft(
    core: Mapping[str, Any], evidence: Evidence | None, reads: Sequence[str]
) -> _Draft | EvidenceError:
    labels = {str(name): str(text) for name, text in (core.get("labels") or {}).items()}
    own: list[str] = []
    bits = 0
    for name, bit in _BITS.items():
        if name in labels:
            own.append(labels[name])
            bits |= bit
    others = len(labels) - len(own)
    if others:
        own += [one for pair in labels.items() if pair[0] not in _BITS for one in pair]
    packed = bytearray()
    texts = [_pack(_joined(own), packed)] if own else []
    texts.append(_joined([str(core.get("summary") or ""), str(core.get("coverage") or "")]))
    head = bytearray()
    put_numbers(head, bits, others)
    kinds, window = 0, None
    if evidence is not None:
        try:
            kinds, window = _put_codes(head, texts, evidence, reads, core.get("position"))
        except EvidenceError as error:
            return error
    plain = "\0".join(texts).encode(errors="surrogatepass")
    if len(plain) > MAX_TEXT:
        return EvidenceError(f"{len(plain)} bytes of text, at most {MAX_TEXT} are kept")
    deflate = _DEFLATE.copy()
    rest = b"".join((deflate.compress(plain), deflate.flush(), packed))
    return _Draft(kinds, head, window, rest)


def decode_body(data: bytes) -> Body:
    """The inverse of `encode_body`. Raises EvidenceError on anything else."""
    if len(data) < 2 or data[0] != VERSION or data[1] >= 2 * UNSCORED:
        raise EvidenceError(f"evidence begins with `{data[:2].hex()}`, not with version {VERSION}")
    at = Place(data, 2)
    kinds, known, others = data[1], at.number((1 << len(LABELS)) - 1), at.number(MAX_TEXT)
    window = _Window.read(at, kinds)
    names = range(window.names)
    rows = range(window.rows if kinds & TOKENS else 0)
    texts = _texts(data[at.place :], known.bit_count() + 2 * others + 2 + len(names) + len(rows))
    labels = {name: next(texts) for i, name in enumerate(LABELS) if known >> i & 1}
    labels |= {next(texts): next(texts) for _ in range(others)}
    summary, coverage = next(texts), next(texts)
    features = [next(texts) for _ in names]
    return Body(
        labels,
        summary,
        coverage,
        window.first,
        tuple(features[i] for i in window.reads),
        window.codes,
        window.at,
        dict(zip(features, window.vector.tolist(), strict=True)) if kinds & AT else {},
        tuple([next(texts) for _ in rows]) if kinds & TOKENS else None,
    )


def _put_codes(
    head: bytearray, texts: list[str], evidence: Evidence, reads: Sequence[str], position: object
) -> tuple[int, Window]:
    """Writes the numbers and adds the texts; returns what there is, and the codes that are kept."""
    columns, first, rows = evidence.columns, evidence.first, len(evidence.codes)
    index = [columns.index(name) for name in reads if name in columns]
    own = rows * len(index)
    if first > MAX_FIRST or own + len(columns) > MAX_CODES:
        raise EvidenceError(f"{own} codes from position {first} on are more than evidence holds")
    put_numbers(head, first, rows, len(index))
    kinds, others = CODES, _NONE
    if isinstance(position, int) and first <= position < first + rows:
        kinds |= AT
        others = evidence.codes[position - first]
        put_numbers(head, len(columns), *index, position - first)
        texts += [_names(columns)] if columns else []
    else:
        texts += [_names(tuple([columns[i] for i in index]))] if index else []
    if evidence.tokens is not None:
        kinds |= TOKENS
        texts += [_joined(evidence.tokens)] if rows else []
    return kinds, Window([evidence.codes[:, i] for i in index], others)


def _joined(texts: Sequence[str]) -> str:
    """Behind each other, with one zero between them and none within."""
    joined = "\0".join(texts)
    if joined.count("\0") >= len(texts) or "\1" in joined or "\2" in joined or "\3" in joined:
        joined = "\0".join([text.translate(_ESCAPE) for text in texts])
    return joined


_names = lru_cache(maxsize=256)(_joined)
"""Of columns, which are the same for all alerts of a program."""


def _pack(text: str, packed: bytearray) -> str:
    parts = _HEX.split(text)
    for at in range(1, len(parts), 2):
        digits, odd = parts[at], ""
        if "-" in digits:
            packed += bytes.fromhex(digits.replace("-", ""))
            parts[at] = "\2"
            continue
        if len(digits) % 2:
            digits, odd = digits[:-1], digits[-1]
        packed += bytes.fromhex(digits)
        parts[at] = f"\3{chr(len(digits) // 2)}{odd}"
    return "".join(parts)


@dataclass(frozen=True, slots=True, eq=False)
class _Window:
    """The codes as they were read, before their names."""

    first: int
    rows: int
    names: int
    reads: list[int]  # index into the names
    at: int | None
    codes: Codes
    vector: Codes

    @classmethod
    def read(cls, at: Place, kinds: int) -> _Window:
        if not kinds & CODES:
            if kinds:
                raise EvidenceError(f"evidence without codes says {kinds} of them")
            return cls(0, 0, 0, [], None, np.zeros((0, 0), np.int16), np.zeros(0, np.int16))
        first, rows, columns = at.number(MAX_FIRST), at.number(MAX_CODES), at.number(MAX_CODES)
        position, reads, names = None, list(range(columns)), columns
        if kinds & AT:
            names = at.number(MAX_CODES)
            reads = [at.number(names - 1) for _ in range(columns)]
            position = first + at.number(rows - 1)
        count = rows * columns + (names if kinds & AT else 0)
        if count > MAX_CODES:
            raise EvidenceError(f"evidence has {count} codes, at most {MAX_CODES} are read")
        codes = read_codes(at, count, rows, columns, unscored=bool(kinds & UNSCORED))
        window = codes[: rows * columns].reshape(columns, rows).T
        return cls(first, rows, names, reads, position, window, codes[rows * columns :])


def _texts(data: bytes, count: int) -> Iterator[str]:
    """So many texts, and nothing behind them."""
    inflate = zlib.decompressobj(-10, _WORDS)
    try:
        plain = inflate.decompress(data, MAX_TEXT).decode(errors="surrogatepass")
    except (zlib.error, UnicodeDecodeError) as error:
        raise EvidenceError(f"the texts of evidence cannot be read: {error}") from None
    packed = Place(inflate.unused_data, 0)
    texts = _PACKED.sub(lambda found: _unpacked(packed, found[1]), plain).split("\0")
    if not inflate.eof or packed.place != len(inflate.unused_data) or len(texts) != count:
        raise EvidenceError(f"evidence has {len(texts)} texts, and says that it has {count}")
    return (_ESCAPES.sub(lambda found: _RESTORED[found[0]], text) for text in texts)


def _unpacked(packed: Place, length: str | None) -> str:
    """An id as it stood in the text."""
    if length is not None:
        return packed.take(ord(length)).hex()
    return str(UUID(bytes=packed.take(16)))
