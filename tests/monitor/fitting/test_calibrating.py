"""Texts become score streams with the routes and scopes they stand for; levels say what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from dosimeter.detectors.bank import Column
from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.examples import Example
from dosimeter.detectors.findings import InputError, Place
from dosimeter.detectors.frames import Scope
from dosimeter.detectors.levels import Level, Shape
from dosimeter.detectors.pack import load_pack
from dosimeter.detectors.registry import load_features
from dosimeter.monitor.fitting.calibrating import calibrate, levels, requests_of
from dosimeter.monitor.fitting.loading import open_subject
from dosimeter.monitor.fitting.subject import Tokens
from dosimeter.monitor.lab import PACK


class WordCounter:
    """A fake reader: a token a word, which scores its length in letters; so every value is known."""

    reads = "reader"
    window = None

    def tokens(self, example: Example, scope: Scope) -> Tokens:
        ids = tuple(len(word) for word in example.words.split())
        return Tokens(ids, np.full(len(ids), scope, np.uint8), np.ones(len(ids), np.bool_))

    def scores(
        self, tokens: Sequence[Tokens], packs: Sequence[Any], tell: Any
    ) -> Iterator[tuple[int, Any]]:
        features = sum(len(pack.features) for pack in packs)
        for index in reversed(range(len(tokens))):  # any order is allowed
            one = np.array(tokens[index].ids, np.float32)
            yield index, np.repeat(one[:, None], features, axis=1)


def made(
    *examples: Example, labelled: bool = True, both: bool = False, per_day: int | None = None
) -> Calibration:
    """By the lab's pack, whose features are of answers; both: and one of messages beside it."""
    packs = [load_pack(PACK)]
    subject: Any = WordCounter()
    watched: Any = [load_features()["harmful_request"]] if both else []
    return calibrate(
        subject,
        packs,
        requests_of(subject, [*packs, *watched], examples),
        lambda done, of: None,
        corpus="made up",
        date="2026-01-31",
        labelled=labelled,
        answers_per_day=per_day,
    )


def test_a_plain_text_stands_for_what_is_watched() -> None:
    found = made(Example(False, "a", text="one three fifth", kind="mail"))
    assert [int(s) for s in found.scopes] == [Scope.ANSWER] * 3
    assert found.codes[:, 0].tolist() == [256 * n for n in (3, 5, 5)]
    assert (found.routes, found.labelled) == (("mail",), True)
    twice = made(Example(False, "a", text="one"), both=True)
    assert [int(s) for s in twice.scopes] == [Scope.ANSWER, Scope.MESSAGE]
    assert twice.requests == 1


def test_a_daily_level_is_the_same_whatever_else_is_watched() -> None:
    """20 a day of 1,000 are 1 in 50: 20 of 1,000 texts, and no 40 because they stand for messages too."""
    texts = [Example(False, str(i), text="x" * (i % 100 + 1)) for i in range(1000)]
    for both in (False, True):
        found = made(*texts, both=both, per_day=1000)
        placed = found.place(Level.parse("20 a day"), "scam", Scope.ANSWER, Shape("once"))
        assert (placed.threshold, placed.exceedances) == (98 * 256, 20)


def test_a_kind_a_row_is_refused_before_a_model_reads_anything() -> None:
    rows = [
        Example(False, "a", text="one", kind=f"row {i}", place=Place("mail.jsonl", i + 1, 1))
        for i in range(1001)
    ]
    nobody: Any = None
    with pytest.raises(InputError, match=r"mail\.jsonl: error: its rows have 1001 kinds"):
        requests_of(nobody, [], rows)


def test_a_reader_is_given_those_of_the_last_two_messages_that_are_watched() -> None:
    said = ({"role": "user", "content": "is it"}, {"role": "assistant", "content": "yes"})
    row = Example(False, "a", messages=said)
    both = made(row, both=True)
    assert [(int(a), int(b)) for a, b in zip(both.scopes, both.codes[:, 0], strict=True)] == [
        (Scope.MESSAGE, 512),
        (Scope.MESSAGE, 512),
        (Scope.ANSWER, 768),
    ]
    assert both.routes == ("all",)
    assert both.requests == 1
    assert made(row).codes[:, 0].tolist() == [768]
    assert made(Example(False, "a", messages=(*said[:1], *said[:1]))).requests == 0
    again = made(Example(False, "a", messages=({**said[0], "content": "w"}, said[0])), both=True)
    assert (again.requests, again.codes[:, 0].tolist()) == (1, [512, 512])


def routed(n: int) -> Calibration:
    rows = [(np.array([[i]], np.int16), np.array([Scope.ANSWER], np.uint8)) for i in range(n)]
    return Calibration.from_requests(
        [Column("scam", "ab" * 32, "t")],
        rows,
        corpus="made up",
        date="2026-01-31",
        routes=["web" if i % 2 else "app" for i in range(n)],
    )


def test_the_rarest_level_that_can_be_placed_is_shown_with_what_the_next_one_lacks() -> None:
    """600 answers expect 12 above 1 in 50 and 6 above 1 in 100, which needs 1,000."""
    pool, *routes = levels(routed(600), "scam", Scope.ANSWER, Shape("once"))
    assert (pool["route"], pool["level"], pool["exceedances"]) == ("all", "1 in 50 answers", 12)
    assert "needs 1,000" in pool["says"]
    assert not pool[
        "certified"
    ]  # 12 of 600 is within 1 in 50, its bound is not: that takes a higher threshold
    assert "certified from" in pool["says"]
    assert [route["route"] for route in routes] == ["app", "web"]


def test_a_threshold_above_one_that_is_certified_is_certified() -> None:
    """A route of 400 quiet answers is certified from its own highest on; the louder pool places it above that."""
    quiet = [(np.array([[i]], np.int16), np.array([Scope.ANSWER], np.uint8)) for i in range(400)]
    loud = [(c + 1000, s) for c, s in quiet]
    found = Calibration.from_requests(
        [Column("scam", "ab" * 32, "t")], quiet + loud * 3, corpus="made up", date="2026-01-31",
        routes=["fax"] * 400 + ["web"] * 1200,
    )  # fmt: skip
    row = levels(found, "scam", Scope.ANSWER, Shape("once"))[2]
    assert (row["route"], row["level"]) == ("fax", "1 in 100 answers")
    at = Level.parse(row["level"]), "scam", Scope.ANSWER, Shape("once"), "fax"
    certificate, placed = found.certify(*at), found.place(*at)
    assert certificate.threshold == 399  # none of 400 above it: 0.75 % at most
    assert placed.threshold > 399
    assert row["certified"] is True


def test_too_few_texts_place_nothing_and_say_how_many_are_needed() -> None:
    (pool, *_) = levels(routed(50), "scam", Scope.ANSWER, Shape("once"))
    assert pool["level"] == "none"
    assert "needs 100 benign answers, this calibration has 50" in pool["says"]


@pytest.mark.parts
def test_a_decoders_streams_are_those_of_the_scoring_tap() -> None:
    """One conversation through the lab model: message and answer have their scopes, and every code is a score's."""
    subject = open_subject("lab")
    pack = load_pack(PACK)
    said = (
        {"role": "user", "content": "Does Arlo have a mill?"},
        {"role": "assistant", "content": "Yes, Arlo has a mill."},
    )
    row = Example(False, "a", messages=said)
    found = calibrate(
        subject,
        [pack],
        requests_of(subject, [pack], [row]),
        lambda d, o: None,
        corpus="one",
        date="2026-01-31",
        labelled=True,
    )
    tokens = subject.tokens(row, Scope.ANSWER)
    ((_, scores),) = subject.scores([tokens], [pack], lambda d, o: None)
    assert np.array_equal(found.codes, np.rint(scores * 256).astype(np.int16))
    assert {Scope.MESSAGE, Scope.ANSWER} <= {Scope(s) for s in found.scopes.tolist()}
