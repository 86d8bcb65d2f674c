"""A few attacks for real, as a user would run them: a stage, a server, a monitor, and the table."""

from __future__ import annotations

import json

import pytest

from dosimeter.monitor.cli.main import main

QUICK = ("impostor", "template-tokens", "line-killed")


@pytest.mark.parts
def test_quick_attacks_are_named_and_the_other_tenant_stays_scored(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One on the socket, one by a client, one on the sidecar itself: every goal is met, exit 0."""
    only = [part for name in QUICK for part in ("--only", name)]
    code = main(["chaos", "blind", "--json", *only])
    said = capsys.readouterr()
    report = json.loads(said.out)
    assert [one["attack"] for one in report["attacks"]] == list(QUICK)
    assert code == 0, report
    assert report["met"] is True
    for one in report["attacks"]:
        assert one["others"] > 0
    impostor, typed, _ = report["attacks"]
    assert impostor["others_scored"] == impostor["others"]
    assert typed["others_scored"] == typed["others"]
    assert "[3/3] line-killed" in said.err


def test_an_attack_that_does_not_exist_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chaos", "blind", "--only", "nothing-such"]) == 2
    assert "hint: one of socket-garbage" in capsys.readouterr().err
