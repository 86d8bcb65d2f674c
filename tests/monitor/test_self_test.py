"""Rules are asked for their tests in a process of its own, and answer as they do in ours."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from dosimeter.detectors.findings import InputError
from dosimeter.monitor import self_test
from dosimeter.monitor.cli import sidecar
from dosimeter.monitor.config import Config
from dosimeter.monitor.self_test import NotRun, SelfTest
from dosimeter.rules.language.schema import load_rules

RULES = """\
version: 1
rules:
  - rule: hot
    when: {feature: scam, in: answer, above: z 2, for: 3 tokens}
    status: shadow
    severity: low
    summary: "hot"
    tests:
      - {name: right, stream: [{answer: {scam: "3*3"}}], expect: [{at: answer 3}]}
      - {name: wrong, stream: [{answer: {scam: "3*3"}}], expect: []}
  - rule: garbled
    when: {feature: scam, in: answer, above: z 2}
    status: shadow
    severity: low
    summary: "garbled"
    tests: TESTS
"""


@pytest.mark.parametrize(
    ("tests", "said"),
    [
        ("[]", "r.yaml:10:16: error: test `wrong` of rule `hot` fails: expected nothing; "),
        ("[{name: x, stream: [{answr: 3}], expect: []}]", "r.yaml:16:33: error: "),
    ],
)
def test_apart_and_here_the_same_is_found(tests: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(RULES.replace("TESTS", tests))
    rules = load_rules([file]).rules
    errors = []
    for apart in (False, True):
        with pytest.raises(InputError) as caught:
            SelfTest().run(rules, apart=apart)
        errors.append(str(caught.value))
    assert errors[0] == errors[1]
    assert said in errors[0]


def test_a_file_where_the_sidecar_stands_is_no_module_of_its_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder with a `yaml.py` had kept every reload from its tests, and whoever could write there was run."""
    file = tmp_path / "r.yaml"
    file.write_text(
        RULES.replace("TESTS", "[]").replace("expect: []}", "expect: [{at: answer 3}]}")
    )
    for name in ("yaml.py", "argparse.py"):
        (tmp_path / name).write_text("raise SystemExit('from where it stands')")
    monkeypatch.chdir(tmp_path)
    SelfTest().run(load_rules([file]).rules, apart=True)
    args = argparse.Namespace(config=None, data_dir=None)
    for child in sidecar.children(Config(), args):
        command = [*child.command, "--help"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout[:6]) == (0, "usage:"), done.stderr


def test_a_process_that_dies_or_cannot_be_started_says_nothing_of_the_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(RULES.replace("TESTS", "[]"))
    rules = load_rules([file]).rules
    dies = (sys.executable, "-c", "import os; os.kill(os.getpid(), 9)")
    monkeypatch.setattr(self_test, "_COMMAND", dies)
    with pytest.raises(NotRun, match="could not be run: -9"):
        SelfTest().run(rules, apart=True)
    monkeypatch.setattr(self_test, "_COMMAND", (str(tmp_path / "nowhere"),))
    with pytest.raises(NotRun, match="No such file"):
        SelfTest().run(rules, apart=True)


def test_tests_without_end_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(RULES.replace("TESTS", "[]"))
    waits = (sys.executable, "-c", "import signal; signal.pause()")
    monkeypatch.setattr(self_test, "_COMMAND", waits)
    monkeypatch.setattr(self_test, "LIMIT_S", 0.2)
    with pytest.raises(NotRun, match="took longer than"):
        SelfTest().run(load_rules([file]).rules, apart=True)


def test_in_our_own_process_no_tests_begin_after_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(RULES.replace("TESTS", "[]"))
    monkeypatch.setattr(self_test, "LIMIT_S", 0)
    with pytest.raises(NotRun, match="took longer than"):
        SelfTest().run(load_rules([file]).rules, apart=False)
