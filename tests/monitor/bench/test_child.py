"""The other process of a benchmark: a child that dies is an error at once, in its own words."""

from __future__ import annotations

import os
from multiprocessing.connection import Connection

import pytest

from dosimeter.monitor.bench.child import BenchError, Child


def fails(text: str, pipe: Connection) -> None:
    raise ValueError(text)


def vanishes(pipe: Connection) -> None:
    os._exit(7)


def echoes(pipe: Connection) -> None:
    while True:
        pipe.send(pipe.recv())


def test_a_child_that_fails_at_its_start_is_heard_in_its_own_words() -> None:
    with Child(fails, "no port") as child, pytest.raises(BenchError, match="ValueError: no port"):
        child.hear()


def test_a_child_that_vanishes_is_not_waited_for() -> None:
    with Child(vanishes) as child, pytest.raises(BenchError, match="exit code 7"):
        child.hear()


def test_a_child_that_would_go_on_for_ever_ends_with_its_block() -> None:
    with Child(echoes) as child:
        child.send(5)
        assert child.hear() == 5
    with pytest.raises(BenchError, match="exit code -15"):
        child.hear()
