"""Whether rules do what their own tests say, asked before they are taken over.

Owns which rules have to be asked: those that run, and that say, or are tested by, something else than when they last
passed. A draft may fail. Beside a running line they are asked in a process of its own, niced: half a second of tests in
a thread of the line's process holds up every frame that comes meanwhile. It never learns what is in force; how a test
runs is `rules/testing/tested.py`.
"""

from __future__ import annotations

import json
import os
import pickle
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from dosimeter.detectors.findings import Finding, InputError
from dosimeter.rules.atoms import RUNNING
from dosimeter.rules.language.schema import Rule
from dosimeter.rules.testing.tested import Tested, run_tests
from dosimeter.rules.testing.tested_text import told

LIMIT_S = 120
"""Of processor time, and of waiting for it; where they are run here, no rule's tests begin after it."""
_COMMAND = (sys.executable, "-P", "-m", "dosimeter.monitor.self_test")
"""-P: no module out of the folder we stand in."""


class NotRun(RuntimeError):
    """The tests could not be run: of this machine, not of the rules. Worth another try."""


class SelfTest:
    """Remembers the rules that passed, so that a change of one of a hundred runs the tests of one."""

    def __init__(self) -> None:
        self._passed: frozenset[str] = frozenset()

    def run(self, rules: Sequence[Rule], *, apart: bool) -> None:
        """Raises InputError with every test that fails or cannot be read; NotRun.

        apart: in a process of its own.
        """
        asked = [rule for rule in rules if _counts(rule) and _said(rule) not in self._passed]
        if not asked:
            return
        findings = _run_apart(asked) if apart else _run(asked)
        if findings:
            raise InputError(findings)

    def passed(self, rules: Iterable[Rule]) -> None:
        """These are in force now: of others nothing need be remembered."""
        self._passed = frozenset(_said(rule) for rule in rules if _counts(rule))


def _counts(rule: Rule) -> bool:
    return rule.tests is not None and rule.status in RUNNING


def _said(rule: Rule) -> str:
    """The rule and its tests. Fixtures, which stand beside its file, are taken to be what they were."""
    tests = rule.tests.plain() if rule.tests is not None else None
    return json.dumps([str(Path(rule.place.name).parent), rule.sha256, tests])


def _run(rules: Sequence[Rule]) -> list[Finding]:
    deadline = time.monotonic() + LIMIT_S
    found: list[Finding] = []
    for rule in rules:
        if time.monotonic() >= deadline:
            raise NotRun(_too_long(rules))
        try:
            found += [finding for one in run_tests([rule]) for finding in _findings(one)]
        except InputError as error:
            found += error.findings
    return found


def _findings(one: Tested) -> Iterable[Finding]:
    hint = f"dosimeter rules test {one.rule.place.name}"
    if one.unplaced and one.tests:
        message = f"rule `{one.rule.id}` cannot be tested: {one.unplaced}"
        yield Finding("test", "error", one.rule.place, message, hint)
    for verdict in one.failed:
        expected, happened = told(verdict)
        message = (
            f"test `{verdict.test.name}` of rule `{one.rule.id}` fails: "
            f"expected {expected}; happened {happened}"
        )
        yield Finding("test", "error", verdict.test.place, message, hint)


def _run_apart(rules: Sequence[Rule]) -> list[Finding]:
    try:
        done = subprocess.run(
            _COMMAND, input=pickle.dumps(rules), capture_output=True, timeout=LIMIT_S, check=False
        )
    except OSError as error:
        raise NotRun(f"the tests of {len(rules)} rules could not be run: {error}") from None
    except subprocess.TimeoutExpired:
        raise NotRun(_too_long(rules)) from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise NotRun(f"the tests of {len(rules)} rules could not be run: {said or done.returncode}")
    found: list[Finding] = pickle.loads(done.stdout)
    return found


def _too_long(rules: Sequence[Rule]) -> str:
    return f"the tests of {len(rules)} rules took longer than {LIMIT_S} s"


def main() -> None:
    """Rules on standard input, findings on standard output, both pickled: what our own process sends and takes."""
    os.nice(10)
    resource.setrlimit(resource.RLIMIT_CPU, (LIMIT_S, LIMIT_S))  # also where nobody waits any more
    rules: list[Rule] = pickle.load(sys.stdin.buffer)
    sys.stdout.buffer.write(pickle.dumps(_run(rules)))


if __name__ == "__main__":
    main()
