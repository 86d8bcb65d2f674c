"""The stream of a test: positions, scopes and codes as they are written, and how its places are called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dosimeter.detectors.artefact import dump_tensors
from dosimeter.detectors.frames import Scope
from dosimeter.detectors.reader import Reader
from dosimeter.detectors.strict_yaml import dump, load
from dosimeter.rules.testing.runs import write_runs
from dosimeter.rules.testing.streams import Piece, Stream, joined, read_stream, written

FEATURES = ("deception", "scam")


def stream(text: str, folder: Path = Path()) -> Stream:
    reader = Reader()
    found = read_stream(load(text, "s.yaml"), FEATURES, folder, reader)
    reader.refuse_if_wrong()
    assert found is not None
    return found


def test_shorter_features_are_padded_and_others_are_zero() -> None:
    found = stream('[{message: {scam: "1*3"}}, {answer: {scam: "2*1", deception: "3*2"}}]')
    assert found.codes.tolist() == [[0, 256], [0, 256], [0, 256], [768, 512], [768, 0]]
    assert found.scopes.tolist() == [Scope.MESSAGE] * 3 + [Scope.ANSWER] * 2
    assert found.positions.tolist() == [0, 1, 2, 3, 4]


def test_a_gap_moves_what_follows_and_gaps_add_up() -> None:
    found = stream('[{gap: 2}, {answer: {scam: "1*2"}}, {gap: 3}, {gap: 1}, {answer: {scam: 1}}]')
    assert found.positions.tolist() == [2, 3, 8]


def test_a_frame_is_cut_where_the_scope_changes_and_where_positions_are_missing() -> None:
    found = stream(
        '[{message: {scam: "1*2"}}, {answer: {scam: "2*2"}}, {answer: {scam: "3*1"}}, {gap: 4},'
        ' {answer: {scam: "4*1"}}]'
    )
    frame = found.frame(9, ("other", "scam"))
    assert frame.segments.tolist() == [(9, 0, 2, 2), (9, 2, 3, 3), (9, 9, 1, 3)]
    assert frame.codes.tolist() == [[0, 256], [0, 256], [0, 512], [0, 512], [0, 768], [0, 1024]]


def test_places_count_the_tokens_of_their_scope_over_the_request() -> None:
    found = stream(
        '[{message: {scam: "0*3"}}, {answer: {scam: "0*2"}}, {gap: 5}, {answer: {scam: "0*1"}},'
        ' {message: {scam: "0*1"}}, {answer: {scam: "0*4"}}]'
    )
    labels = [found.label(int(position), False) for position in found.positions]
    assert labels == [
        "message 1", "message 2", "message 3", "answer 1", "answer 2", "answer 3",
        "message 4", "answer 4", "answer 5", "answer 6", "answer 7",
    ]  # fmt: skip
    ends = [found.label(position, True) for position in (2, 10, 11, 15)]
    assert ends == ["end of message", "end of answer", "end of message 2", "end of answer 2"]


def test_a_fixture_stands_between_other_entries(tmp_path: Path) -> None:
    tensors = {
        "scopes": np.array([2, 3], np.uint8),
        "codes.scam": np.array([5, 6], np.int16),
        "codes.deception": np.array([7, -32768], np.int16),
    }
    (tmp_path / "f.safetensors").write_bytes(dump_tensors(tensors))
    found = stream('[{gap: 1}, {fixture: f.safetensors}, {answer: {scam: "1*1"}}]', tmp_path)
    assert found.codes.tolist() == [[7, 5], [-32768, 6], [0, 256]]
    assert found.scopes.tolist() == [2, 3, 3]
    assert found.positions.tolist() == [1, 2, 3]


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    pieces = []
    for _ in range(draw(st.integers(1, 5))):
        n = draw(st.integers(1, 6))
        codes = draw(
            st.lists(st.integers(-900, 900) | st.just(-32768), min_size=2 * n, max_size=2 * n)
        )
        scope = draw(st.sampled_from(list(Scope)))
        gap = draw(st.integers(0, 3))
        pieces.append(
            Piece(np.array(codes, np.int16).reshape(n, 2), np.full(n, int(scope), np.uint8), gap)
        )
    return joined(FEATURES, pieces)


@given(streams())
def test_what_is_written_reads_back_to_the_same_stream(one: Stream) -> None:
    entries = [
        {
            key: value if isinstance(value, int) else {f: write_runs(c) for f, c in value.items()}
            for key, value in entry.items()
        }
        for entry in written(one)
    ]
    again = stream(dump(entries).decode())
    assert again.codes.tolist() == one.codes.tolist()
    assert again.scopes.tolist() == one.scopes.tolist()
    assert again.positions.tolist() == one.positions.tolist()
