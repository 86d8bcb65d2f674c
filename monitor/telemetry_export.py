"""How metrics leave: one OTLP request an export, over the connection that the OTLP sink has too.

The SDK's own exporter has a time-out for each read, repeats within it, and asks the environment for headers; here the
whole exchange has one deadline, and what is lost comes with the next export, totals being what they are. It owns the
request and what a failure says, and knows no metric.
"""

from __future__ import annotations

import gzip
import logging
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData

from dosimeter.monitor.sinks.config import OtlpConfig
from dosimeter.monitor.sinks.http import REDIRECT, SUCCESS, HttpClient, HttpError, Reply

HEADERS = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}
LEVEL = 1  # of gzip
MAX_REPLY = 1 << 16
log = logging.getLogger(__name__)


class OtlpExporter(MetricExporter):
    """Used by one thread at a time, the SDK sees to it."""

    def __init__(self, to: OtlpConfig) -> None:
        super().__init__()
        url = f"{to.endpoint.rstrip('/')}/v1/metrics"
        self._client = HttpClient.of(to, url, most=MAX_REPLY)
        self._failing = False

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 0, **kwargs: Any
    ) -> MetricExportResult:
        """timeout_millis: not looked at, the settings have one for each exchange."""
        body = gzip.compress(encode_metrics(metrics_data).SerializeToString(), LEVEL, mtime=0)
        try:
            said = self._refusal(self._client.post(body, HEADERS))
        except HttpError as error:
            said = str(error)
        ok = not said
        if ok and self._failing:
            log.info("metrics are exported again")
        elif not ok and not self._failing:  # once, not each time
            log.warning("metrics are not exported, will go on trying: %s", said)
        self._failing = not ok
        return MetricExportResult.SUCCESS if ok else MetricExportResult.FAILURE

    def _refusal(self, reply: Reply) -> str:
        """Empty where all was taken: a success may be of a part."""
        where = f"`{self._client.where}`"
        if not SUCCESS <= reply.status < REDIRECT:
            return f"{where} answered {reply.status}"
        try:
            part = ExportMetricsServiceResponse.FromString(reply.body).partial_success
        except DecodeError:  # somebody else's words
            return ""
        if part.rejected_data_points <= 0:
            return ""
        why = self._client.quoted(part.error_message.encode())
        return f"{where} rejected {part.rejected_data_points} data points of them: {why}"

    def force_flush(self, timeout_millis: float = 0) -> bool:
        """Nothing is kept here."""
        return True

    def shutdown(self, timeout_millis: float = 0, **kwargs: Any) -> None:
        self._client.close()
