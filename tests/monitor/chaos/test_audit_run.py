"""Manipulations of a small history: verdicts as stated beforehand. All of the table: `test_audit_all.py`."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from dosimeter.monitor.chaos import audit_run
from dosimeter.monitor.chaos.audit_attack import REACH, Manipulation, Where
from dosimeter.monitor.chaos.audit_copy import Copy
from dosimeter.monitor.chaos.audit_history import Made, build
from dosimeter.monitor.chaos.audit_run import TABLE, alarms, judge, manipulations

SMALL = (
    "flip a bit of an entry in its bundle", "flip a bit of a tile", "flip a bit of the checkpoint",
    "swap two entries, tile fitted", "change an entry, its row and all tiles", "delete a row and close up",
    "change a blob", "change an entry beside the sealed files", "forge an entry beside the sealed files",
    "lift a hold", "delete evidence", "cut tail, checkpoints and store",
    "roll back what is not anchored", "swap the key, sign all anew", "rewrite an entry, sign all anew",
    "rewrite an entry that is not anchored", "delete a sealed row", "lose the newest records", "repeat records",
    "name a next key of their own", "rewrite an entry, change the key",
    "empty the anchor", "write by SQL", "read evidence without the right",
)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return build(tmp_path_factory.mktemp("history"), 320)


def nothing(done: int, of: int) -> None:
    """Nobody looks."""


def test_the_table_has_no_name_twice_and_every_adversary() -> None:
    assert len({(one.adversary, one.name) for one in TABLE}) == len(TABLE)
    assert {one.adversary for one in TABLE} == set(REACH)
    assert {one.name for one in TABLE} > set(SMALL)


def test_the_history_itself_is_fine(made: Made) -> None:
    verdict = judge(made.root, made.verifier)
    assert verdict.ok, verdict.words
    assert 0 < made.sealed < made.anchored < made.signed


@pytest.mark.parametrize("name", SMALL)
def test_the_verdict_is_the_one_that_was_due(made: Made, name: str) -> None:
    (one,) = (m for m in TABLE if m.name == name)
    (outcome,) = manipulations(made, [one], 1, 3, nothing)
    assert (outcome.actual, one.expected) == (one.expected, one.expected), outcome.said


def test_a_manipulation_that_does_nothing_is_not_called_found(made: Made, tmp_path: Path) -> None:
    one = Manipulation("nothing", "root", "located", lambda c: Where(entries=(3,)))
    (outcome,) = manipulations(made, [one], 1, 0, nothing)
    assert (outcome.actual, outcome.as_expected) == ("nothing found", False)


def test_a_finding_elsewhere_is_not_called_located(made: Made) -> None:
    def act(c: Copy) -> Where:
        c.in_bundle(7, lambda leaves, at: leaves.__setitem__(at, b"{}"))
        return Where(entries=(9,))

    (outcome,) = manipulations(made, [Manipulation("x", "root", "located", act)], 1, 0, nothing)
    assert outcome.actual == "found, elsewhere"


def test_what_was_not_refused_is_not_called_so(made: Made) -> None:
    one = Manipulation("x", "insider-analyst", "refused", lambda c: Where())
    (outcome,) = manipulations(made, [one], 1, 0, nothing)
    assert not outcome.as_expected


def test_untouched_histories_raise_no_alarm() -> None:
    assert list(alarms(3, 100, nothing)) == []


def test_the_same_seed_touches_the_same_place(made: Made, tmp_path: Path) -> None:
    picked = [Copy(made, made.root, Random("1")).hot_index() for _ in range(2)]
    assert picked[0] == picked[1]
    assert audit_run.positions(made.root)[:3] == [1, 2, 3]
