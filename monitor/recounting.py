"""The hits of the last hour, or however far back a count reaches, counted again after a restart.

It reads them from the ledger by rule. Where that fails, counts begin anew and say so; the line begins all the same.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from dosimeter.monitor.counts import Counts
from dosimeter.monitor.decisions import request_name
from dosimeter.monitor.history.reader import LedgerReader
from dosimeter.rules.occurrence import Occurrence
from dosimeter.rules.policy import Policy

log = logging.getLogger(__name__)

MOST = 100_000
"""Hits of one rule that are read at most, the newest: so many take about a second."""
LABELS = ("tenant", "user", "conversation", "route")
"""In the order in which the ledger returns them."""


def recount(counts: Counts, reader: LedgerReader, now_ns: int) -> int:
    """Tell `counts` the hits that matter; returns how many were read. Never raises."""
    read = 0
    if not counts.counted:
        return read
    try:
        first = reader.first_since(now_ns - counts.within_ns)
        policies: dict[str, Policy | None] = {}
        for rule in sorted(counts.counted):
            for event_id, committed_ns, found in reader.hits_of(rule, first, limit=MOST):
                latest = min(committed_ns, now_ns)  # a server whose clock was ahead moved nothing
                of = _occurrence(rule, json.loads(found), reader, policies, latest)
                counts.restore(of, event_id)
                read += 1
    except Exception:  # better a count that begins anew than no line
        log.exception("hits before the restart are not counted: counts begin anew")
    return read


def _occurrence(
    rule: str,
    found: list[object],
    reader: LedgerReader,
    policies: dict[str, Policy | None],
    latest_ns: int,
) -> Occurrence:
    sha256, status, decision, time_ns, epoch, key, model, trusted, *values = found
    assert isinstance(time_ns, int)  # as the record has it
    assert isinstance(trusted, list)
    labels = {
        name: str(value)
        for name, value in zip(LABELS, values, strict=True)
        if value is not None and name in trusted
    }

    def policy_of(wanted: str) -> Policy | None:
        if wanted not in policies:
            policies[wanted] = _policy(reader, wanted)
        return policies[wanted]

    return stored_occurrence(
        rule,
        str(sha256),
        str(status),
        str(decision),
        min(time_ns, latest_ns),
        str(epoch),
        str(key),
        str(model),
        labels,
        policy_of,
    )


def stored_occurrence(
    rule: str,
    sha256: str,
    status: str,
    decision: str,
    time_ns: int,
    epoch: str,
    key: str,
    model: str,
    labels: Mapping[str, str],
    policy_of: Callable[[str], Policy | None],
) -> Occurrence:
    """A hit as it was counted when it was found, from its record.

    labels: trusted ones. policy_of: of a rule, by the hash of its text; None where that is not known.
    """
    exempt = decision == "exempt"
    if status == "shadow":  # its decision does not say so
        policy = policy_of(sha256)
        day = datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).date()
        exempt = policy is not None and policy.on(day).exemption(labels, model) is not None
    return Occurrence(rule, status, time_ns, request_name(epoch, key), labels, model, exempt)


def _policy(reader: LedgerReader, sha256: str) -> Policy | None:
    body = reader.blob(sha256)
    return None if body is None else Policy.from_json(json.loads(body))
