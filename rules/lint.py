"""What is wrong, or will surprise, in rule files, before anything runs them.

Owns the checks that go beyond reading a file: levels that mislead, statuses that say nothing
happens, features nobody defined. It never learns about calibrations or a running server.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TextIO

from dosimeter.detectors.findings import Finding, hint_for, in_order, render, render_json, visible
from dosimeter.detectors.frames import Scope
from dosimeter.detectors.reader import Reader
from dosimeter.rules.schema import Rule, read_files

CLEAN, FINDINGS, USAGE = 0, 1, 2


def lint(paths: Sequence[Path], features: Collection[str] | None = None) -> list[Finding]:
    """Every finding of these files and folders, in reading order.

    features: the names that are defined; None where no registry is at hand, and then a feature
    that does not exist is not found here but makes its rule inactive.
    """
    reader = Reader()
    for rule in read_files(paths, reader).rules:
        _feature(rule, features, reader)
        _scope(rule, reader)
        _level(rule, reader)
        _status(rule, reader)
    return in_order(reader.findings)


def lint_command(
    paths: Sequence[Path],
    json: bool,
    out: TextIO,
    features: Collection[str] | None = None,
) -> int:
    """`dosimeter rules lint`: writes to `out`; 0 nothing to change, 1 findings, 2 no path given.

    Notes (a rule that is a draft) are shown and change nothing.
    """
    if not paths:
        out.write("no rule file given\n  hint: dosimeter rules lint FILE-OR-FOLDER ...\n")
        return USAGE
    findings = lint(paths, features)
    if json:
        out.write(render_json(findings) + "\n")
    else:
        if findings:
            out.write(render(findings) + "\n")
        out.write(_tally(findings) + "\n")
    return FINDINGS if any(f.severity != "note" for f in findings) else CLEAN


def _feature(rule: Rule, features: Collection[str] | None, reader: Reader) -> None:
    if features is None or rule.when.feature in features:
        return
    message = f"unknown feature `{visible(rule.when.feature)}`"
    hint = hint_for(rule.when.feature, features)
    reader.error(rule.places["when.feature"], message, hint, "unknown-feature")


def _scope(rule: Rule, reader: Reader) -> None:
    """No tap marks reasoning yet: its tokens count as the answer's."""
    if rule.when.scope is Scope.REASONING:
        message = "no tap of this release marks `reasoning`: this rule never fires"
        hint = "write `in: answer`, which holds those tokens"
        reader.report("scope-unseen", "warning", rule.places["when.in"], message, hint)


def _level(rule: Rule, reader: Reader) -> None:
    """A share of tokens is not what an analyst means by `1 in 1000`: long answers have many."""
    when = rule.when
    place = rule.places["when.above" if when.direction == 1 else "when.below"]
    if when.level.noun == "tokens":
        noun = "messages" if when.scope.name == "MESSAGE" else "answers"
        message = f"level `{when.level.text}` counts tokens: every answer has hundreds of chances"
        hint = f"write `1 in N {noun}` for a rate that people can plan with"
        reader.report("level-tokens", "warning", place, message, hint)


def _status(rule: Rule, reader: Reader) -> None:
    place = rule.places["status"]
    if rule.status in ("draft", "retired"):
        hint = "`shadow` runs it without notifying" if rule.status == "draft" else None
        message = f"rule `{rule.id}` is `{rule.status}`: it does not run"
        reader.report(rule.status, "note", place, message, hint)
    elif rule.status == "live" and rule.severity == "critical" and not rule.runbook:
        message = f"`critical` rule `{rule.id}` without `runbook`"
        hint = "say where the person who is woken finds what to do"
        reader.report("no-runbook", "warning", rule.places["severity"], message, hint)


def _tally(findings: Sequence[Finding]) -> str:
    counts = [
        f"{n} {word}" + ("s" if n != 1 else "")
        for word in ("error", "warning", "note")
        if (n := sum(f.severity == word for f in findings))
    ]
    return ", ".join(counts) or "nothing to change"
