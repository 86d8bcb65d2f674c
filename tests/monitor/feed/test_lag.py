"""What Kafka is told of offsets: seldom, never twice at once, and whatever fails is tried again later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from kafka import TopicPartition
from kafka.errors import GroupAuthorizationFailedError, KafkaConnectionError
from kafka.future import Future

from dosimeter.monitor.feed.lag import AGAIN_S, EVERY_S, Lag

P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)


class Stage:
    """A client whose answers the test gives, and the time."""

    def __init__(self) -> None:
        self.now = 100.0
        self.away = False
        self.built = self.closed = 0
        self.commits: list[dict[TopicPartition, int]] = []
        self.answers: list[Any] = []
        self.lag = Lag(self.connect, clock=lambda: self.now)

    def connect(self) -> Stage:
        if self.away:
            raise KafkaConnectionError("nobody answers")
        self.built += 1
        return self

    def commit_async(self, offsets: Mapping[TopicPartition, Any]) -> Any:
        self.commit(offsets, 0)
        self.answers.append(Future())
        return self.answers[-1]

    def commit(self, offsets: Mapping[TopicPartition, Any], timeout_ms: int) -> None:
        if self.away:
            raise KafkaConnectionError("nobody answers")
        self.commits.append({partition: one.offset for partition, one in offsets.items()})

    def close(self, autocommit: bool) -> None:
        assert not autocommit
        self.closed += 1


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_what_came_meanwhile_goes_with_the_next_which_waits_its_time(stage: Stage) -> None:
    stage.lag.show({P0: 1})
    stage.answers[0].success(None)
    stage.lag.show({P0: 2})
    stage.lag.show({P1: 7})
    assert stage.commits == [{P0: 1}]
    stage.now += EVERY_S
    stage.lag.show({})
    assert stage.commits == [{P0: 1}, {P0: 2, P1: 7}]


def test_nothing_new_is_not_said_again(stage: Stage) -> None:
    stage.lag.show({})
    stage.lag.show({P0: 1})
    stage.answers[0].success(None)
    stage.now += EVERY_S
    stage.lag.show({P0: 1})
    assert stage.commits == [{P0: 1}]


def test_one_without_an_answer_is_not_followed_by_another(stage: Stage) -> None:
    stage.lag.show({P0: 1})
    stage.now += 10 * EVERY_S
    stage.lag.show({P0: 2})
    assert stage.commits == [{P0: 1}]


@pytest.mark.parametrize("error", [GroupAuthorizationFailedError("g"), RuntimeError("any")])
def test_a_refused_commit_costs_the_client_and_is_said_again_later(
    stage: Stage, error: Exception
) -> None:
    stage.lag.show({P0: 1})
    stage.answers[0].failure(error)
    stage.now += EVERY_S
    stage.lag.show({})
    assert (stage.closed, len(stage.commits)) == (1, 1)
    stage.now += AGAIN_S - 1
    stage.lag.show({})
    assert len(stage.commits) == 1
    stage.now += 1
    stage.lag.show({})
    assert (stage.built, stage.commits) == (2, [{P0: 1}, {P0: 1}])


def test_no_broker_is_asked_again_only_later(stage: Stage) -> None:
    stage.away = True
    stage.lag.show({P0: 1})
    stage.away = False
    stage.lag.show({P0: 2})
    assert stage.built == 0
    stage.now += AGAIN_S
    stage.lag.show({})
    assert stage.commits == [{P0: 2}]


def test_the_end_says_what_is_due_and_fails_in_silence(stage: Stage) -> None:
    stage.lag.show({P0: 1})
    stage.answers[0].success(None)
    stage.lag.show({P0: 2})
    stage.lag.close()
    assert (stage.closed, stage.commits) == (1, [{P0: 1}, {P0: 2}])
    stage.lag.close()
    assert stage.closed == 1
    stage.now += EVERY_S
    stage.lag.show({P0: 3})
    stage.lag.show({P0: 4})
    stage.away = True
    stage.lag.close()
    assert stage.closed == 2
