"""An OTLP receiver as an anchor: one log record a checkpoint. Written only: how logs are read back
is the receiver's matter, so an auditor takes the note from there and gives it to `verify` as a file.
"""

from __future__ import annotations

import time

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, SeverityNumber

from dosimeter.monitor.sinks.config import OtlpConfig
from dosimeter.monitor.sinks.otlp import OtlpSink, Post
from dosimeter.monitor.sinks.sink import Result
from dosimeter.monitor.tlog.anchors import AnchorFailed
from dosimeter.monitor.tlog.note import Checkpoint, Note

EVENT_NAME = "dosimeter.log.checkpoint"


class OtlpAnchor:
    outside, readable = False, False

    def __init__(self, config: OtlpConfig, *, post: Post | None = None) -> None:
        self.name = config.name
        self._sink = OtlpSink(config, post=post)

    def put(self, note: str) -> None:
        try:
            [outcome] = self._sink.export([log_record(note, time.time_ns())])
        finally:
            self._sink.close()  # the next checkpoint is minutes away
        if outcome.result is not Result.DELIVERED:
            raise AnchorFailed(f"anchor `{self.name}`: {outcome.reason}")

    def notes(self) -> list[str]:
        return []


def log_record(note: str, now_ns: int) -> LogRecord:
    """The whole note as the body; what one searches by as attributes. Raises NoteError."""
    checkpoint = Checkpoint.parse(Note.parse(note).text)
    return LogRecord(
        time_unix_nano=now_ns,
        observed_time_unix_nano=now_ns,
        severity_number=SeverityNumber.Value("SEVERITY_NUMBER_INFO"),
        severity_text="info",
        event_name=EVENT_NAME,
        body=AnyValue(string_value=note),
        attributes=[
            KeyValue(key="dosimeter.log.origin", value=AnyValue(string_value=checkpoint.origin)),
            KeyValue(key="dosimeter.log.size", value=AnyValue(int_value=checkpoint.size)),
            KeyValue(key="dosimeter.log.root", value=AnyValue(string_value=checkpoint.root.hex())),
        ],
    )
