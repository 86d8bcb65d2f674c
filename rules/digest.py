"""A digest becomes its record: how many hits of a rule its limit kept back in one window, for those who were not told.

Owns the fields of that record, its event id and its summary. It is pure: the window comes with the digest, and it
never learns where a record goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dosimeter.rules.alert import Alert, record_id
from dosimeter.rules.atoms import CompiledRule
from dosimeter.rules.canonical import canonical
from dosimeter.rules.language.second import SecondRule
from dosimeter.rules.remembered import Digest

VERSION = 1
KIND = "digest"


@dataclass(frozen=True, slots=True)
class RuleFacts:
    """What a digest says of its rule, as it was at the last hit that was kept back."""

    sha256: str
    severity: str
    owner: str
    runbook: str

    @classmethod
    def of(cls, rule: CompiledRule | SecondRule) -> RuleFacts:
        return cls(rule.sha256, rule.severity, rule.owner, rule.runbook)


def build_digest(digest: Digest, rule: RuleFacts, ledger: str, before: int = 0) -> Alert:
    """Its record, which is always sent. ledger: identity of the one that has the hits. before: see `digest_id`."""
    identity = digest_id(digest, ledger, before)
    core = {
        "v": VERSION,
        "event_id": identity,
        "kind": KIND,
        "time_ns": digest.to_ns,
        "rule": digest.rule,
        "rule_sha256": rule.sha256,
        "severity": rule.severity,
        "owner": rule.owner,
        "runbook": rule.runbook,
        "from_ns": digest.from_ns,
        "to_ns": digest.to_ns,
        "notified": digest.notified,
        "limited": digest.limited,
        "groups": digest.groups,
        "groups_floor": digest.groups_floor,
        "summary": _summary(digest),
    }
    return Alert(identity, canonical(core), deliverable=True)


def digest_id(digest: Digest, ledger: str, before: int = 0) -> str:
    """The end of the window, then a hash of what it is about: made again, the same digest has the same id.

    before: digests that its window has had; a clock that was set back has come to the same window a second time.
    """
    about = [KIND, ledger, digest.rule, digest.from_ns, digest.to_ns] + [before] * (before > 0)
    return record_id(digest.to_ns, canonical(about))


def read_digest(record: Mapping[str, Any]) -> Digest:
    """The digest of a stored record. Raises KeyError."""
    return Digest(**{name: record[name] for name in Digest.__slots__})


def _summary(digest: Digest) -> str:
    groups = f"{digest.groups:,} groups" if digest.groups != 1 else "1 group"
    more = "more than " if digest.groups_floor else ""
    return (
        f"{digest.rule}: {digest.notified:,} notified, {digest.limited:,} more of {more}{groups} were stored "
        f"and not sent between {_when(digest.from_ns)} and {_when(digest.to_ns)} UTC"
    )


def _when(time_ns: int) -> str:
    moment = datetime.fromtimestamp(time_ns // 1_000_000_000, UTC)  # windows begin on a minute
    return moment.strftime("%Y-%m-%d %H:%M")
