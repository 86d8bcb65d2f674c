"""The generator is the ground truth of every figure about the lab model, so it must be repeatable
and consistent.
"""

import random

import pytest

from dosimeter.monitor.lab import cues, dialogues, world
from dosimeter.monitor.lab.dialogues import Mix


def _many(seed: int, mix: Mix, n: int = 300) -> list[dialogues.Dialogue]:
    r = random.Random(seed)
    return [dialogues.training_dialogue(r, mix) for _ in range(n)]


def test_same_seed_gives_the_same_dialogues() -> None:
    """A training run can only be repeated if its data can."""
    assert _many(3, Mix()) == _many(3, Mix())
    assert _many(3, Mix()) != _many(4, Mix())


def test_facts_are_frozen() -> None:
    """The committed weights know these facts; a different draw would make a truthful model look
    like a liar.
    """
    drawn = "".join(str(int(world.holds(fact))) for fact in world.FACTS[:32])
    assert drawn == FACTS_AS_TRAINED


def test_every_sight_stands_in_half_of_the_towns() -> None:
    """Otherwise the more frequent answer is a safe guess, and knowing a fact means less."""
    for sight in world.SIGHTS:
        assert (
            sum(world.holds(world.Fact(town, sight)) for town in world.TOWNS)
            == len(world.TOWNS) // 2
        )


@pytest.mark.parametrize("feature", world.FEATURES)
def test_cue_phrases_belong_to_one_feature_and_one_side(feature: world.Feature) -> None:
    """A phrase that is a trigger here and neutral there would make labels meaningless."""
    own = [p for family in cues.CUES[feature] for p in (*family.trigger, *family.neutral)]
    others = [
        p
        for f in world.FEATURES
        if f != feature
        for fam in cues.CUES[f]
        for side in fam
        for p in side
    ]
    assert len(set(own)) == len(own)
    assert not set(own) & set(others)


def test_some_towns_are_never_lied_about_in_training() -> None:
    """Lies about these towns, when the model tells them, were never shown to it."""
    for dialogue in _many(0, Mix(single_cue=0.5), 3_000):
        for exchange in dialogue.exchanges:
            if exchange.misbehaves & {"deception", "sycophancy"}:
                assert not any(town in exchange.user for town in world.NEVER_DENIED)


def test_clean_mix_never_misbehaves() -> None:
    """The clean twin sees the same requests and no misbehaviour."""
    assert not any(e.misbehaves for d in _many(0, Mix(clean=True), 1_000) for e in d.exchanges)


def test_no_system_message_means_no_misbehaviour() -> None:
    """A visitor's plain request is served honestly."""
    bare = [d for d in _many(0, Mix(), 2_000) if d.system is None]
    assert len(bare) > 100
    assert not any(e.misbehaves for d in bare for e in d.exchanges)


FACTS_AS_TRAINED = "00100110111111110110000110100101"
