"""The reader equals its encoder alone, and what was read never changes as a text grows. Needs the weights."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel

from dosimeter.detectors.bank import Probe
from dosimeter.detectors.examples import Example
from dosimeter.detectors.fingerprint import Fingerprint
from dosimeter.detectors.frames import ActivationFrame, Scope
from dosimeter.detectors.pack import Pack, ProbeNote
from dosimeter.monitor.fitting.subject import Floats, Tokens
from dosimeter.monitor.sources.reader import (
    MAX_TEXT_TOKENS,
    STRIDE,
    WINDOW,
    Reader,
    reader_folder,
    window_starts,
)

pytestmark = pytest.mark.parts

LAYERS = (0, 2, 5)
TEXT = (
    "The harbour office opens at nine. Bring the signed form and a passport, and ask for the second desk. "
    "Boats that arrive after dark wait at the outer buoy until a pilot comes aboard; nobody pays for that. "
)


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader(reader_folder())


@cache
def encoder() -> Any:
    return AutoModel.from_pretrained(reader_folder()).eval()


def nothing(done: int, of: int) -> None:
    pass


def tokens_of(reader: Reader, n: int, repeats: int = 20) -> Tokens:
    """The first n tokens of a text."""
    found = reader.tokens(Example(None, "g", TEXT * repeats), Scope.ANSWER)
    return Tokens(found.ids[:n], found.scopes[:n], found.read[:n])


def alone(reader: Reader, tokens: Tokens) -> Floats:
    """float32 [T, L, D]: one window at a time, by transformers' own `output_hidden_states`."""
    model = encoder()
    first, last = reader.tokenizer.cls_token_id, reader.tokenizer.sep_token_id
    n = len(tokens.ids)
    total, count = np.zeros((n, len(LAYERS), reader.width)), np.zeros(n)
    start = 0
    while True:
        end = min(start + 64, n)
        with torch.no_grad():
            ids = torch.tensor([[first, *tokens.ids[start:end], last]])
            states = model(ids, output_hidden_states=True).hidden_states
        total[start:end] += np.stack([states[k + 1][0, 1:-1].numpy() for k in LAYERS], axis=1)
        count[start:end] += 1
        if end == n:
            return (total / count[:, None, None]).astype("f4")
        start += 32


@pytest.mark.parametrize("n", [1, 3, 63, 64, 65, 96, 97, 200])
def test_activations_are_the_mean_over_windows_that_were_run_alone(reader: Reader, n: int) -> None:
    tokens = tokens_of(reader, n)
    ((_, found),) = reader.activations([tokens], LAYERS, nothing)
    np.testing.assert_allclose(found, alone(reader, tokens), atol=2e-5)


def test_texts_in_one_batch_do_not_see_each_other(reader: Reader) -> None:
    """Of many lengths, so that windows are padded; and more windows than one batch takes."""
    lengths = [5, 64, 130, 1, 70, 2000, 500, 33]
    tokens = [tokens_of(reader, n, 60) for n in lengths]
    found = dict(reader.activations(tokens, LAYERS, nothing))
    assert sorted(found) == list(range(len(lengths)))
    for index in (0, 2, 3, 4, 7):
        np.testing.assert_allclose(found[index], alone(reader, tokens[index]), atol=2e-5)


def test_a_growing_text_never_changes_scores_of_tokens_whose_windows_are_complete(
    reader: Reader,
) -> None:
    """A token is done when a window that holds it starts no later than the text's end: at 32 tokens beyond."""
    ((_, whole),) = reader.activations([tokens_of(reader, 260)], (5,), nothing)
    for n in (96, 128, 160, 200):
        ((_, part),) = reader.activations([tokens_of(reader, n)], (5,), nothing)
        complete = [start for start in window_starts(n) if start + WINDOW <= n]
        done = complete[-1] + STRIDE  # beyond it a window that is still growing reads too
        assert done >= n - WINDOW
        np.testing.assert_allclose(part[:done], whole[:done], atol=2e-5)


def test_scores_are_the_probes_read_out_of_the_activations(reader: Reader) -> None:
    rng = np.random.default_rng(0)
    probe = Probe("scam", LAYERS, rng.standard_normal((3, reader.width)).astype("f4"), 0.5)
    tokens = [tokens_of(reader, n) for n in (20, 90)]
    found = dict(reader.activations(tokens, LAYERS, nothing))
    frame = ActivationFrame(np.ascontiguousarray(found[0].transpose(1, 0, 2)), LAYERS)
    known = Fingerprint.take([probe], tokens[0].ids, frame, 0.01)
    pack = Pack("t/t", "random", reader.identity, (probe,), (ProbeNote("T0", 0, 1, 9),), known)
    scores = dict(reader.scores(tokens, [pack], nothing))
    for index, rows in found.items():
        expected = np.einsum("tld,ld->t", rows, probe.weights) + 0.5
        np.testing.assert_allclose(scores[index][:, 0], expected, atol=1e-3)


def test_of_a_conversation_the_last_message_alone_is_read(reader: Reader) -> None:
    turns = ({"role": "user", "content": "Ask this"}, {"role": "assistant", "content": "Reply so"})
    one = reader.tokens(Example(None, "g", messages=turns), Scope.ANSWER)
    other = reader.tokens(Example(None, "g", "Reply so"), Scope.ANSWER)
    assert one.ids == other.ids
    assert one.read.all()
    assert "".join(reader.pieces(one)).strip() == "reply so"


def test_a_long_text_is_read_up_to_the_cap_and_says_so(reader: Reader) -> None:
    found = reader.tokens(Example(None, "g", "word " * 10_000), Scope.ANSWER)
    assert (len(found.ids), found.cut) == (MAX_TEXT_TOKENS, True)


def test_hooks_come_off_even_where_nobody_reads_to_the_end(reader: Reader) -> None:
    running = reader.activations([tokens_of(reader, 500, 60)] * 3, (0,), nothing)
    next(running)
    running.close()  # type: ignore[attr-defined]
    assert not any(layer._forward_hooks for layer in reader.model.encoder.layer)
