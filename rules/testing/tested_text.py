"""What people and programs read of tested rules: a line a rule, each failure with its place, and tests to paste.

Owns the wording. A golden file in the tests holds it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from dosimeter.detectors.findings import Finding, visible
from dosimeter.rules.language.counting import Count
from dosimeter.rules.language.second import SecondRule
from dosimeter.rules.language.watching import Absent, Shift
from dosimeter.rules.testing.cases import Expectation, RuleTest
from dosimeter.rules.testing.mutation import MutationScore
from dosimeter.rules.testing.runs import write_runs
from dosimeter.rules.testing.streams import written
from dosimeter.rules.testing.tested import Tested, explained
from dosimeter.rules.testing.trial import Found, Verdict

_FORM = {Count: "a `count`", Absent: "an `absent`", Shift: "a `shift`"}


def as_text(
    tested: Sequence[Tested], second: Sequence[SecondRule] = (), refused: Sequence[Finding] = ()
) -> str:
    """second: rules of the files that can have no tests; refused: why no sidecar takes these files."""
    lines = [str(finding) for finding in refused]
    if refused:
        lines.append("no sidecar runs these rules; what their tests say all the same:")
    lines += [line for one in tested for line in _rule(one)]
    lines += [f"{one.place}: {one.id}: {_FORM[type(one.when)]} has no tests" for one in second]
    return visible("\n".join([*lines, _tally(tested, refused)]), keep="\n") + "\n"


def as_json(
    tested: Sequence[Tested], second: Sequence[SecondRule] = (), refused: Sequence[Finding] = ()
) -> str:
    failed = sum(len(one.failed) if not one.unplaced else len(one.tests) for one in tested)
    body: dict[str, Any] = {
        "refused": [finding.as_json() for finding in refused],
        "rules": [_rule_json(one) for one in tested],
        "without_tests": [one.id for one in second],
        "passed": sum(len(one.tests) for one in tested) - failed,
        "failed": failed,
    }
    scores = [one.mutation for one in tested if one.mutation is not None]
    if scores:
        body["mutants"] = {
            "noticed": sum(s.killed for s in scores), "counted": sum(s.counted for s in scores)
        }  # fmt: skip
    return json.dumps(body, indent=2) + "\n"


def score_of(tested: Sequence[Tested]) -> float | None:
    """Steps noticed in per cent of those counted; None where none was counted."""
    scores = [one.mutation for one in tested if one.mutation is not None]
    counted = sum(score.counted for score in scores)
    return 100 * sum(score.killed for score in scores) / counted if counted else None


def told(verdict: Verdict) -> tuple[str, str]:
    """What was expected, and what happened."""
    return _listed(verdict.test.expect), _listed(verdict.found)


def _listed(hits: Sequence[Expectation | Found]) -> str:
    shown = "; ".join(map(str, hits[:10]))
    more = f"; and {len(hits) - 10} more" if len(hits) > 10 else ""
    return shown + more or "nothing"


def _rule(one: Tested) -> list[str]:
    count = f"{len(one.tests)} test" + ("s" if len(one.tests) != 1 else "")
    head = f"{one.rule.place}: {one.rule.id}:"
    if one.unplaced:
        return [f"{head} cannot be tested: {one.unplaced}"]
    if not one.tests:
        return [f"{head} no tests", *_mutants(one.mutation)]
    if not one.failed:
        return [f"{head} {count} passed", *_mutants(one.mutation)]
    lines = [f"{head} {len(one.failed)} of {count} failed"]
    for verdict in one.failed:
        expected, happened = told(verdict)
        lines += [
            f"  {verdict.test.place}: {verdict.test.name}",
            f"    expected: {expected}",
            f"    happened: {happened}",
            *(f"    {line}" for line in explained(one, verdict)),
        ]
    return lines


def _mutants(score: MutationScore | None) -> list[str]:
    if score is None or score.killed == score.counted:
        return [] if score is None else [f"  all of {score.counted} changes noticed"]
    lines = [f"  {score.killed} of {score.counted} changes noticed; not noticed:"]
    for survivor in score.survivors:
        lost = "" if survivor.by else " (no stream was found that tells them apart)"
        lines.append(f"    {survivor.mutant.place}: {survivor.mutant.what}{lost}")
    if score.offered:
        lines += ["  to notice them, add under its `tests:`", to_paste(score.offered)]
    return lines


def to_paste(tests: Sequence[RuleTest]) -> str:
    """Tests as a rule file has them, indented as under a rule's `tests:`."""
    return "\n".join(line for test in tests for line in _pasted(test))


def _pasted(test: RuleTest) -> list[str]:
    (request,) = test.requests
    stream = ", ".join(
        "{" + _entry(key, value) + "}"
        for entry in written(request.stream)
        for key, value in entry.items()
    )
    expect = ", ".join(
        f"{{at: {one.at}{', exempt: true' if one.exempt else ''}}}" for one in test.expect
    )
    labels = ", ".join(f"{name}: {json.dumps(value)}" for name, value in request.labels.items())
    return [
        f"      - name: {json.dumps(test.name)}",
        *([f"        labels: {{{labels}}}"] if labels else []),
        *([f"        model: {json.dumps(request.model)}"] if request.model else []),
        f"        stream: [{stream}]",
        f"        expect: [{expect}]",
    ]


def _entry(key: str, value: dict[str, list[int]] | int) -> str:
    if isinstance(value, int):
        return f"{key}: {value}"
    runs = ", ".join(f'{name}: "{write_runs(codes)}"' for name, codes in value.items())
    return f"{key}: {{{runs}}}"


def _tally(tested: Sequence[Tested], refused: Sequence[Finding] = ()) -> str:
    tests = [one for one in tested if one.tests]
    failed = sum(len(one.tests) if one.unplaced else len(one.failed) for one in tested)
    passed = sum(len(one.tests) for one in tested) - failed
    said = f"{passed} passed, {failed} failed"
    if len(tests) < len(tested):
        said += f"; {len(tested) - len(tests)} of {len(tested)} rules without tests"
    if refused:
        said += f"; {len(refused)} error{'s' if len(refused) > 1 else ''} in the rules"
    score = score_of(tested)
    if score is not None:
        said += f"; {score:.0f} % of changes noticed"
    return said


def _rule_json(one: Tested) -> dict[str, Any]:
    body: dict[str, Any] = {
        "rule": one.rule.id,
        "file": one.rule.place.name,
        "line": one.rule.place.line,
        "unplaced": one.unplaced or None,
        "tests": [_test_json(one, verdict) for verdict in one.verdicts],
    }
    if one.mutation is not None:
        body["mutants"] = {
            "noticed": one.mutation.killed,
            "counted": one.mutation.counted,
            "missed": [
                {
                    "change": survivor.mutant.what,
                    "line": survivor.mutant.place.line,
                    "column": survivor.mutant.place.column,
                    "test": survivor.by and survivor.by.name,
                }
                for survivor in one.mutation.survivors
            ],
            "tests": to_paste(one.mutation.offered),
        }
    return body


def _test_json(one: Tested, verdict: Verdict) -> dict[str, Any]:
    place = verdict.test.place
    return {
        "name": verdict.test.name,
        "line": place.line,
        "column": place.column,
        "passed": verdict.passed,
        "expected": [str(e) for e in verdict.test.expect],
        "happened": [str(f) for f in verdict.found],
        "conditions": [] if verdict.passed else explained(one, verdict),
    }
