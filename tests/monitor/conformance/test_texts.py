"""What a server said in words, back into tokens: a wrong guess here would compare rows with the wrong reference."""

from __future__ import annotations

import pytest
import torch

from dosimeter.monitor.conformance.kit import LAB
from dosimeter.monitor.conformance.reference import Reference
from dosimeter.monitor.conformance.texts import Texts


@pytest.fixture(scope="module")
def texts() -> Texts:
    return Texts(LAB, Reference(LAB), seed=1)


def said(texts: Texts, ids: list[int]) -> list[str]:
    """As `transformers serve` spells a sequence: token by token."""
    return [texts.tokenizer.decode([token]) for token in ids]


def test_words_have_exactly_the_length_that_was_wanted(texts: Texts) -> None:
    for length in (1, 2, 17, 300):
        assert len(texts.ids(texts.words(length))) == length
    prefix = texts.words(20)
    longer = texts.words(33, prefix)
    assert longer.startswith(prefix)
    assert len(texts.ids(longer)) == 33


def test_a_spelled_sequence_is_read_back_token_for_token(texts: Texts) -> None:
    prompt, answer = texts.ids(texts.words(9)), texts.ids(texts.words(12))
    assert texts.spelled(prompt, said(texts, prompt + answer)) == prompt + answer


def test_where_one_text_stands_for_many_tokens_the_model_itself_decides(texts: Texts) -> None:
    """Half a character looks the same whichever half it is: 128 tokens of this vocabulary read `�`."""
    halves = [n for n in range(len(texts.tokenizer)) if texts.tokenizer.decode([n]) == "\ufffd"]
    assert len(halves) > 100
    prompt = texts.ids(texts.words(9))
    reference = Reference(LAB)
    logits = reference.model(input_ids=torch.tensor([prompt])).logits[0, -1].detach()
    likeliest = max(halves, key=lambda token: float(logits[token]))
    assert texts.spelled(prompt, said(texts, [*prompt, halves[0]])) == [*prompt, likeliest]


def test_another_prompts_text_is_not_read_as_this_one(texts: Texts) -> None:
    """A CLOSE under the wrong request must be seen, not quietly compared with what was asked."""
    mine, other = texts.ids(texts.words(9)), texts.ids(texts.words(9))
    assert texts.spelled(mine, said(texts, other)) != mine
    assert texts.spelled(mine, ["", *said(texts, mine)[1:]])[0] == -1


def test_a_text_that_is_no_token_ends_what_is_known(texts: Texts) -> None:
    prompt = texts.ids(texts.words(5))
    assert texts.spelled(prompt, [*said(texts, prompt), "no token reads so", " a"]) == prompt
