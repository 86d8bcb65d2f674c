"""Rules and features for the pages: their text, what they did, and what an edited text would do.

Owns the way from a rule's name to its file, and trying an edit in a folder of its own: nothing in force is touched. It
knows how rules are linted, tested and run over the archive only by asking those who do.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.findings import Finding, InputError
from dosimeter.monitor.answers.asking import Asked
from dosimeter.monitor.answers.blind import counted, sums_are_kept
from dosimeter.monitor.answers.days import begins, days
from dosimeter.monitor.answers.queue import DAY_NS, severity
from dosimeter.monitor.answers.watching import lately
from dosimeter.monitor.audit.queries.worth import short, worth
from dosimeter.monitor.pages import shown, shown_rules
from dosimeter.monitor.pages.source import NotPossible, Reader
from dosimeter.rules.language.schema import Rule, RuleSet, load_rules
from dosimeter.rules.testing.cases import features_of

WEEK_NS = 7 * DAY_NS


@dataclass(frozen=True, slots=True)
class File:
    """A rule's file as it is now."""

    path: Path
    text: str
    rule: Rule


def files(asked: Asked) -> list[Path]:
    found: list[Path] = []
    for path in asked.rules:
        found += sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    return found


def find(asked: Asked, name: str) -> File | None:
    """None where no file of the configuration has such a rule, or it cannot be read now."""
    for path in files(asked):
        try:
            ruleset = load_rules([path])
            text = path.read_text(encoding="utf-8")
        except (InputError, OSError, UnicodeDecodeError):
            continue
        for rule in ruleset.rules:
            if rule.id == name:
                return File(path, text, rule)
    return None


def rules(asked: Asked, reader: Reader) -> shown_rules.RuleList:
    """Those in the files, and those that have decided something before."""
    since = asked.now_ns() - WEEK_NS
    own = asked.own(reader)
    alerts = {
        row["rule"]: row["n"]
        for row in asked.rows("count_by_rule", from_ns=since, kind="alert", **own)
    }
    said = _verdicts(asked, reader)
    known: dict[str, tuple[str, shown.Severity, str]] = {}  # status, severity, owner
    for row in asked.rows("rules_seen", kind="alert", **own):
        terms = _terms(asked, row["terms"])
        status, owner = str(terms.get("status", "")), str(terms.get("owner", ""))
        known[row["rule"]] = status, severity(terms.get("severity")), owner
    for path in files(asked):
        try:
            ruleset = load_rules([path])
        except (InputError, OSError):
            continue
        for rule in ruleset.rules:
            known[rule.id] = rule.status, severity(rule.severity), rule.owner
    lines = []
    for name, told in sorted(known.items()):
        of = said.get(name, {})
        sums = of.get("true", 0), of.get("false", 0), of.get("judged", 0)
        lines.append(shown_rules.RuleLine(name, *told, alerts.get(name, 0), *sums))
    return shown_rules.RuleList(tuple(lines), short(lately(asked, WEEK_NS)))


def _verdicts(asked: Asked, reader: Reader) -> dict[str, dict[str, int]]:
    """By rule: `true`, `false` and `unsure`, or how many were `judged`; and on how many reviewers `disagreed`."""
    found: dict[str, dict[str, int]] = {}
    disagreed: Counter[str] = Counter()
    for row in asked.rows("labels_by_rule", kind="alert", **asked.own(reader)):
        name = row["rule"] or ""
        found.setdefault(name, {})[row["verdict"]] = row["n"]
        disagreed[name] += row["disagreed"] or 0
    if sums_are_kept(reader):
        found = {name: counted(one, reader) for name, one in found.items()}
    return {name: one | {"disagreed": disagreed[name]} for name, one in found.items()}


def rule(asked: Asked, name: str, reader: Reader, zone: str) -> shown_rules.RuleView | None:
    file = find(asked, name)
    own = asked.own(reader)
    each = asked.rows("rules_seen", kind="alert", **own)  # of all: that is counted once
    seen = [row for row in each if row["rule"] == name]
    if file is None and not seen:
        return None
    said = _verdicts(asked, reader).get(name, {})
    newest = max(seen, key=lambda row: int(row["last_ns"]), default=None)
    last = _terms(asked, newest["terms"]) if newest else {}
    now = file.rule if file is not None else None
    since = begins(asked, zone, 4 * WEEK_NS)
    alerts = days(asked, zone, kind="alert", rule=name, from_ns=since, **own)
    total = sum(n for day in alerts for n in day.counts.values())
    return shown_rules.RuleView(
        name=name,
        path=_path(file.path) if file is not None else "",
        text=file.text if file is not None else "",
        sha256=now.sha256 if now is not None else "",
        status=now.status if now is not None else str(last.get("status", "")),
        severity=severity(now.severity if now is not None else last.get("severity")),
        owner=now.owner if now is not None else str(last.get("owner", "")),
        true=said.get("true", 0),
        false=said.get("false", 0),
        unsure=said.get("unsure", 0),
        disagreed=said.get("disagreed", 0),
        judged=said.get("judged", 0),
        days=alerts,
        worth=tuple(worth(lately(asked, 4 * WEEK_NS), ZoneInfo(zone), total=total)),
        versions=tuple(_versions(asked, seen)),
        features=features_of(now) if now is not None else (str(last["feature"]),),
    )


def _versions(asked: Asked, seen: Sequence[dict[str, Any]]) -> Iterator[shown_rules.Version]:
    """By the text of the rule: levels placed anew are no new text."""
    found: dict[str, shown_rules.Version] = {}
    for row in seen:
        terms = _terms(asked, row["terms"])
        sha = str(terms.get("rule_sha256", ""))
        before = found.get(sha)
        first = min(row["first_ns"], before.first_ns if before else row["first_ns"])
        last = max(row["last_ns"], before.last_ns if before else row["last_ns"])
        n = row["n"] + (before.alerts if before else 0)
        found[sha] = shown_rules.Version(sha, first, last, str(terms.get("status", "")), n)
    yield from sorted(found.values(), key=lambda one: -one.last_ns)


def _terms(asked: Asked, sha256: str | None) -> dict[str, Any]:
    if not sha256:
        return {}
    with asked.alone() as history:
        body = history.hot.blob(sha256)
    return {} if body is None else dict(json.loads(body))


def _path(path: Path) -> str:
    """As a patch names it: within the folder above, where a repository usually begins."""
    return f"{path.parent.name}/{path.name}" if path.parent.name else path.name


@contextmanager
def _edited(asked: Asked, name: str, text: str) -> Iterator[Path]:
    """The rule's file with this text, among what lies beside it, in a folder that goes away again."""
    file = find(asked, name)
    if file is None:
        raise NotPossible(f"rule `{name}` is in no file of this history's configuration")
    with tempfile.TemporaryDirectory(prefix="dosimeter-rule-") as folder:
        for beside in file.path.parent.iterdir():
            if beside != file.path:
                Path(folder, beside.name).symlink_to(beside.resolve())
        path = Path(folder, file.path.name)
        path.write_text(text, encoding="utf-8")
        yield path


def lint(asked: Asked, name: str, text: str) -> tuple[Finding, ...]:
    from dosimeter.detectors.registry import load_features
    from dosimeter.rules.linting.lint import lint as check

    known = {*load_features(), *(n for c in _calibrations(asked) for n in c.features)}
    with _edited(asked, name, text) as path:
        found = check([path], known, datetime.now(UTC).date())
        shown_as = path.name
        return tuple(
            replace(one, place=one.place._replace(name=one.place.name.replace(str(path), shown_as)))
            for one in found
        )


def try_tests(asked: Asked, name: str, text: str) -> tuple[shown_rules.Tried, ...]:
    """Of the rules in the edited file."""
    from dosimeter.rules.testing.tested import explained, run_tests

    with _edited(asked, name, text) as path:
        try:
            tested = run_tests(load_rules([path]).rules)
        except InputError as error:
            raise NotPossible(str(error)) from error
        return tuple(
            shown_rules.Tried(
                f"{one.rule.id}: {verdict.test.name}",
                verdict.passed,
                "" if verdict.passed else "; ".join(explained(one, verdict)) or "it did not",
            )
            for one in tested
            for verdict in one.verdicts
        ) + tuple(
            shown_rules.Tried(one.rule.id, False, one.unplaced) for one in tested if one.unplaced
        )


def backtest(asked: Asked, name: str, text: str, zone: str, reader: Reader) -> shown_rules.Backtest:
    """Over the last four weeks of the archive, which is of all tenants."""
    from dosimeter.monitor.backtest import Wanted
    from dosimeter.monitor.backtest import backtest as run
    from dosimeter.monitor.backtest_report import report
    from dosimeter.rules.backtesting.distribution import BELOW, BINS_A_SD

    if reader.tenants is not None:
        raise NotPossible("a backtest counts over all tenants, and you see some")
    if not asked.archive.is_dir():
        raise NotPossible("no scores are kept here; write `archive: {}` in the sidecar's file")
    loaded = tuple(_calibrations(asked))
    if not loaded:
        raise NotPossible("no calibration is set up, so no level can be placed")
    with _edited(asked, name, text) as path:
        try:
            ruleset = load_rules([path])
            only = RuleSet(tuple(one for one in ruleset.rules if one.id == name))
            if not only.rules:
                raise NotPossible(f"the edited text has no rule `{name}`")
            day = datetime.now(ZoneInfo(zone)).date()
            since = asked.now_ns() - 4 * WEEK_NS
            answer = run(asked.archive, Wanted(only, loaded, day, since, values=True))
        except InputError as error:
            raise NotPossible(str(error)) from error
    body = report(answer, None)
    of = body["rules"][0]
    if not of["run"]:
        raise NotPossible(body["inactive"].get(name, "it could not be run on this archive"))
    values = answer.values.get(name)
    a_day = of["alerts_a_day"] or {"value": 0.0, "low": 0.0, "high": 0.0}
    return shown_rules.Backtest(
        rule=name,
        requests=int(body["archive"]["requests"]),
        kept=int(body["archive"]["requests_kept"]),
        alerts=float(of["alerts"]["value"]),
        alerts_a_day=float(a_day["value"]),
        low=float(a_day["low"]),
        high=float(a_day["high"]),
        days=tuple(shown.Day(str(day), {"alerts": round(n)}) for day, n in of["by_day"].items()),
        feature=values.feature if values else "",
        threshold_sd=values.threshold if values else 0.0,
        bin_sd=1 / BINS_A_SD,
        traffic_s=answer.days * 86_400,
        bins=tuple(
            (values.threshold + (at - BELOW) / BINS_A_SD, int(n))
            for at, n in enumerate(values.counts)
        )
        if values
        else (),
    )


def _calibrations(asked: Asked) -> list[Calibration]:
    return [_loaded(path) for path in asked.config.calibrations if path.is_dir()]


@lru_cache(maxsize=8)
def _loaded(path: Path) -> Calibration:
    return Calibration.load(path)
