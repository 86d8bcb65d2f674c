"""The anchors that a configuration asks for, built. It owns which settings make which anchor, and nothing of theirs.

The client library of one is imported only where it is configured.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dosimeter.monitor.config_history import AnchorsConfig
from dosimeter.monitor.tlog.anchors import Anchor, FileAnchor

STAMPS = "timestamps"
"""Folder beside the log, of tokens of a time-stamping authority."""


def build_anchors(settings: AnchorsConfig, folder: Path) -> tuple[Anchor, ...]:
    """Not yet connected to anything. folder: of the history."""
    return tuple(_anchors(settings, folder))


def _anchors(settings: AnchorsConfig, folder: Path) -> Iterator[Anchor]:
    if settings.file is not None:
        yield FileAnchor(settings.file)
    if settings.kafka is not None:
        from dosimeter.monitor.tlog.anchor_kafka import KafkaAnchor

        yield KafkaAnchor(settings.kafka)
    if settings.otlp is not None:
        from dosimeter.monitor.tlog.anchor_otlp import OtlpAnchor

        yield OtlpAnchor(settings.otlp)
    if settings.timestamp is not None:
        from dosimeter.monitor.tlog.anchor_timestamp import TimestampAnchor

        where = settings.timestamp
        yield TimestampAnchor(where.url, folder / STAMPS, where.certificate)
