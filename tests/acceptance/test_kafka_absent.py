"""Kafka absent, paused and restarted: nothing accepted is lost, nothing else waits for it, and at every
look accepted = delivered + dead + withheld + queued.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from dosimeter.monitor.lab.stage import Stage
from tests.acceptance.scene import (
    accepted,
    conversations,
    delivered_everywhere,
    drained,
    in_kafka,
    say,
    scene,
    settled,
    sinks,
    until,
)

pytestmark = pytest.mark.parts
PROMPT_S = 3.0
"""Longest an alert may take to the viewer, on two busy cores, whatever Kafka does."""


def only_otlp_has_all(stage: Stage) -> set[str]:
    """Everything accepted is in the viewer, soon, and the last of it is queued for Kafka."""
    ids = accepted(stage)
    until(lambda: stage.viewer.event_ids() == ids, "all alerts in the viewer", PROMPT_S)
    assert sinks(stage)["kafka"]["queued"] > 0
    return ids


def test_absent_at_first_then_there_and_it_gets_everything(tmp_path: Path) -> None:
    told = conversations(6)
    with scene(tmp_path, absent=["broker"]) as stage:
        say(stage, told)
        settled(stage, len(told))
        assert len(only_otlp_has_all(stage)) == len(told)
        kafka = until(
            lambda: found if (found := sinks(stage)["kafka"])["last_error"] else None,
            "what is wrong with Kafka, in the status",
        )
        assert (kafka["delivered"], kafka["queued"]) == (0, len(told))
        stage.broker.start()
        assert len(delivered_everywhere(stage)) == len(told)
        say(stage, told[:2])
        settled(stage, len(told) + 2)
        assert len(delivered_everywhere(stage)) == len(told) + 2
        assert sinks(stage)["kafka"]["dead"] == 0


def test_paused_then_gone_and_back_empty_it_is_sent_everything_since(tmp_path: Path) -> None:
    """The embedded broker keeps memory only: after its restart it has what it was sent since."""
    told = conversations(6)
    with scene(tmp_path) as stage:
        say(stage, told)
        settled(stage, len(told))
        delivered_everywhere(stage)

        broker = stage.broker.pid
        assert broker is not None
        os.kill(broker, signal.SIGSTOP)  # it holds its connections and answers nothing
        try:
            say(stage, told)
            settled(stage, 2 * len(told))
            only_otlp_has_all(stage)
        finally:
            os.kill(broker, signal.SIGCONT)
        before = delivered_everywhere(stage)
        assert len(before) == 2 * len(told)

        stage.broker.stop()
        say(stage, told)
        settled(stage, 3 * len(told))
        ids = only_otlp_has_all(stage)
        stage.broker.start()
        found = drained(stage, "kafka", "otlp")
        assert in_kafka(stage) == ids - before
        assert found["kafka"]["delivered"] == len(ids) == 3 * len(told)
        assert found["kafka"]["dead"] == 0
