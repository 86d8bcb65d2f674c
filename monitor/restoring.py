"""What an earlier process decided, told to the decisions of this one, from what it stored.

It reads as far back as a rule in force remembers, and as a digest may be owed that nobody lived to make, of a rule
that may be gone. Whatever goes wrong here costs a notification too many: the line begins without a memory then, and
says so.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass

from dosimeter.monitor.decisions import Decisions, request_name
from dosimeter.monitor.history.reader import LedgerReader
from dosimeter.rules.decide import Decision
from dosimeter.rules.digest import RuleFacts, read_digest
from dosimeter.rules.occurrence import Occurrence
from dosimeter.rules.policy import NS, WINDOWS_S, Policy

log = logging.getLogger(__name__)

MOST = 1_000_000
"""Records that are read at most, the newest, before the line begins: so many take a minute on a busy machine."""
OWED_NS = 2 * max(WINDOWS_S.values()) * NS
"""So long before the last record lies the beginning of a window whose digest may be owed."""
LABELS = ("tenant", "user", "conversation", "route")
"""In the order in which the ledger returns them."""


def restored(reader: LedgerReader, policies: Iterable[Policy], now_ns: int) -> Decisions:
    """The decisions to begin with. policies: of the rules in force."""
    decisions = Decisions(reader.ledger_id)
    known = tuple(policies)
    try:
        decisions.expect_policies(known)
        count = restore(decisions, reader, max((p.reach_ns for p in known), default=0), now_ns)
    except Exception:  # better a second notification than no line
        log.exception("what was decided before is not known: some may be notified again")
        decisions.begin_anew()
    else:
        if count:
            log.info("%d earlier decisions and digests are known", count)
    return decisions


def restore(decisions: Decisions, reader: LedgerReader, reach_ns: int, now_ns: int) -> int:
    """Tell `decisions` what was committed less than `reach_ns` ago, or a digest owed depends on.

    Returns how many records mattered.
    """
    rules: dict[str, _Rule | None] = {}
    since = min(now_ns - reach_ns, _owed_since(reader, rules, now_ns))
    first = max(reader.first_since(since), reader.last_seq() - MOST + 1)
    count = 0
    for committed_ns, record in reader.decided_since(first):
        count += 1
        latest = min(committed_ns, now_ns)  # a server whose clock was ahead moved nothing
        if isinstance(record, bytes):
            decisions.restore_digest(read_digest(json.loads(record)), latest)
            continue
        sha256, time_ns, epoch, key, word, acts, model, trusted, *values = json.loads(record)
        if sha256 not in rules:
            rules[sha256] = _Rule.stored(reader, sha256)
        rule = rules[sha256]
        if rule is None:
            continue
        labels = {
            name: value
            for name, value in zip(LABELS, values, strict=True)
            if value is not None and name in trusted
        }
        at = min(time_ns, latest)
        request = request_name(epoch or "count", key or rule.name)  # of the second stage
        of = Occurrence(rule.name, rule.status, at, request, labels, model or "")
        decisions.restore(of, rule.policy, Decision(word, acts, ""), rule.facts)
    return count


def _owed_since(reader: LedgerReader, rules: dict[str, _Rule | None], now_ns: int) -> int:
    """When the first window may have begun whose digest was not made when the last record was. rules: is filled."""
    last = reader.last_committed_ns()
    if last is None:
        return now_ns
    last = min(last, now_ns)
    first = max(reader.first_since(last - OWED_NS), reader.last_seq() - MOST + 1)
    windows = [0]
    for sha256 in reader.limited_since(first):
        rule = rules[sha256] = _Rule.stored(reader, sha256)
        if rule is not None and rule.policy.limit is not None:
            windows.append(2 * rule.policy.limit.window_ns)
    return last - max(windows)


@dataclass(frozen=True, slots=True)
class _Rule:
    """A rule as it was when it hit."""

    name: str
    status: str
    policy: Policy
    facts: RuleFacts

    @classmethod
    def stored(cls, reader: LedgerReader, sha256: str) -> _Rule | None:
        """None where its text is not there or is not one of ours: its hits are not known then."""
        body = reader.blob(sha256)
        try:
            if body is None:
                raise ValueError("its text is not in the ledger")
            text = json.loads(body)
            severity, owner = text["severity"], text.get("owner", "")
            facts = RuleFacts(sha256, severity, owner, text.get("runbook", ""))
            return cls(text["rule"], text["status"], Policy.from_json(text), facts)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("who was notified by the rule %s is not known: %s", sha256[:12], error)
            return None
