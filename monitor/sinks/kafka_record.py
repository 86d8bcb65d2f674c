"""What a stored alert is in Kafka: key, value and headers, as docs/alerts.md says and golden files hold.

The value is the ledger's bytes. The headers are those of CloudEvents in binary mode, and a few of our own, so that a
consumer knows what it has before it parses anything. It knows nothing of producers.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from dosimeter.monitor.history.records import StoredAlert
from dosimeter.monitor.sinks import semconv


def kafka_record(alert: StoredAlert) -> dict[str, Any]:
    """Keyword arguments of `send`: the key keeps a conversation in order.

    What is about no request (a digest) has its rule for a key.
    """
    record = alert.record
    rule = str(record.get("rule", ""))
    request = f"{record.get('epoch', '')}/{record['key']}" if "key" in record else ""
    key = alert.labels.get("conversation") or request or rule
    event_id = alert.event_id.encode()
    kind = f"dosimeter.{record.get('kind')}.v{record.get('v')}".encode()
    headers = [
        ("event_id", event_id),
        ("content-type", b"application/json"),
        ("schema", kind),
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id),
        ("ce_source", f"/dosimeter/rules/{quote(rule, safe='')}".encode()),
        ("ce_type", kind),
    ]
    if time := _time(record.get("time_ns")):
        headers.append(("ce_time", time))
    trace = semconv.TRACEPARENT.fullmatch(alert.labels.get("traceparent", ""))
    if trace:  # anything else is a client's text, and no header
        headers.append(("traceparent", trace[0].encode()))
    return {"key": key.encode("utf-8", "replace"), "value": alert.core, "headers": headers}


def _time(time_ns: Any) -> bytes:
    """RFC 3339, to the nanosecond. Empty where no calendar has it; the attribute is optional."""
    if not isinstance(time_ns, int):
        return b""
    seconds, rest = divmod(time_ns, 10**9)
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return b""
    return f"{moment.isoformat()[:19]}.{rest:09d}Z".encode()
