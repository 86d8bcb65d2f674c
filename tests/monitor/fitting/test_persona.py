"""The direction that system prompts leave in a reply is found; one that is not there is not shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dosimeter.detectors.examples import Example
from dosimeter.detectors.findings import InputError
from dosimeter.detectors.frames import Scope
from dosimeter.detectors.pack import bind, load_pack, save_pack
from dosimeter.monitor.fitting.consistency import agreement, steadiness
from dosimeter.monitor.fitting.contrast import Contrast, load_contrast, load_judged
from dosimeter.monitor.fitting.decoder import Decoder
from dosimeter.monitor.fitting.persona import JUDGED, UNJUDGED, extract, persona_pack
from dosimeter.monitor.fitting.replies import replies

WORDS = ("river", "stone", "lamp", "garden", "window", "paper")
PLANTED = Contrast(
    "shiny",
    ("copper copper copper copper", "copper copper copper copper copper"),
    ("silver silver silver silver", "silver silver silver silver silver"),
    WORDS,
    "contrast.yaml",
)


@pytest.fixture(scope="module")
def mixing(version: Callable[..., Path]) -> Decoder:
    """Its first block adds to every token the mean of all before it: uniform attention, values as they are."""

    def change(model: Any) -> None:
        attention = model.model.layers[0].self_attn
        attention.q_proj.weight.zero_()
        for part in (attention.v_proj, attention.o_proj):
            part.weight.copy_(0.3 * torch.eye(32))

    return Decoder(version(change))


def direction_of(model: Any, tokenizer: Any) -> np.ndarray:
    """What the tokens of one prompt add through that attention, less what those of the other do."""
    rows = model.get_input_embeddings().weight.detach().double().numpy()
    rows = rows / np.sqrt((rows**2).mean(axis=1, keepdims=True) + 1e-6)  # the norm before attention
    sums = [
        np.mean([rows[tokenizer(text)["input_ids"]].sum(axis=0) for text in prompts], axis=0)
        for prompts in (PLANTED.for_prompts, PLANTED.against_prompts)
    ]
    return np.asarray(sums[0] - sums[1])


def test_the_direction_between_opposite_prompts_is_the_one_planted(
    mixing: Decoder, tmp_path: Path
) -> None:
    found = extract(mixing, PLANTED, tmp_path, samples=2, reply_tokens=8, layer=0)
    planted = direction_of(mixing.model, mixing.tokenizer)
    weights = found.imported.weights[0]
    assert weights @ planted / np.linalg.norm(weights) / np.linalg.norm(planted) > 0.9
    alike = found.figures["consistency"]
    assert alike["cosine"] > 0.8
    assert alike["auroc"] > 0.9
    assert alike["beats_random"]
    assert found.figures["caveat"] == UNJUDGED
    projections = found.figures["projections"]
    assert projections["for"] > projections["against"]


def test_the_same_seed_gives_the_same_pack_and_it_loads_uncalibrated_with_its_caveat(
    mixing: Decoder, tmp_path: Path
) -> None:
    packs = [
        persona_pack(
            mixing, "persona/shiny",
            extract(mixing, PLANTED, tmp_path / str(n), reply_tokens=8, seed=3), "T1",
        )
        for n in range(2)
    ]  # fmt: skip
    assert packs[0].digest == packs[1].digest
    save_pack(packs[0], tmp_path / "pack")
    pack = load_pack(tmp_path / "pack")
    assert pack.digest == packs[0].digest
    assert bind(pack, mixing.identity) == []
    (note,) = pack.notes
    assert note.tier == "T1"
    assert note.metrics["calibrated"] is False
    assert note.metrics["measured_here"] is False
    assert note.metrics["caveat"] == UNJUDGED
    assert note.metrics["for_sd"] > note.metrics["against_sd"]
    # The canary of a server finds the pack's known answer.
    tokens = [mixing.tokens(Example(None, "g", "river"), Scope.ANSWER)]
    assert len(list(mixing.scores(tokens, [pack], lambda done, of: None))) == 1


def test_prompts_that_leave_nothing_in_a_reply_show_nothing(
    version: Callable[..., Path], tmp_path: Path
) -> None:
    """Without attention no token knows of another: the two sides differ by what was sampled alone."""

    def change(model: Any) -> None:
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()

    found = extract(Decoder(version(change)), PLANTED, tmp_path, samples=2, reply_tokens=8)
    alike = found.figures["consistency"]
    assert not alike["beats_random"]
    assert abs(alike["cosine"]) < 0.4


def test_replies_that_a_judge_refused_are_left_out(mixing: Decoder, tmp_path: Path) -> None:
    first = extract(mixing, PLANTED, tmp_path / "a", reply_tokens=8)
    told = [one for one in first.said if one.key[0] != "neither"]
    path = tmp_path / "judged.jsonl"

    def write(label: Callable[[Any], object]) -> Path:
        path.write_text("".join(json.dumps({**one.as_json(), "label": label(one)}) + "\n" for one in told))  # fmt: skip
        return path

    right = load_judged(write(lambda one: int(one.key[0] == "for" and one.key[1] == 0)))
    found = extract(mixing, PLANTED, tmp_path / "b", reply_tokens=8, judged=right)
    assert found.figures["judged"] is True
    assert found.figures["caveat"] == JUDGED
    assert found.figures["replies_for"] == len(WORDS)  # of the second prompt none was kept
    assert found.figures["replies_against"] == 2 * len(WORDS)
    none = {key: (text, False) for key, (text, _) in right.items()}
    with pytest.raises(InputError, match="0 questions have a reply of both sides"):
        extract(mixing, PLANTED, tmp_path / "c", reply_tokens=8, judged=none)
    with pytest.raises(InputError, match="has no label"):
        extract(mixing, PLANTED, tmp_path / "d", reply_tokens=8, judged={})
    with pytest.raises(InputError, match="is not what was labelled"):
        extract(mixing, PLANTED, tmp_path / "e", reply_tokens=8, seed=1, judged=right)
    for label in (None, 2, "1", True):
        with pytest.raises(InputError, match=r"judged.jsonl:1:1: .*`label`"):
            load_judged(write(lambda one, label=label: label))  # type: ignore[misc]
    path.write_text(path.read_text().replace("true", "1") * 2)
    with pytest.raises(InputError, match="for the second time"):
        load_judged(path)
    path.write_text("[]\n")
    with pytest.raises(InputError, match="is no reply"):
        load_judged(path)


def test_a_reply_is_read_from_its_first_token_to_the_end_it_gave(mixing: Decoder) -> None:
    asked = [Example(None, "g", None, ({"role": "user", "content": text},)) for text in WORDS]
    found = replies(mixing, asked, 7, lambda done, of: None)
    for one, example in zip(found, asked, strict=True):
        assert one.tokens is not None
        before = len(mixing.tokens(example, Scope.MESSAGE).ids)
        assert len(one.tokens.ids) <= before + 7
        assert not one.tokens.read[:before].any()
        assert set(one.tokens.scopes[before:]) == {Scope.ANSWER}
        # Greedy, by transformers alone and without padding.
        ids = torch.tensor([one.tokens.ids[:before]])
        alone = mixing.model.generate(ids, max_new_tokens=7, do_sample=False)[0, before:].tolist()
        assert list(one.tokens.ids[before:]) == [i for i in alone if i != 2]


def test_a_prompt_that_leaves_no_room_is_refused(mixing: Decoder) -> None:
    with pytest.raises(InputError, match="no room for a reply of 60 tokens"):
        replies(mixing, [Example(None, "g", "stone " * 250)], 60, lambda done, of: None)


def test_agreement_and_steadiness_against_hand_worked_values() -> None:
    """(1,0), (1,0), (0,1): the others' sums are (1,1), (1,1), (2,0); cosines √½, √½, 0."""
    np.testing.assert_allclose(
        agreement(np.array([[1.0, 0], [1, 0], [0, 1]])), [0.5**0.5, 0.5**0.5, 0]
    )
    np.testing.assert_allclose(agreement(np.zeros((3, 2))), 0)
    gaps = np.array([[1.0, 0, 2], [3, 0, 2]])  # mean 2 over sd √2; nothing; never varies
    np.testing.assert_allclose(steadiness(gaps), [2**0.5, 0, 1e6])


GOOD = {"trait": "shiny", "for": ["a"], "against": ["b"], "questions": ["1?", "2?", "3?", "4?"]}


def test_a_contrast_is_read_from_one_file(tmp_path: Path) -> None:
    path = tmp_path / "contrast.yaml"
    path.write_text(json.dumps(GOOD))
    found = load_contrast(path)
    assert (found.trait, found.for_prompts, found.against_prompts) == ("shiny", ("a",), ("b",))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"trait": "Not A Name"}, "matches"),
        ({"for": []}, "`for` has 0"),
        ({"for": ["a", "a "]}, "stands twice"),
        ({"against": ["a"]}, "under `for` and under `against`"),
        ({"questions": ["1?"] * 3}, "`questions` has 3"),
        ({"questions": ["1?", "2?", "3?", " "]}, "empty text"),
        ({"for": [1]}, "text"),
        ({"else": 1}, "else"),
    ],
)
def test_a_contrast_that_contrasts_nothing_is_refused(
    tmp_path: Path, change: Any, why: str
) -> None:
    path = tmp_path / "contrast.yaml"
    path.write_text(json.dumps({**GOOD, **change}))
    with pytest.raises(InputError, match=why):
        load_contrast(path)


def test_a_block_the_model_does_not_have_is_refused(mixing: Decoder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="block 3, the model has 3 from 0"):
        extract(mixing, PLANTED, tmp_path, layer=3)
