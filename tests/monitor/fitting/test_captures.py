"""What captures hold equals what they are made of; a run that was broken off goes on and recomputes nothing."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dosimeter.detectors.examples import Example
from dosimeter.detectors.frames import Scope
from dosimeter.detectors.identity import ModelIdentity
from dosimeter.detectors.pack import Pack
from dosimeter.monitor.fitting import captures
from dosimeter.monitor.fitting.captures import Captured, capture_all
from dosimeter.monitor.fitting.subject import Floats, Tell, Tokens, batches, statistic
from dosimeter.monitor.progress import Progress

IDENTITY = ModelIdentity("fake", "Fake", 4, "float32", "a" * 64, "b" * 64, "", "")
LAYERS = (1, 3)


class Broken(RuntimeError):
    """The machine went away."""


class Fake:
    """A model whose activations are arithmetic of token, position and block; it counts what it is asked."""

    blocks, width, reads, window = 5, 4, "model", None

    def __init__(self, identity: ModelIdentity = IDENTITY, most: int = 1 << 30) -> None:
        self.identity = identity
        self.asked = 0
        self._most = most

    def hidden(self, tokens: Tokens, layer: int) -> Floats:
        ids = np.array(tokens.ids, dtype=np.float64)
        at = np.arange(len(ids))
        return np.stack([np.sin(ids * (d + 1) + layer * at) for d in range(4)], 1).astype("f4")

    def activations(
        self, tokens: Sequence[Tokens], layers: Sequence[int], tell: Tell
    ) -> Iterator[tuple[int, Floats]]:
        for index in reversed(range(len(tokens))):  # in any order
            if self.asked == self._most:
                raise Broken
            self.asked += 1
            yield index, np.stack([self.hidden(tokens[index], n) for n in layers], axis=1)

    def embedded(self, tokens: Tokens) -> Floats:
        return self.hidden(tokens, 0)

    def tokens(self, example: Example, scope: Scope) -> Tokens:
        raise NotImplementedError

    def pieces(self, tokens: Tokens) -> list[str]:
        raise NotImplementedError

    def scores(
        self, tokens: Sequence[Tokens], packs: Sequence[Pack], tell: Tell
    ) -> Iterator[tuple[int, Floats]]:
        raise NotImplementedError


def some(n: int, seed: int = 0) -> list[Tokens]:
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        length = int(rng.integers(1, 40))
        read = rng.random(length) < 0.6
        read[rng.integers(length)] = True
        ids = tuple(rng.integers(0, 99, length).tolist())
        found.append(Tokens(ids, np.full(length, 3, np.uint8), read))
    return found


def nothing(done: int, of: int) -> None:
    pass


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captures, "PART", 8)


def assert_equal(one: Captured, other: Captured) -> None:
    for field in fields(Captured):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))


def test_every_array_is_what_the_model_left(tmp_path: Path) -> None:
    subject, tokens = Fake(), some(30)
    found = capture_all(subject, tokens, LAYERS, tmp_path, nothing)
    assert found.layers == LAYERS
    assert (np.diff(found.of) >= 0).all()
    for i, one in enumerate(tokens):
        rows = np.stack([subject.hidden(one, n) for n in LAYERS], axis=1)[one.read]
        np.testing.assert_allclose(found.means[i], rows.mean(axis=0), atol=1e-6)
        np.testing.assert_array_equal(found.last[i], rows[-1])
        np.testing.assert_allclose(
            found.embedded[i], subject.hidden(one, 0)[one.read].mean(axis=0), atol=1e-6
        )
        assert found.lengths[i] == one.read.sum()
        sampled = found.sampled[found.of == i]
        assert len(sampled) == min(captures.MOST_SAMPLES, len(rows))
        assert all((rows == row).all(axis=(1, 2)).any() for row in sampled)
        np.testing.assert_array_equal(sampled[0], rows[0])
        if len(rows) > 1:
            np.testing.assert_array_equal(sampled[-1], rows[-1])


@pytest.mark.parametrize("most", [0, 1, 7, 8, 9, 17, 29])
def test_a_run_that_was_broken_off_goes_on_where_it_was(tmp_path: Path, most: int) -> None:
    tokens = some(30)
    with pytest.raises(Broken):
        capture_all(Fake(most=most), tokens, LAYERS, tmp_path, nothing)
    rest = Fake()
    found = capture_all(rest, tokens, LAYERS, tmp_path, nothing)
    assert rest.asked == 30 - most // 8 * 8  # whole parts of 8 are never asked for again
    assert_equal(found, capture_all(Fake(), tokens, LAYERS, tmp_path / "afresh", nothing))
    idle = Fake(most=0)
    assert_equal(found, capture_all(idle, tokens, LAYERS, tmp_path, nothing))


@pytest.mark.parametrize("broken", [b"", b"\x00" * 40, None])
def test_a_part_that_cannot_be_read_is_made_again(tmp_path: Path, broken: bytes | None) -> None:
    tokens = some(20)
    first = capture_all(Fake(), tokens, LAYERS, tmp_path, nothing)
    path = sorted(tmp_path.glob("*/part-*.safetensors"))[1]
    path.write_bytes(path.read_bytes()[:-1] if broken is None else broken)
    again = Fake()
    assert_equal(first, capture_all(again, tokens, LAYERS, tmp_path, nothing))
    assert again.asked == 8


def other_model(tokens: list[Tokens]) -> tuple[Fake, list[Tokens], tuple[int, ...]]:
    return (
        Fake(ModelIdentity("x", "Fake", 4, "float32", "c" * 64, "b" * 64, "", "")),
        tokens,
        LAYERS,
    )


def other_layers(tokens: list[Tokens]) -> tuple[Fake, list[Tokens], tuple[int, ...]]:
    return Fake(), tokens, (1, 2)


def other_text(tokens: list[Tokens]) -> tuple[Fake, list[Tokens], tuple[int, ...]]:
    one = tokens[3]
    return (
        Fake(),
        [*tokens[:3], Tokens((7, *one.ids[1:]), one.scopes, one.read), *tokens[4:]],
        LAYERS,
    )


def other_reading(tokens: list[Tokens]) -> tuple[Fake, list[Tokens], tuple[int, ...]]:
    one = next(t for t in tokens if not t.read.all())
    changed = Tokens(one.ids, one.scopes, np.ones_like(one.read))
    return Fake(), [changed if t is one else t for t in tokens], LAYERS


@pytest.mark.parametrize("change", [other_model, other_layers, other_text, other_reading])
def test_what_activations_depend_on_is_never_taken_from_another_run(
    tmp_path: Path,
    change: Callable[[list[Tokens]], tuple[Fake, list[Tokens], tuple[int, ...]]],
) -> None:
    tokens = some(10)
    capture_all(Fake(), tokens, LAYERS, tmp_path, nothing)
    subject, changed, layers = change(tokens)
    found = capture_all(subject, changed, layers, tmp_path, nothing)
    assert subject.asked == 10
    assert found.layers == layers


def test_fewer_tokens_are_sampled_where_more_would_not_be_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captures, "MOST_BYTES", 10 * 2 * 4 * 4 * 3)
    found = capture_all(Fake(), some(10), LAYERS, tmp_path, nothing)
    assert np.bincount(found.of).max() == 3


def test_progress_counts_up_to_all_and_includes_what_was_kept(tmp_path: Path) -> None:
    tokens, told = some(20), []
    capture_all(Fake(), tokens[:20], LAYERS, tmp_path, nothing)
    capture_all(Fake(most=0), tokens, LAYERS, tmp_path, lambda done, of: told.append((done, of)))
    assert told == [(8, 20), (16, 20), (20, 20)]


def test_progress_is_told_every_few_seconds_where_nothing_is_redrawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown, clock = io.StringIO(), iter([0.0, 1.0, 5.0, 6.0, 10.0])
    monkeypatch.setattr(sys, "stderr", shown)
    progress = Progress("reading", lambda: next(clock))
    for done in (1, 2, 3, 4):
        progress(done, 4)
    assert shown.getvalue() == (
        "reading ██████████░░░░░░░░░░ 2 of 4, 5 s left\nreading ████████████████████ 4 of 4, 0 s left\n"
    )


@given(st.lists(st.integers(1, 60), max_size=40), st.integers(60, 200), st.integers(1, 8))
def test_every_text_is_in_one_batch_and_no_padded_batch_is_too_large(
    lengths: list[int], most: int, rows: int
) -> None:
    tokens = [Tokens((1,) * n, np.zeros(n, np.uint8), np.ones(n, bool)) for n in lengths]
    found = list(batches(tokens, most, rows))
    assert sorted(i for batch in found for i in batch) == list(range(len(lengths)))
    for batch in found:
        assert len(batch) <= rows
        assert len(batch) * max(lengths[i] for i in batch) <= most
    flat = [lengths[i] for batch in found for i in batch]
    assert flat == sorted(flat, reverse=True)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 12) | st.none(), st.integers(0, 99))
def test_a_text_speaks_by_its_largest_window_or_its_mean(
    n: int, window: int | None, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    scores, read = rng.standard_normal((n, 2)).astype("f4"), rng.random(n) < 0.7
    read[0] = True
    kept = scores[read].astype(float)
    if window is None or len(kept) <= window:
        expected = kept.mean(axis=0)
    else:
        means = [kept[i : i + window].mean(axis=0) for i in range(len(kept) - window + 1)]
        expected = np.max(means, axis=0)
    np.testing.assert_allclose(statistic(scores, read, window), expected, atol=1e-9)
