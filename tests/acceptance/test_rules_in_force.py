"""Rules edited while traffic flows, and typos in rules and configuration: what is in force is always said."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dosimeter.monitor.lab.stage import Stage
from tests.acceptance.scene import (
    RULES,
    accepted,
    conversations,
    delivered_everywhere,
    say,
    scene,
    settled,
    until,
)

pytestmark = pytest.mark.parts
IN_FORCE_S = 2.0


def rules(stage: Stage) -> dict[str, Any]:
    status = stage.status()
    found: dict[str, Any] = {} if status is None else status["rules"]
    return found


def replace(path: Path, text: str) -> None:
    """As editors do it: a reader sees the old file or the new one."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)


def test_a_number_edited_under_traffic_is_in_force_within_two_seconds_and_a_typo_changes_nothing(
    tmp_path: Path,
) -> None:
    told = conversations(4)
    path = tmp_path / "rules.yaml"
    with scene(tmp_path) as stage:
        calls = len(say(stage, told))
        settled(stage, calls)
        assert len(accepted(stage)) == calls
        (first,) = rules(stage)["programs"]

        replace(path, RULES.replace("z -100", "z 100"))  # beyond what a score can be
        until(lambda: rules(stage)["programs"] != [first], "the edited rule in force", IN_FORCE_S)
        calls += len(say(stage, told))
        settled(stage, calls)
        assert len(accepted(stage)) == len(told)  # and no more

        replace(path, RULES)
        until(lambda: rules(stage)["programs"] == [first], "the first rule again", IN_FORCE_S)

        place = f"{path}:4:{RULES.splitlines()[3].index('above') + 1}: "
        replace(path, RULES.replace("above:", "abvoe:"))
        error = until(lambda: rules(stage)["error"], "the typo in the status", IN_FORCE_S)
        assert place in error
        assert "`abvoe`" in error
        assert "above" in error.partition("hint:")[2]
        assert rules(stage)["programs"] == [first]
        assert rules(stage)["active"] == ["any-answer"]
        calls += len(say(stage, told))
        settled(stage, calls)
        assert len(delivered_everywhere(stage)) == 2 * len(told)  # the last good rule fires on

        replace(path, RULES)
        until(lambda: rules(stage)["error"] is None, "the typo mended", IN_FORCE_S)


def test_a_typo_in_the_configuration_ends_the_start_with_its_place_and_the_word_meant(
    tmp_path: Path,
) -> None:
    config = tmp_path / "sidecar.yaml"
    config.write_text(f"version: 1\ndata-dir: {tmp_path}\nsinks:\n  kafak: {{bootstrap: 'a:1'}}\n")
    ended = sidecar(config)
    assert ended.returncode == 2
    assert f"{config}:4:3: " in ended.stderr
    assert "`kafak`" in ended.stderr
    assert "`kafka`" in ended.stderr.partition("hint:")[2]
    assert "Traceback" not in ended.stderr


def test_a_typo_in_the_rules_ends_the_first_start_with_its_place_and_the_word_meant(
    tmp_path: Path,
) -> None:
    config, broken = tmp_path / "sidecar.yaml", tmp_path / "rules.yaml"
    config.write_text(f"version: 1\ndata-dir: {tmp_path}\nrules: [rules.yaml]\n")
    broken.write_text(RULES.replace("severity: low", "severity: hihg"))
    ended = sidecar(config)
    assert ended.returncode == 4
    assert f"{broken}:6:15: " in ended.stderr
    assert "high" in ended.stderr.partition("hint:")[2]
    assert "Traceback" not in ended.stderr


def sidecar(config: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dosimeter.monitor.cli.main", "sidecar", "--config"]
    return subprocess.run([*command, str(config)], capture_output=True, text=True, timeout=30)
