"""The report of the demo: what it says when there is nothing to report from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from dosimeter.monitor.lab import demo
from dosimeter.monitor.lab.stage import StageError


def test_a_sidecar_that_does_not_answer_at_the_end_is_named_with_the_end_of_its_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(demo, "SETTLE_S", -1)
    stage: Any = SimpleNamespace(status=lambda: None, log_tail=lambda name: f"last words of {name}")
    with pytest.raises(StageError, match=r"does not answer\nlast words of sidecar"):
        demo.settled(stage, [])


def test_a_canary_is_read_and_shown_to_nobody_as_an_alert(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no feature and no request: the screen broke when the first one came."""

    def follow(*_: object) -> Iterator[Any]:
        for kind in ("canary", "alert"):
            yield SimpleNamespace(value=json.dumps({"kind": kind}).encode())

    monkeypatch.setattr(demo, "follow", follow)
    consumer = demo.Consumer("nowhere")
    consumer.stop()
    assert (consumer.total, list(consumer.alerts)) == (2, [{"kind": "alert"}])
