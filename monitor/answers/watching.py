"""How far the time until now was watched, as of this minute: what belongs beside every number that may be too small.

Owns that it is looked up once a minute for each span: the list of gaps is long work, and grows by the hour.
"""

from __future__ import annotations

from dosimeter.monitor.answers.asking import Asked
from dosimeter.monitor.audit.queries.watched import Watched

MINUTE_NS = 60 * 10**9


def lately(asked: Asked, span_ns: int) -> Watched:
    """The last span_ns until now."""
    now_ns = asked.now_ns()
    minute = now_ns // MINUTE_NS
    with asked.alone() as history:
        known = asked.lately.get(span_ns)
        if known is None or known[0] != minute:
            known = minute, history.watched(now_ns - span_ns, now_ns, now_ns=now_ns)
            asked.lately[span_ns] = known
    return known[1]
