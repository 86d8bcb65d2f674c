"""`dosimeter bench emit`: what delivery takes, how it goes through an outage, and how soon a sidecar is there.

Real processes, the embedded broker and an OTLP receiver, the last two behind proxies that are cut. What is measured is
in the files beside this one; it owns their order.
"""

from __future__ import annotations

from collections.abc import Iterator

from dosimeter.monitor.bench import emit_enqueue, emit_idle, emit_outage
from dosimeter.monitor.bench.child import BenchError
from dosimeter.monitor.bench.figures import Figure, Result, undisturbed
from dosimeter.monitor.lab.broker import BrokerError

ALERTS = 100_000


def run(alerts: int = ALERTS) -> Result:
    """alerts: accepted in the outage. Raises BenchError."""
    undisturbed()
    try:
        return Result("emit", tuple(_figures(alerts)))
    except BrokerError as error:
        raise BenchError(str(error)) from error


def _figures(alerts: int) -> Iterator[Figure]:
    yield from emit_idle.figures()
    yield from emit_enqueue.figures()
    yield from emit_outage.figures(alerts)
