"""What is logged as a warning or an error is counted, by whichever part of ours it is logged."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from dosimeter.monitor.log_counts import NAME, OURS, count_lines
from dosimeter.monitor.telemetry import Telemetry, TelemetryConfig
from tests.monitor.test_telemetry import collected, values


@pytest.fixture
def reader() -> Iterator[InMemoryMetricReader]:
    before = list(OURS.handlers)
    yield InMemoryMetricReader()
    OURS.handlers[:] = before


def lines(reader: InMemoryMetricReader) -> dict[tuple[str, str], float]:
    found = values(collected(reader)[NAME])
    return {(dict(said)["process"], dict(said)["level"]): n for said, n in found.items()}


def test_each_line_counts_by_its_level_from_0_on(reader: InMemoryMetricReader) -> None:
    count_lines("line").record_to(Telemetry(TelemetryConfig(), readers=[reader]))
    assert lines(reader) == {("line", "warning"): 0, ("line", "error"): 0}
    logging.getLogger("dosimeter.monitor.clock").warning("the clock jumped")
    logging.getLogger("dosimeter.rules.kernel").error("no")
    try:
        raise OSError("gone")
    except OSError:
        logging.getLogger("dosimeter.monitor.lane").exception("failed")
    logging.getLogger("dosimeter.monitor.lane").info("well")
    logging.getLogger("kafka").error("not ours")
    assert lines(reader) == {("line", "warning"): 1, ("line", "error"): 2}


def test_a_process_counts_once_however_often_it_begins_to(reader: InMemoryMetricReader) -> None:
    before = InMemoryMetricReader()
    count_lines("line").record_to(Telemetry(TelemetryConfig(), readers=[before]))
    count_lines("fleet").record_to(Telemetry(TelemetryConfig(), readers=[reader]))
    OURS.warning("once")
    assert lines(reader) == {("fleet", "warning"): 1, ("fleet", "error"): 0}
    assert lines(before) == {("line", "warning"): 0, ("line", "error"): 0}


def test_what_was_logged_before_there_were_metrics_is_in_them(
    reader: InMemoryMetricReader,
) -> None:
    """Rules that cannot be read at the start are said before anything is sent anywhere."""
    counts = count_lines("line")
    logging.getLogger("dosimeter.monitor.rulebook").error("no rules")
    counts.record_to(Telemetry(TelemetryConfig(), readers=[reader]))
    assert lines(reader) == {("line", "warning"): 0, ("line", "error"): 1}
