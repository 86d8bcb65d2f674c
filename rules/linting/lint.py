"""What is wrong, or will surprise, in rule files, before anything runs them.

Owns the order of the checks and how findings are told. What a file may say is `schema.py`; what will surprise in rules
that can be read, `checks.py` and `checks_among.py`. It never learns about a running server.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import date
from json import dumps
from pathlib import Path
from typing import TextIO

from dosimeter.detectors.findings import Finding, in_order, render, visible
from dosimeter.detectors.reader import Reader
from dosimeter.rules.language.schema import Rule, RuleSet, load_rules, load_trees, read_trees
from dosimeter.rules.language.second import SecondRule
from dosimeter.rules.linting.checks import check
from dosimeter.rules.linting.checks_among import check_among, check_used
from dosimeter.rules.linting.checks_policy import Written
from dosimeter.rules.linting.checks_second import check_second
from dosimeter.rules.linting.expected import Traffic

CLEAN, FINDINGS, USAGE = 0, 1, 2


def lint(
    paths: Sequence[Path],
    features: Collection[str] | None = None,
    day: date | None = None,
    replicas: int = 1,
) -> list[Finding]:
    """Every finding of these files and folders, in reading order.

    features: the names that are defined; None where no registry is at hand, and then a feature
    that does not exist is not found here but makes its rule inactive. day: today; None where no date is judged.
    replicas: sidecars that will run these rules side by side.
    """
    reader = Reader()
    roots = load_trees(paths, reader)
    ruleset = read_trees(roots, reader)
    nodes = {
        node.entries["rule"].value.place: node
        for root in roots
        if "rules" in root.entries
        for node in root.entries["rules"].value.nodes
        if "rule" in node.entries
    }
    rules: list[Rule | SecondRule] = [*ruleset.rules, *ruleset.second]
    rules.sort(key=lambda rule: rule.id)
    written = [Written(rule, nodes[rule.place]) for rule in rules]
    for one in written:
        check(one, features, day, reader)
    check_among(written, reader)
    check_second(ruleset, features, replicas, reader)
    wrong = {finding.place.name for finding in reader.findings if finding.severity == "error"}
    for root in roots:
        if root.place.name not in wrong:  # what is wrong may be what uses it
            check_used(root, reader)
    return in_order(reader.findings)


def lint_command(
    paths: Sequence[Path],
    json: bool,
    out: TextIO,
    features: Collection[str] | None = None,
    day: date | None = None,
    replicas: int = 1,
    traffic: Callable[[RuleSet], Traffic] | None = None,
) -> int:
    """`dosimeter rules lint`: writes to `out`; 0 nothing to change, 1 findings, 2 no path given.

    Notes (a rule that is a draft) are shown and change nothing. traffic: how often the rules fire, told as well
    where they can be read.
    """
    if not paths:
        out.write("no rule file given\n  hint: dosimeter rules lint FILE-OR-FOLDER ...\n")
        return USAGE
    findings = lint(paths, features, day, replicas)
    found = None
    if traffic is not None and not any(f.severity == "error" for f in findings):
        ruleset = load_rules(paths)
        found = traffic(ruleset)
        findings = in_order([*findings, *_silent(ruleset, found, findings)])
    if json:
        body = {"findings": [f.as_json() for f in findings]}
        out.write(dumps(body | ({"traffic": found.as_json()} if found else {}), indent=2) + "\n")
    else:
        if findings:
            out.write(render(findings) + "\n")
        out.write(_tally(findings) + "\n")
        for line in found.told() if found else ():
            out.write(visible(line) + "\n")
        if traffic is not None and found is None:
            out.write("alerts a day: told once there is no error\n")
    return FINDINGS if any(f.severity != "note" for f in findings) else CLEAN


def _silent(ruleset: RuleSet, traffic: Traffic, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Rules that cannot fire on this traffic; of one that expired that was said."""
    over = {finding.place for finding in findings if finding.code == "expired"}
    for rule in ruleset.rules:
        if rule.places.get("expires") in over:
            continue
        code, why = "never", traffic.never.get(rule.id)
        if rule.id in traffic.inactive:
            code, why = "inactive", why or traffic.inactive[rule.id]
        if why is not None:
            message, _, hint = why.partition("; ")
            told = f"rule `{rule.id}` is inactive: {message}" if code == "inactive" else message
            yield Finding(code, "warning", rule.places["when"], told, hint or None)


def _tally(findings: Sequence[Finding]) -> str:
    counts = [
        f"{n} {word}" + ("s" if n != 1 else "")
        for word in ("error", "warning", "note")
        if (n := sum(f.severity == word for f in findings))
    ]
    return ", ".join(counts) or "nothing to change"
