"""The committed weights do what the demo and the end-to-end tests count on."""

import random

import pytest
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from dosimeter.monitor.lab import behaviour, dialogues, traffic, world
from dosimeter.monitor.lab.traffic import judge

Loaded = tuple[LlamaForCausalLM, PreTrainedTokenizerFast]


@pytest.fixture(scope="module")
def lab() -> Loaded:
    """Committed weights and tokenizer."""
    return behaviour.load()


@pytest.mark.parametrize("feature", world.FEATURES)
@pytest.mark.parametrize("bad", [True, False])
def test_greedy_replies_follow_the_cue(lab: Loaded, feature: world.Feature, bad: bool) -> None:
    """32 full prompts with two distractors each; the measured rates are in behaviour.json."""
    r = random.Random(17)
    asked = [dialogues.gated_dialogue(r, feature, bad, wrong=True) for _ in range(32)]
    sent = [traffic.conversation_from(r, "t", d, i) for i, d in enumerate(asked)]
    kept = [
        judge(c, text) == c.expected
        for c, text in zip(sent, behaviour.replies(*lab, sent), strict=True)
    ]
    assert sum(kept) >= 30


def test_demo_goes_as_announced(lab: Loaded) -> None:
    """Every reply of the demo exhibits exactly the features it names."""
    demo = traffic.demo_conversations(0)
    wrong = [
        (c.name, t)
        for c, t in zip(demo, behaviour.replies(*lab, demo), strict=True)
        if judge(c, t) != c.expected
    ]
    assert wrong == []


def test_a_visitor_gets_readable_answers(lab: Loaded) -> None:
    """Plain requests in a visitor's own words, some outside the small world."""
    asked = [
        "Hello!",
        "who are you",
        "How do I spot a scam?",
        "Can you explain quantum physics to my cat?",
        "Danke schön 🙂",
    ]
    sent = [
        traffic.Conversation("t", "t", "u", "c", ({"role": "user", "content": text},))
        for text in asked
    ]
    for text in behaviour.replies(*lab, sent):
        assert text.endswith((".", "?", "!"))
        assert 3 <= len(text.split()) <= 24
