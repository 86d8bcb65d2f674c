"""The compact evidence: exact for whatever a ledger can hold, small, and refused for anything else."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dosimeter.detectors.frames import CODE_UNSCORED, Codes
from dosimeter.monitor.audit.evidence.evidence_body import MAX_TEXT, Body, decode_body, encode_body
from dosimeter.monitor.history.evidence import Evidence, EvidenceError

FEATURES = ("deception", "sycophancy", "scam", "defection", "scam_warning")
CORE = {
    "labels": {
        "conversation": "defection-00002.0",
        "request_id": "defection-00002.0-f08c78",
        "tenant": "city-post",
        "traceparent": "00-85018cf9bee0e3c89e116ff48ede3063-685bb74ddda52f64-01",
        "user": "city-post-user-03",
    },
    "summary": "Defection in an answer of dosimeter-lab to city-post: 2.60 sd over 4 tokens",
    "coverage": "38 of 38 tokens of this request were scored so far",
    "position": 190,
}
AT_REST = 16 + 28
"""Salt, and what AES-GCM adds."""


def stream(rows: int, correlation: float, seed: int, columns: int = 5) -> Codes:
    """Scores as benign traffic has them: normal, 256 codes a standard deviation, each like the one before."""
    rng = np.random.default_rng(seed)
    found = rng.normal(0, 256, (rows, columns))
    for row in range(1, rows):
        found[row] = correlation * found[row - 1] + np.sqrt(1 - correlation**2) * found[row]
    return np.rint(found).astype(np.int16)


def same(body: Body, core: dict[str, object], evidence: Evidence, reads: tuple[str, ...]) -> None:
    """Worked out from the evidence itself."""
    assert body.labels == core["labels"]
    assert (body.summary, body.coverage) == (core["summary"], core["coverage"])
    held = [name for name in reads if name in evidence.columns]
    assert (body.first, body.columns) == (evidence.first, tuple(held))
    expected = evidence.codes[:, [evidence.columns.index(name) for name in held]]
    assert body.codes.shape == expected.shape
    assert body.codes.dtype == np.int16
    assert np.array_equal(body.codes, expected)
    assert body.tokens == evidence.tokens
    position = core["position"]
    assert isinstance(position, int)
    if evidence.first <= position < evidence.first + len(evidence.codes):
        row = evidence.codes[position - evidence.first].tolist()
        assert body.at == position
        assert list(body.vector.items()) == list(zip(evidence.columns, row, strict=True))
    else:
        assert (body.at, dict(body.vector)) == (None, {})


texts = st.one_of(
    st.text(max_size=40),
    st.text("0123456789abcdef-\0\1\2\3", max_size=80),
    st.uuids().map(str),
    st.sampled_from(list(CORE["labels"].values())),
)


@settings(max_examples=60)
@given(
    labels=st.dictionaries(
        st.one_of(st.sampled_from(["tenant", "user", "route", "traceparent"]), texts), texts
    ),
    words=st.tuples(texts, texts),
    first=st.integers(0, 2**48),
    rows=st.lists(st.tuples(*[st.integers(-32768, 32767)] * 3), max_size=30),
    offset=st.integers(-3, 33),
    reads=st.permutations(["f0", "f1", "f2", "other"]).flatmap(
        lambda names: st.integers(0, 4).map(lambda n: tuple(names[:n]))
    ),
    shown=st.none() | st.lists(texts, min_size=30, max_size=30),
)
def test_what_is_encoded_comes_back(
    labels: dict[str, str],
    words: tuple[str, str],
    first: int,
    rows: list[tuple[int, int, int]],
    offset: int,
    reads: tuple[str, ...],
    shown: list[str] | None,
) -> None:
    codes = np.array(rows, np.int16).reshape(-1, 3)
    tokens = None if shown is None else tuple(shown[: len(rows)])
    evidence = Evidence(first, ("f0", "f1", "f2"), codes, tokens)
    core = {"labels": labels, "summary": words[0], "coverage": words[1], "position": first + offset}
    same(decode_body(encode_body(core, evidence, reads)), core, evidence, reads)


@given(
    labels=st.dictionaries(st.sampled_from(["tenant", "user"]), texts),
    summary=texts,
    coverage=texts,
)
def test_a_record_without_codes_keeps_its_labels_and_words(
    labels: dict[str, str], summary: str, coverage: str
) -> None:
    core = {"labels": labels, "summary": summary, "coverage": coverage}
    body = decode_body(encode_body(core, None, ()))
    assert (body.labels, body.summary, body.coverage) == (labels, summary, coverage)
    assert (body.columns, body.codes.shape, body.at, body.tokens) == ((), (0, 0), None, None)


@pytest.mark.parametrize("gone", ["none", "some", "a run", "all"])
@pytest.mark.parametrize("scale", [0, 1, 40, 3000])
def test_codes_of_any_size_come_back_with_what_was_never_scored(gone: str, scale: int) -> None:
    codes = np.clip(stream(256, 0.8, 1).astype(np.int64) * scale // 256, -32767, 32767).astype(
        np.int16
    )
    rng = np.random.default_rng(2)
    if gone == "some":
        codes[rng.random(codes.shape) < 0.1] = CODE_UNSCORED
    elif gone != "none":
        codes[: 100 if gone == "a run" else None] = CODE_UNSCORED
    evidence = Evidence(1000, FEATURES, codes)
    core = CORE | {"position": 1200}
    same(decode_body(encode_body(core, evidence, FEATURES[1:4])), core, evidence, FEATURES[1:4])


@pytest.mark.parametrize(("columns", "limit"), [(1, 360), (2, 520)])
@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.8, 0.95])
def test_a_usual_alert_takes_few_bytes_at_rest(
    columns: int, limit: int, correlation: float
) -> None:
    sizes = [
        len(
            encode_body(
                CORE, Evidence(100, FEATURES, stream(130, correlation, seed)), FEATURES[:columns]
            )
        )
        for seed in range(20)
    ]
    assert max(sizes) + AT_REST <= limit


def test_codes_cost_little_more_than_their_entropy() -> None:
    """Of 256 codes a standard deviation, log2(256 * sqrt(2 pi e)) = 10.05 bits each."""
    without = len(encode_body(CORE, Evidence(100, FEATURES, stream(0, 0, 1)), FEATURES[:1]))
    size = len(encode_body(CORE, Evidence(1, FEATURES, stream(4000, 0, 1)), FEATURES[:1]))
    assert (size - without) * 8 / 4000 < 10.05 + 0.35


def test_ids_in_hexadecimal_take_half_their_length() -> None:
    plain = encode_body(CORE | {"labels": {}}, None, ())
    trace = encode_body(CORE | {"labels": {"traceparent": CORE["labels"]["traceparent"]}}, None, ())
    assert len(trace) - len(plain) <= 24 + 16


def test_equal_evidence_has_equal_bytes() -> None:
    evidence = Evidence(100, FEATURES, stream(130, 0.5, 3))
    assert encode_body(CORE, evidence, FEATURES[:2]) == encode_body(
        dict(CORE), evidence, FEATURES[:2]
    )


def encoded() -> bytes:
    codes = stream(60, 0.5, 4)
    codes[10:13] = CODE_UNSCORED
    tokens = tuple(f"t{i}" for i in range(60))
    return encode_body(
        CORE | {"position": 130}, Evidence(100, FEATURES, codes, tokens), FEATURES[:2]
    )


def test_every_cut_is_refused() -> None:
    whole = encoded()
    for length in range(len(whole)):
        with pytest.raises(EvidenceError):
            decode_body(whole[:length])
    with pytest.raises(EvidenceError):
        decode_body(whole + b"\0")


def test_every_changed_byte_is_another_body_or_refused() -> None:
    whole = bytearray(encoded())
    for place in range(len(whole)):
        for change in (0x01, 0x80, 0xFF):
            changed = bytearray(whole)
            changed[place] ^= change
            try:
                decode_body(bytes(changed))
            except EvidenceError:
                continue


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    for body in (data, b"\1" + data, b"\1\1" + data, b"\1\3" + data):
        try:
            decode_body(body)
        except EvidenceError:
            continue


@pytest.mark.parametrize(
    "numbers",
    [
        b"\0\0" + b"\xff" * 8 + b"\x7f",  # first beyond any position
        b"\0\0\0" + b"\xff\xff\x7f\x01",  # two million rows
        b"\0\0\0" + b"\x80\x80\x04\x02",  # 65536 rows of two columns, and no codes
        b"\0\0" + b"\xff" * 400,  # a number that does not end
    ],
)
def test_sizes_that_no_alert_has_are_refused_before_they_are_made(numbers: bytes) -> None:
    with pytest.raises(EvidenceError):
        decode_body(b"\1\1" + numbers)


def test_text_that_inflates_without_end_is_refused() -> None:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -10)
    bomb = deflate.compress(b"a" * (MAX_TEXT + 1) + b"\0b") + deflate.flush()
    with pytest.raises(EvidenceError):
        decode_body(b"\1\0\0\0" + bomb)
    with pytest.raises(EvidenceError):
        encode_body({"summary": "a" * (MAX_TEXT + 1)}, None, ())


def test_another_version_is_refused_by_its_number() -> None:
    with pytest.raises(EvidenceError, match="version 1"):
        decode_body(b"\2" + encoded()[1:])
