"""End to end in miniature: what is planted in activations is found, and what is not there is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.linear_model  # noqa: F401  its threads are limited below
import torch
from scipy.linalg import eigh
from threadpoolctl import threadpool_limits
from transformers import LlamaConfig, LlamaForCausalLM

from dosimeter.detectors.examples import Example
from dosimeter.detectors.frames import Scope
from dosimeter.detectors.pack import bind, load_pack, save_pack
from dosimeter.detectors.registry import load_features
from dosimeter.monitor.fitting.build import learn
from dosimeter.monitor.fitting.captures import capture_all
from dosimeter.monitor.fitting.decoder import Decoder
from dosimeter.monitor.fitting.lesson import Lesson, lesson_of
from dosimeter.monitor.fitting.library import candidate_layers
from dosimeter.monitor.fitting.packing import make_pack
from dosimeter.monitor.lab import MODEL
from dosimeter.monitor.taps.attach import attach

LAYER = 2
N = 240
WORDS = (
    *("river", "stone", "lamp", "garden", "window", "paper", "copper", "music", "winter", "bread"),
    *("letter", "bridge", "market", "silver", "engine", "basket", "harbour", "ladder", "candle"),
)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads that wait for one another cost five times the arithmetic of problems as small as these."""
    with threadpool_limits(1):
        yield


@dataclass(frozen=True)
class Planted:
    """Texts of random words, a third thrown away, labelled by the model's own activations."""

    texts: list[str]
    labels: list[bool]

    def write(self, folder: Path, held_out: int = 80) -> None:
        rows = [
            json.dumps({"text": text, "label": int(label)})
            for text, label in zip(self.texts, self.labels, strict=True)
        ]
        folder.mkdir(exist_ok=True)
        (folder / "scam_fit.jsonl").write_text("\n".join(rows[held_out:]))
        (folder / "scam_wild.jsonl").write_text("\n".join(rows[:held_out]))


@pytest.fixture(scope="module")
def lab() -> Decoder:
    return Decoder(MODEL)


def quiet(what: str) -> Callable[[int, int], None]:
    return lambda done, of: None


@pytest.fixture(scope="module")
def planted(lab: Decoder, tmp_path_factory: pytest.TempPathFactory) -> Planted:
    """Labels: along a direction of block 2 that varies where the embedding layer tells nothing.

    So the probe can find it, and neither words nor embeddings alone do.
    """
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, 12)) for _ in range(N * 3 // 2)]
    tokens = [lab.tokens(Example(None, t, t), Scope.ANSWER) for t in texts]
    found = capture_all(lab, tokens, (LAYER,), tmp_path_factory.mktemp("w"), quiet(""))
    hidden = found.means[:, 0].astype(float)
    told = np.column_stack([found.embedded.astype(float), found.lengths, np.ones(len(texts))])
    rest = hidden - told @ np.linalg.lstsq(told, hidden, rcond=None)[0]
    every = np.cov(hidden.T)
    floor = 0.1 * np.trace(every) / len(every) * np.eye(len(every))
    along = hidden @ eigh(np.cov(rest.T), every + floor)[1][:, -1]
    low, high = np.quantile(along, [1 / 3, 2 / 3])
    kept = [i for i, v in enumerate(along) if not low <= v <= high]
    return Planted([texts[i] for i in kept], [bool(along[i] > high) for i in kept])


def lesson(folder: Path) -> Lesson:
    features = load_features()
    return lesson_of(features["scam"], features, folder)


def failed(evidence: dict[str, Any]) -> set[str]:
    return {check["check"] for check in evidence["checks"] if not check["passed"]}


@pytest.mark.parts
def test_what_is_planted_is_found_and_its_pack_scores_as_in_a_server(
    lab: Decoder, planted: Planted, tmp_path: Path
) -> None:
    planted.write(tmp_path / "data")
    (found,) = learn(lab, [lesson(tmp_path / "data")], tmp_path / "work", quiet)
    assert failed(found.evidence) == set()
    assert found.evidence["verdict"] in ("accepted", "experimental")
    cross, wild = found.evidence["sets"]
    assert (cross["name"], wild["name"]) == ("cross-validated", "wild")
    assert wild["auroc"]["low"] > 0.65
    assert max(wild["nulls"]["tfidf"], wild["nulls"]["embedding"]) < 0.7 < wild["auroc"]["value"]
    assert abs(wild["auroc"]["value"] - cross["auroc"]["value"]) < 0.15
    json.dumps(found.evidence, allow_nan=False)

    pack = make_pack(lab, "own/scam", [found], "T1")
    assert pack is not None
    save_pack(pack, tmp_path / "pack")
    loaded = load_pack(tmp_path / "pack")
    assert bind(loaded, lab.identity) == []
    with attach(lab.model, [loaded]):  # its known answer is the model's
        pass
    tokens = [lab.tokens(Example(None, t, t), Scope.ANSWER) for t in planted.texts[:4]]
    layers = loaded.layers
    hidden = dict(lab.activations(tokens, layers, quiet("")))
    (probe,) = loaded.probes
    for index, scores in lab.scores(tokens, [loaded], quiet("")):
        expected = np.einsum("tld,ld->t", hidden[index], probe.weights) + probe.bias
        np.testing.assert_allclose(scores[:, 0], expected, atol=1e-3)


@pytest.mark.parts
def test_a_second_run_finds_the_captures_and_gives_the_same_pack(
    lab: Decoder, planted: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted.write(tmp_path / "data")
    one = lesson(tmp_path / "data")
    (first,) = learn(lab, [one], tmp_path / "work", quiet)
    asked: list[int] = []
    real = Decoder.activations

    def counted(
        self: Decoder, tokens: Sequence[Any], layers: Sequence[int], tell: Any
    ) -> Iterator[Any]:
        asked.append(len(tokens))
        return real(self, tokens, layers, tell)

    monkeypatch.setattr(Decoder, "activations", counted)
    (second,) = learn(lab, [one], tmp_path / "work", quiet)
    assert first.evidence == second.evidence
    assert asked == [1]  # the known answer of the trial pack, which is no text to learn from


@pytest.mark.parts
def test_shuffled_labels_are_refused_for_want_of_separation(
    lab: Decoder, planted: Planted, tmp_path: Path
) -> None:
    dealt = np.random.default_rng(1).permutation(planted.labels).tolist()
    replace(planted, labels=dealt).write(tmp_path / "data")
    (found,) = learn(lab, [lesson(tmp_path / "data")], tmp_path / "work", quiet)
    assert found.evidence["verdict"] == "refused"
    assert "separates" in failed(found.evidence)
    assert found.fit is None
    assert make_pack(lab, "own/scam", [found], "T1") is None


@pytest.mark.parts
def test_a_model_of_random_weights_is_refused(planted: Planted, tmp_path: Path) -> None:
    """What the trained weights make of the words is not in them."""
    folder = tmp_path / "random"
    shutil.copytree(MODEL, folder)
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig.from_pretrained(MODEL)).save_pretrained(folder)
    planted.write(tmp_path / "data")
    (found,) = learn(Decoder(folder), [lesson(tmp_path / "data")], tmp_path / "work", quiet)
    assert found.evidence["verdict"] == "refused"
    assert "separates" in failed(found.evidence)


def upper(text: str, rng: np.random.Generator) -> str:
    return text.upper()


def marked(text: str, rng: np.random.Generator) -> str:
    return f"{text} kindly"


def longer(text: str, rng: np.random.Generator) -> str:
    return " ".join([text, *rng.choice(WORDS, 12)])


@pytest.mark.parts
@pytest.mark.parametrize(
    ("style", "checks"),
    [
        (upper, {"beats-embedding"}),
        (marked, {"beats-embedding"}),
        (longer, {"beats-length"}),
    ],
)
def test_texts_whose_classes_differ_in_style_are_refused_and_told_why(
    lab: Decoder,
    planted: Planted,
    tmp_path: Path,
    style: Callable[[str, np.random.Generator], str],
    checks: set[str],
) -> None:
    """Labels at random, and a style for one of them: any probe finds the style, and so does a null."""
    rng = np.random.default_rng(2)
    labels = (rng.random(len(planted.texts)) < 0.5).tolist()
    texts = [style(t, rng) if label else t for t, label in zip(planted.texts, labels, strict=True)]
    Planted(texts, labels).write(tmp_path / "data")
    (found,) = learn(lab, [lesson(tmp_path / "data")], tmp_path / "work", quiet)
    assert found.evidence["sets"][1]["auroc"]["value"] > 0.9
    assert found.evidence["verdict"] == "refused"
    assert checks <= failed(found.evidence)


@pytest.mark.parametrize("blocks", [1, 2, 4, 12, 13, 24, 32, 80, 126])
def test_layers_that_are_swept_lie_within_the_model_and_are_few(blocks: int) -> None:
    found = candidate_layers(blocks)
    assert list(found) == sorted(set(found))
    assert 0 <= found[0] <= found[-1] < blocks
    assert len(found) <= 16
    if blocks > 12:
        assert found[0] >= int(0.3 * blocks)
        assert found[-1] <= 0.9 * blocks
