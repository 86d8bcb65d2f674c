"""What an earlier process decided, told to the decisions of this one, from what it stored.

It reads as far back as a rule in force remembers. Whatever goes wrong here costs a notification too many: the line
begins without a memory then, and says so.
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
from dosimeter.rules.policy import Policy

log = logging.getLogger(__name__)

MOST = 1_000_000
"""Records that are read at most, the newest, before the line begins: so many take a minute on a busy machine."""
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
    """Tell `decisions` what was committed less than `reach_ns` ago; returns how many records mattered."""
    if not reach_ns:
        return 0
    first = max(reader.first_since(now_ns - reach_ns), reader.last_seq() - MOST + 1)
    rules: dict[str, _Rule | None] = {}
    count = 0
    for record in reader.decided_since(first):
        count += 1
        if isinstance(record, bytes):
            decisions.restore_digest(read_digest(json.loads(record)))
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
        at = min(time_ns, now_ns)
        request = request_name(epoch or "count", key or rule.name)  # of the second stage
        of = Occurrence(rule.name, rule.status, at, request, labels, model or "")
        decisions.restore(of, rule.policy, Decision(word, acts, ""), rule.facts)
    return count


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
