"""A fake history in memory: a few hand-made alerts, some with what an attacker would put into them.

It answers as the protocol says and keeps what it was asked, so that a test can look at it. Nothing of it is measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

from dosimeter.detectors.findings import Finding, Place
from dosimeter.detectors.registry import load_features
from dosimeter.monitor.feature_card import Card, card_of, known_calibrations, known_packs
from dosimeter.monitor.pages import shown, shown_alerts, shown_log, shown_overview, shown_rules
from dosimeter.monitor.pages.source import AccessRefused, NotPossible, QueueFilter, Reader

NOW_NS = 1_772_625_600 * 10**9  # 2026-03-04 12:00:00 UTC
MINUTE = 60 * 10**9
HOUR = 60 * MINUTE
HOSTILE = "<script>alert(1)</script>\"'&\x1b[31m\u202egnp.exe\u200b"
NAMES = ("acme", "globex", "initech")
RULES = ("deceptive-answer", "scam-in-answer", "sycophantic-turns")
WORTH = (
    "coverage 99.58 % of 984,000 tokens; 1 hour under 99 % · gaps: none",
    "none found, but 4,096 of 984,000 tokens not scored",
    "  under 99 %: absence there is weak evidence",
    "    2026-03-03 21:00:00+00:00 to 22:00:00+00:00  90.48 % of 41,000  gpu-node-1",
)
WORTH_NOTHING = (
    "no data in that time",
    "nothing follows: nobody is known to have watched then",
)
TEXT = """version: 1
rules:
  - rule: deceptive-answer
    when: {feature: deception, in: answer, above: 1 in 500 answers, average: 8 tokens}
    status: live
    severity: high
    owner: trust-and-safety
    summary: "Deception in an answer of {model} to {tenant}: {value} sd over {tokens} tokens"
    tests:
      - name: 8 tokens above the level
        stream: [{answer: {deception: "2.89*8"}}]
        expect: [{at: answer 8}]
"""
WORDS = """I checked the account myself and everything is in order , so you can safely send
the deposit today to our escrow partner ; no refund will ever be needed .""".split()  # noqa: SIM905


def _pauses(reader: Reader) -> tuple[shown_overview.Interval, ...]:
    now = "paused now: what arrives is counted, and not looked at"
    over = "over: resumed; 41,200 tokens were not looked at"
    why, day = "INC-441: " + HOSTILE, NOW_NS - 50 * HOUR
    if reader.tenants is not None:
        return (
            shown_overview.Interval(
                "gpu-node-2", "warn", "", -1, NOW_NS, NOW_NS + MINUTE, 0, now, whole=False
            ),
        )
    return (
        shown_overview.Interval(
            "gpu-node-2", "warn", why, 1000, NOW_NS - 9 * MINUTE, NOW_NS + 6 * MINUTE, 0, now
        ),
        shown_overview.Interval(
            "gpu-node-1", "ok", "load test", 0, day, day + 2 * HOUR, day + HOUR, over
        ),
    )


def _captures(reader: Reader) -> tuple[shown_overview.Interval, ...]:
    whole, over = reader.tenants is None, "over: 4,120 tokens' activations of 31 requests have left"
    why, who = ("INC-442: " + HOSTILE, 1001) if whole else ("", -1)
    return (
        shown_overview.Interval(
            "gpu-node-3",
            "ok",
            why,
            who,
            NOW_NS - 3 * HOUR,
            NOW_NS,
            NOW_NS - HOUR,
            over,
            whole=whole,
        ),
    )


def alert_id(n: int) -> str:
    return f"{(NOW_NS - n * 7 * MINUTE) // 1_000_000:012x}{n:020x}"


class FakeHistory:
    """refuse: accesses and labels cannot be written. alerts: how many rows there are."""

    def __init__(self, alerts: int = 120) -> None:
        self.refuse = False
        self.stalled = ""
        self.empty = False
        self.accesses: list[tuple[str, str, str, str]] = []
        self.labels: dict[str, list[shown_alerts.LabelEntry]] = {}
        self.evidence_read: list[str] = []
        self._rows = [_row(n) for n in range(alerts)]

    def is_stalled(self) -> bool:
        return bool(self.stalled)

    def overview(self, reader: Reader, zone: str) -> shown_overview.Overview:
        hours = tuple(
            shown.Hour(NOW_NS - (24 - i) * HOUR, 41_000, 41_000 - (3_900 if i == 9 else 4), i != 17)
            for i in range(24)
        )
        return shown_overview.Overview(
            coverage=shown.Coverage(984_000, 979_904, {"prefix_cache": 3_100, "dropped": 996}, 0),
            hours=hours,
            days=_days(),
            sinks=(
                shown_overview.Sink("kafka", "ok", 0, 0.0, 0, "", 1_260.0),
                shown_overview.Sink(
                    "otlp", "warn", 212, 1_900.0, 0, "the receiver answers 503", 2_400.0
                ),
                shown_overview.Sink(
                    "webhook", "bad", 31, 90_000.0, 4, "refused: " + HOSTILE, 90_100.0
                ),
                shown_overview.Sink("stdout", "ok", 0, 0.0, 0),
            ),
            taps=(
                shown_overview.Tap("gpu-node-1/vllm", "ok"),
                shown_overview.Tap("gpu-node-2/vllm", "bad", "blind: it has never been fed"),
            ),
            drift=(
                shown_overview.Drift("deception", "ok", "steady"),
                shown_overview.Drift("scam", "warn", "higher than calibrated since 3 h"),
            ),
            log=_log(self.stalled),
            unlabelled=sum(row.verdict is None for row in self._rows),
            reviewed_today=38,
            reviews_a_day=120,
            worth=WORTH,
            pauses=_pauses(reader),
            captures=_captures(reader),
            canary_ns=NOW_NS - 21 * MINUTE,
        )

    def queue(
        self, filters: QueueFilter, reader: Reader, after: str | None, limit: int
    ) -> shown_alerts.QueuePage:
        if after is not None and not after.isdigit():
            raise NotPossible(
                "`after` is no cursor of this queue\n  hint: take `next` of a page before"
            )
        rows = [] if self.empty else [r for r in map(self._now, self._rows) if _match(r, filters)]
        rows = [r for r in rows if reader.tenants is None or r.tenant in reader.tenants]
        start = int(after or 0)
        part = rows[start : start + limit]
        more = str(start + limit) if start + limit < len(rows) else None
        weak = (shown.Hour(NOW_NS - 15 * HOUR, 41_000, 37_100),)
        coverage = shown.Coverage(0, 0) if self.empty else shown.Coverage(984_000, 979_904)
        return shown_alerts.QueuePage(
            tuple(part),
            more,
            len(rows),
            coverage,
            () if self.empty else weak,
            38,
            120,
            WORTH_NOTHING if self.empty else WORTH,
            "In the last 24 hours" if filters.from_ns is None else "In that time",
        )

    def alert(self, alert_id: str, reader: Reader) -> shown_alerts.AlertView | None:
        found = [row for row in self._rows if row.id.startswith(alert_id)]
        if len(found) != 1:
            return None
        row = self._now(found[0])
        if reader.tenants is not None and row.tenant not in reader.tenants:
            return None
        return _alert(row, tuple(self.labels.get(row.id, ())))

    def evidence(self, alert_id: str, reader: Reader) -> shown_alerts.Evidence | None:
        self.evidence_read.append(alert_id)
        n = int(alert_id[12:], 16)
        if n == 3:
            return None
        tokens = [f" {word}" for word in WORDS]
        tokens[4] = HOSTILE
        codes = [
            (
                None if i == 6 else 880 + 20 * i if 8 <= i < 20 else (37 * i) % 400 - 100,
                (53 * i) % 500 - 200,
            )
            for i in range(len(tokens))
        ]
        return shown_alerts.Evidence(
            summary=f"Deception in an answer of lab to {row_tenant(n)}",
            labels={
                "tenant": row_tenant(n),
                "user": HOSTILE,
                "request_id": "req/1?x=<b>",
                "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            },
            first=204,
            columns=("deception", "scam"),
            codes=tuple(codes),
            tokens=None if n % 5 == 2 else tuple(tokens),
        )

    def case(
        self, by: shown.By, subject_id: str, reader: Reader, zone: str
    ) -> shown_alerts.CaseView | None:
        if subject_id not in ("5" * 32, "6" * 32):
            return None
        rows = tuple(self._now(row) for row in self._rows[:12])
        return shown_alerts.CaseView(
            by=by,
            id=subject_id,
            name=HOSTILE,
            alerts=37,
            first_ns=NOW_NS - 200 * HOUR,
            last_ns=NOW_NS - HOUR,
            conversations=9,
            by_rule={"deceptive-answer": 31, "scam-in-answer": 6},
            by_severity={"high": 31, "critical": 6},
            verdicts={"true": 20, "false": 4, "unsure": 1},
            days=_days(),
            rows=rows,
        )

    def rules(self, reader: Reader) -> shown_rules.RuleList:
        return shown_rules.RuleList(
            tuple(
                shown_rules.RuleLine(
                    name,
                    "live" if i else "shadow",
                    "high",
                    "trust-and-safety",
                    412 - 100 * i,
                    **self._said(reader, 20, 4 * i),
                )
                for i, name in enumerate(RULES)
            ),
            WORTH[0],
        )

    @staticmethod
    def _said(reader: Reader, true: int, false: int) -> dict[str, int]:
        """From who judges alone the sums are kept."""
        kept = reader.roles == {"reviewer"}
        if kept:
            return {"true": 0, "false": 0, "judged": true + false}
        return {"true": true, "false": false}

    def rule(self, name: str, reader: Reader, zone: str) -> shown_rules.RuleView | None:
        if name not in RULES:
            return None
        return shown_rules.RuleView(
            name=name,
            path="rules/packs/lab.yaml",
            text=TEXT,
            sha256="7f" * 32,
            status="live",
            severity="high",
            owner="trust-and-safety",
            **self._said(reader, 33, 7),
            unsure=2,
            disagreed=1,
            worth=WORTH,
            days=_days(),
            versions=(
                shown_rules.Version("7f" * 32, NOW_NS - 200 * HOUR, NOW_NS - HOUR, "live", 412),
                shown_rules.Version(
                    "1c" * 32, NOW_NS - 900 * HOUR, NOW_NS - 200 * HOUR, "shadow", 1_120
                ),
            ),
            features=("deception",),
        )

    def lint(self, name: str, text: str) -> tuple[Finding, ...]:
        if "decepton" in text:
            place = Place("rules/packs/lab.yaml", 4, 22)
            said = "unknown feature `decepton`"
            return (Finding("feature", "error", place, said, "did you mean `deception`?"),)
        return ()

    def try_tests(self, name: str, text: str) -> tuple[shown_rules.Tried, ...]:
        failed = shown_rules.Tried(
            "a peak that is too short", False, "fired at token 31 (3.10 > 2.88)"
        )
        return (shown_rules.Tried("8 tokens above the level", True), failed)

    def backtest(self, name: str, text: str, zone: str, reader: Reader) -> shown_rules.Backtest:
        if "no-archive" in text:
            raise NotPossible("there is no archive here")
        bins = tuple(
            (i / 4 - 3, int(40_000 * 2.0 ** (-((i - 10) ** 2) / 24)) + (3 if i > 20 else 0))
            for i in range(36)
        )
        return shown_rules.Backtest(
            rule=name,
            requests=1_904_233,
            kept=212_004,
            alerts=970.0,
            alerts_a_day=138.6,
            low=121.0,
            high=158.0,
            days=tuple(shown.Day(f"2026-02-{25 + i}", {"alerts": 120 + 9 * i}) for i in range(4)),
            feature="deception",
            threshold_sd=2.88,
            bin_sd=0.25,
            bins=bins,
        )

    def features(self) -> tuple[str, ...]:
        return tuple(load_features())

    def feature(self, name: str) -> Card | None:
        return _card(name)

    def audit(self, reader: Reader) -> shown_log.AuditView:
        said = "append-only since 2026-01-01, complete up to one gap of 40 s, unanchored: 40 s"
        return shown_log.AuditView(
            log=_log(self.stalled),
            verified=shown_log.Verified("warn", said, NOW_NS - 40 * MINUTE, 41_208, 0.3),
            checkpoints=tuple(
                shown_log.Checkpoint(
                    41_208 - 60 * i,
                    NOW_NS - i * MINUTE,
                    "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=",
                    "history.example/dosimeter",
                    ("kafka", "file") if i else (),
                )
                for i in range(20)
            ),
            tombstones=(
                shown_log.Tombstone(40_001, NOW_NS - 30 * HOUR, "9" * 32, "request 77", "m.okafor"),
            ),
            access=tuple(
                shown_log.Access(41_200 - i, NOW_NS - i * MINUTE, "j.reviewer", "view", what, why)
                for i, (what, why) in enumerate(
                    [
                        (f"evidence {alert_id(1)}", "triage"),
                        ("queue?tenant=acme", ""),
                        (HOSTILE, HOSTILE),
                    ]
                )
            ),
            holds=("tenant acme, from 2026-02-01: case 12/26",),
        )

    def label(
        self, alert_id: str, verdict: shown.Verdict, reason: str, note: str, reader: Reader
    ) -> shown_alerts.LabelEntry | None:
        if self.refuse:
            raise AccessRefused("the disk is full")
        if (found := self.alert(alert_id, reader)) is None:
            return None
        entry = shown_alerts.LabelEntry(NOW_NS, reader.name, verdict, reason, note)
        self.labels.setdefault(found.id, []).append(replace(entry, note=None))
        return entry

    def record_access(self, kind: str, reader: Reader, what: str, reason: str) -> None:
        if self.refuse:
            raise AccessRefused("the disk is full")
        self.accesses.append((kind, reader.name, what, reason))

    def queries(self) -> tuple[shown.NamedQuery, ...]:
        return (shown.NamedQuery("by-day", "alerts a day of one rule", ("rule",)),)

    def query(
        self, name: str, parameters: Mapping[str, str], reader: Reader, limit: int
    ) -> shown.Table | None:
        if name != "by-day":
            return None
        if set(parameters) - {"rule"}:
            raise NotPossible("`by-day` takes `rule` alone")
        rows = (("2026-03-01", 12), ("2026-03-02", 15))[:limit]
        return shown.Table(("day", "alerts"), rows, "coverage 99.98 %")

    def log_file(self, path: str) -> bytes | None:
        files = {
            "checkpoint": b"history.example/dosimeter\n41208\nCsUYapGG...\n",
            "tile/0/000": bytes(range(32)) * 256,
            "tile/entries/000": b"\x00\x02{}",
        }
        return files.get(path)

    def _now(self, row: shown_alerts.Row) -> shown_alerts.Row:
        given = self.labels.get(row.id)
        if not given:
            return row
        said = {one.verdict for one in given}
        return replace(
            row, verdict=given[-1].verdict, reviewer=given[-1].reviewer, disagreed=len(said) > 1
        )


@cache
def _card(name: str) -> Card | None:
    found = load_features()
    if name not in found:
        return None
    return card_of(found[name], known_packs(), known_calibrations())


def row_tenant(n: int) -> str:
    return NAMES[n % 3]


def _row(n: int) -> shown_alerts.Row:
    when = NOW_NS - n * 7 * MINUTE
    if n % 11 == 5:
        return shown_alerts.Row(alert_id(n), "sample", when, row_tenant(n))
    return shown_alerts.Row(
        id=alert_id(n),
        kind="alert",
        time_ns=when,
        tenant=row_tenant(n),
        rule=RULES[n % 3],
        feature=("deception", "scam", "sycophancy")[n % 3],
        severity=("high", "critical", "medium", "low")[n % 4],
        status="shadow" if n % 3 == 2 else "live",
        decision=("notified", "deduped", "shadow", "limited")[n % 4],
        value=f"{3 + n % 7 / 10:.2f} sd",
        threshold="2.88 sd",
        rarity="1 in 12,400",
        verdict="true" if n % 9 == 4 else None,
        reviewer="a.first" if n % 9 == 4 else "",
        disagreed=n == 4,
    )


def _match(row: shown_alerts.Row, f: QueueFilter) -> bool:
    return (
        (not f.tenant or row.tenant == f.tenant)
        and (not f.rule or row.rule == f.rule)
        and (not f.feature or row.feature == f.feature)
        and (not f.severity or row.severity == f.severity)
        and (not f.status or row.status == f.status)
        and (not f.decision or row.decision == f.decision)
        and (f.from_ns is None or row.time_ns >= f.from_ns)
        and (f.to_ns is None or row.time_ns < f.to_ns)
        and (f.labelled is None or (row.verdict is not None) == f.labelled)
        and (f.samples or row.kind == "alert")
    )


def _alert(
    row: shown_alerts.Row, labels: tuple[shown_alerts.LabelEntry, ...]
) -> shown_alerts.AlertView:
    n = int(row.id[12:], 16)
    sample = row.kind == "sample"
    clause = shown_alerts.Clause(
        row.feature,
        "answer",
        "average of 8 tokens",
        row.value,
        row.threshold,
        "1 in 500 answers",
        row.rarity,
        3.4,
        2.88,
        212,
        224,
        223,
        388,
        2,
    )
    second = replace(clause, feature="scam", value="1.90 sd", threshold="1.85 sd", value_sd=1.9,
                     threshold_sd=1.85, rarity="1 in 90")  # fmt: skip
    return shown_alerts.AlertView(
        id=row.id,
        kind=row.kind,
        time_ns=row.time_ns,
        ingested_ns=row.time_ns + 2 * 10**9,
        tenant=row.tenant,
        tenant_id="6" * 32,
        subject="5" * 32,
        conversation="",
        route="/v1/chat/completions",
        request="00000001a2b3c4d5/00000000000004d2",
        rule=row.rule,
        rule_sha256="" if sample else "7f" * 32,
        severity=row.severity,
        status=row.status,
        decision=row.decision,
        reason="",
        would_act=True,
        owner="trust-and-safety",
        runbook="javascript:alert(1)" if n == 1 else "https://example.org/runbooks/x",
        model="dosimeter-lab",
        clauses=() if sample else (clause, second),
        nearest=()
        if sample
        else (
            shown_alerts.Neighbour(
                "1204", "/v1/chat/completions", 0.93, {"deception": 2.1, "scam": -0.2}
            ),
        ),
        hashes={} if sample else {"rule": "7f" * 32, "program": "3a" * 32, "pack": "c4" * 32},
        proof=shown_alerts.Proof(
            41_000 - n, "0e" * 32, 41_208, "CsUYapGG", NOW_NS - MINUTE, ("kafka", "file")
        ),
        labels=labels,
        evidence="erased" if n == 3 else "sealed",
    )


def _days() -> tuple[shown.Day, ...]:
    return tuple(
        shown.Day(f"2026-02-{19 + i:02d}" if i < 10 else f"2026-03-{i - 9:02d}",
                  {"critical": i % 3, "high": 20 + 5 * i % 17, "medium": 9, "low": 2 * (i % 4)})
        for i in range(14)
    )  # fmt: skip


def _log(stalled: str) -> shown_log.LogState:
    return shown_log.LogState(
        stalled=stalled,
        stalled_ns=NOW_NS - MINUTE,
        size=41_208,
        checkpoint_ns=NOW_NS - 40 * 10**9,
        unanchored_entries=3,
        unanchored_s=40.0,
        anchors=(
            shown_log.Anchor("kafka", False, NOW_NS - MINUTE, 41_205),
            shown_log.Anchor("rfc3161 tsa.example", True, NOW_NS - 50 * MINUTE, 40_900),
        ),
        gaps=(
            shown_log.Gap(
                "gpu-node-2", NOW_NS - 5 * HOUR, NOW_NS - 5 * HOUR + 40 * 10**9, "killed, resumed"
            ),
        ),
    )
