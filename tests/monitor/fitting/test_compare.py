"""What was planted between two versions of a model is found in its size, and nothing else is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dosimeter.detectors.examples import Example, Message
from dosimeter.detectors.findings import InputError
from dosimeter.detectors.pack import Pack
from dosimeter.monitor.fitting.compare import ALL, CONTRAST, compare, prompt_of
from dosimeter.monitor.fitting.decoder import Decoder
from dosimeter.monitor.fitting.shift import ARBITRARY, NOTHING, SHIFTED, _intervals, holm

BLOCK = 1
Version = Callable[..., Path]


def offset(vector: np.ndarray) -> Callable[[Any], None]:
    """Adds a vector to what a block leaves of every token."""

    def change(model: Any) -> None:
        model.model.layers[BLOCK].mlp.down_proj.bias += torch.tensor(vector, dtype=torch.float32)

    return change


def test_two_copies_of_a_model_differ_by_exactly_nothing(
    old: Decoder, version: Version, pack: Pack, suite: list[Example]
) -> None:
    found = compare(old, Decoder(version()), [pack], suite)
    assert [(one.shift.value, one.shift.low, one.shift.high) for one in found.shifts] == [
        (0, 0, 0)
    ] * 4
    assert {one.outcome for one in found.shifts} == {NOTHING}
    assert not found.shifted
    assert "both folders hold the same model" in found.notes


def test_a_planted_offset_is_found_in_its_size_and_the_other_feature_is_not_shifted(
    old: Decoder, version: Version, pack: Pack, suite: list[Example], axes: np.ndarray
) -> None:
    """The score is affine and the vector is added to the block's output: the shift is their product."""
    new = Decoder(version(offset(0.05 * axes[0])))
    found = compare(old, new, [pack], suite)
    told = {(one.feature, one.part): one for one in found.shifts}
    scam = told["scam", ALL]
    expected = float(pack.probes[0].weights[0].astype(np.float64) @ (0.05 * axes[0]))
    assert scam.shift.value == pytest.approx(expected, rel=1e-4)
    assert scam.outcome == SHIFTED
    assert scam.control < expected
    assert told["deception", ALL].shift.value == pytest.approx(0, abs=1e-4)
    assert told["deception", ALL].outcome != SHIFTED
    assert found.shifts[0] is scam  # worst first
    # An offset of every text is none of the risky ones against the others.
    assert told["scam", CONTRAST].shift.value == pytest.approx(0, abs=1e-4)
    assert told["scam", CONTRAST].outcome != SHIFTED


def test_what_moves_the_risky_texts_alone_is_told_apart_from_an_offset(
    old: Decoder, version: Version, pack: Pack, suite: list[Example], axes: np.ndarray
) -> None:
    token = old.tokenizer(" copper")["input_ids"][-1]

    def change(model: Any) -> None:
        model.model.embed_tokens.weight[token] += torch.tensor(0.3 * axes[0], dtype=torch.float32)

    found = compare(old, Decoder(version(change)), [pack], suite)
    told = {(one.feature, one.part): one for one in found.shifts}
    assert told["scam", CONTRAST].outcome == SHIFTED
    assert told["scam", CONTRAST].shift.value > 0.2
    assert told["deception", CONTRAST].outcome != SHIFTED


def test_a_shift_along_some_other_direction_is_not_called_one_of_the_feature(
    old: Decoder, version: Version, pack: Pack, suite: list[Example], axes: np.ndarray
) -> None:
    """A fine-tune moves everything; a little of that lies along every probe, surely and meaninglessly."""
    drawn = np.random.default_rng(11).standard_normal(len(axes[0]))
    drawn -= axes.T @ (axes @ drawn)
    drawn = drawn / np.linalg.norm(drawn) + 0.15 * axes[0]
    found = compare(old, Decoder(version(offset(0.05 * drawn))), [pack], suite)
    scam = next(one for one in found.shifts if (one.feature, one.part) == ("scam", ALL))
    assert scam.shift.low > 0  # certainly there
    assert scam.outcome == ARBITRARY


def test_the_same_seed_gives_the_same_document(
    old: Decoder, version: Version, pack: Pack, suite: list[Example], axes: np.ndarray
) -> None:
    new = Decoder(version(offset(0.02 * axes[1])))
    one, two = (compare(old, new, [pack], suite, seed=4).as_json() for _ in range(2))
    assert json.dumps(one, allow_nan=False) == json.dumps(two, allow_nan=False)
    assert one["shifts"][0]["feature"] == "deception"


def test_enough_directions_are_drawn_for_a_joint_level_to_be_reached(
    old: Decoder, pack: Pack, suite: list[Example]
) -> None:
    found = compare(old, old, [pack], suite, control_directions=1)
    rows = len(found.shifts)
    assert rows / (1 + found.directions) <= 0.05


def test_replies_are_each_models_own_and_equal_models_reply_alike(
    old: Decoder, version: Version, pack: Pack, suite: list[Example], axes: np.ndarray
) -> None:
    asked = [replace(one, text=None, messages=(says("user", one.words),)) for one in suite]
    same = compare(old, Decoder(version()), [pack], asked, reply_tokens=6)
    assert same.on == "replies"
    assert {one.shift.value for one in same.shifts} == {0.0}
    assert same.texts + same.silent == len(asked)
    moved = compare(old, Decoder(version(offset(0.05 * axes[0]))), [pack], asked, reply_tokens=6)
    assert moved.shifts[0].feature == "scam"


def says(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def test_a_prompt_is_a_conversation_without_its_reply() -> None:
    both = (says("user", "a"), says("assistant", "b"))
    assert prompt_of(Example(None, "g", None, both)).messages == both[:1]
    assert prompt_of(Example(None, "g", None, both[:1])).messages == both[:1]
    assert prompt_of(Example(None, "g", "text")).text == "text"
    with pytest.raises(InputError, match="nothing that it answers"):
        prompt_of(Example(None, "g", None, both[1:]))


def tokenizer_changed(folder: Path) -> Path:
    path = folder / "tokenizer.json"
    path.write_text(path.read_text() + "\n")
    return folder


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"hidden_size": 64}, "width"),
        ({"num_hidden_layers": 2}, "number of blocks"),
        (None, "tokenizer"),
    ],
)
def test_models_that_are_no_versions_of_one_another_are_refused(
    old: Decoder, version: Version, pack: Pack, suite: list[Example], changed: Any, why: str
) -> None:
    folder = tokenizer_changed(version()) if changed is None else version(**changed)
    with pytest.raises(InputError, match=why):
        compare(old, Decoder(folder), [pack], suite)


def test_a_pack_of_the_new_model_is_no_ruler(
    old: Decoder, version: Version, pack: Pack, suite: list[Example], axes: np.ndarray
) -> None:
    new = Decoder(version(offset(0.02 * axes[1])))
    with pytest.raises(InputError, match="not bound to the old model"):
        compare(new, old, [pack], suite)


def test_few_groups_two_packs_of_a_feature_and_a_model_that_overflows_are_refused(
    old: Decoder, version: Version, pack: Pack, suite: list[Example]
) -> None:
    with pytest.raises(InputError, match="9 groups of texts"):
        compare(old, old, [pack], suite[:9])
    with pytest.raises(InputError, match="0 groups of texts"):
        compare(old, old, [pack], [])
    with pytest.raises(InputError, match="feature `scam` is in pack"):
        compare(old, old, [pack, pack], suite)
    with pytest.raises(InputError, match="0 features"):
        compare(old, old, [], suite)
    broken = Decoder(version(offset(np.full(32, np.nan))))
    with pytest.raises(InputError, match=r"suite.jsonl:\d+:1: .*NaN"):
        compare(old, broken, [pack], suite)


def test_unlabelled_texts_are_compared_and_it_is_said_what_they_cannot_tell(
    old: Decoder, pack: Pack, suite: list[Example]
) -> None:
    found = compare(old, old, [pack], [replace(one, label=None) for one in suite])
    assert {one.part for one in found.shifts} == {ALL}
    assert any("label texts 0 and 1" in note for note in found.notes)
    risky = compare(old, old, [pack], [replace(one, label=True) for one in suite])
    assert any("every text is labelled risky" in note for note in risky.notes)


def test_holm_against_a_table_worked_by_hand() -> None:
    """0.01 · 3, 0.03 · 2, then 0.04 · 1 lifted to what came before it."""
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_repeating_the_rows_of_a_group_does_not_narrow_an_interval() -> None:
    change = np.random.default_rng(0).standard_normal((20, 2))
    groups = np.arange(20)
    whole = np.ones(20, bool)
    once = _intervals(change, groups, whole, None, 0)
    tenfold = _intervals(
        np.repeat(change, 10, 0), np.repeat(groups, 10), np.repeat(whole, 10), None, 0
    )
    np.testing.assert_allclose(once, tenfold)
    # ... and it is about ± 1.96 sd / √20.
    half = (once[0][1] - once[0][0]) / 2
    assert half == pytest.approx(1.96 * change[:, 0].std() / np.sqrt(20), rel=0.2)
