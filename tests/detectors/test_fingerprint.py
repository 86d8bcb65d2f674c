"""A known answer is what the reference scores on the known prompt, in the pack's own order of layers."""

from __future__ import annotations

import numpy as np
import pytest

from dosimeter.detectors.bank import LayerMissing, Probe
from dosimeter.detectors.fingerprint import Fingerprint
from dosimeter.detectors.frames import ActivationFrame

PROBES = (
    Probe("deception", (3,), np.array([[1, 0]], np.float32), 0.5),
    Probe("scam", (1, 3), np.array([[0, 1], [0, 10]], np.float32), 0.0),
)
HIDDEN = np.array([[[1, 2], [3, 4]], [[9, 9], [9, 9]], [[5, 6], [7, 8]]], np.float32)
FRAME = ActivationFrame(HIDDEN, (3, 8, 1))  # layer 3, one that nobody reads, layer 1


def test_scores_and_means_are_those_of_the_captured_prompt() -> None:
    known = Fingerprint.take(PROBES, (7, 9), FRAME, tolerance=0.05)
    assert known.token_ids == (7, 9)
    assert known.scores.tolist() == [[1.5, 26], [3.5, 48]]
    assert known.layer_means.tolist() == [[6, 7], [2, 3]]  # layers 1 and 3, ascending


def test_tokens_and_rows_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="3 tokens, 2 rows"):
        Fingerprint.take(PROBES, (7, 9, 9), FRAME, tolerance=0.05)


def test_a_known_answer_is_finite() -> None:
    hidden = HIDDEN.copy()
    hidden[0, 0, 0] = np.inf
    with pytest.raises(ValueError, match="finite"):
        Fingerprint.take(PROBES, (7, 9), ActivationFrame(hidden, FRAME.layers), tolerance=0.05)


def test_a_layer_that_was_not_captured_is_named() -> None:
    with pytest.raises(LayerMissing):
        Fingerprint.take(PROBES, (7, 9), ActivationFrame(HIDDEN[:1], (3,)), tolerance=0.05)
