"""What a ledger says of `dosimeter bench reload` afterwards: whether each alert is of the one program that it names.

It reads, and knows nothing of how the alerts came about.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dosimeter.monitor.bench.child import BenchError
from dosimeter.monitor.history.reader import LedgerReader
from dosimeter.monitor.history.records import StoredAlert
from dosimeter.rules.program import Program


@dataclass(frozen=True, slots=True)
class Checked:
    """wrong: alerts that are not as their program's rule says. mixed: requests with alerts of two programs."""

    wrong: int
    mixed: int
    programs: int
    alerts: int


def checked(reader: LedgerReader) -> Checked:
    programs: dict[str, Program] = {}
    of: dict[str, set[str]] = defaultdict(set)  # by request
    wrong = alerts = 0
    for alert in _all(reader):
        record = json.loads(alert.core)
        sha256 = record["program_sha256"]
        if sha256 not in programs:
            body = reader.blob(sha256)
            if body is None:
                raise BenchError(f"program {sha256} is not in the ledger")
            programs[sha256] = Program.from_json(body)
        alerts += 1
        wrong += not _belongs(record, programs[sha256])
        of[record["key"]].add(sha256)
    mixed = sum(len(found) > 1 for found in of.values())
    return Checked(wrong, mixed, len(programs), alerts)


def _belongs(record: dict[str, Any], program: Program) -> bool:
    rule = program.rule(record["rule"])
    literals = [one for clause in rule.logic.clauses for one in clause.literals]
    levels = {(one.level, program.atoms[one.atom].threshold) for one in literals}
    said = (record["level"], record["threshold_code"])
    return rule.sha256 == record["rule_sha256"] and said in levels and record["summary"] == said[0]


def _all(reader: LedgerReader) -> Iterator[StoredAlert]:
    seq = 0
    while found := reader.alerts_since(seq, limit=5000):
        yield from found
        seq = found[-1].seq
