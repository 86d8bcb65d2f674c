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
    """One on the socket, one by a client, one on the sidecar itself.

    On a machine that is busy with other things a hook gives up on a lock after 1.5 ms, and its rows are dropped
    and counted: that alone is no failure here.
    """
    only = [part for name in QUICK for part in ("--only", name)]
    code = main(["chaos", "blind", "--json", *only])
    said = capsys.readouterr()
    report = json.loads(said.out)
    assert [one["attack"] for one in report["attacks"]] == list(QUICK)
    assert code == (0 if report["met"] else 1)
    for one in report["attacks"]:
        assert one["said"], one
        assert one["said_s"] <= report["goals"]["named_s"]
        assert one["rearmed_s"] <= report["goals"]["rearmed_s"]
        assert one["unaccounted"] == 0
        assert one["others"] > 0
    for one in report["attacks"][:2]:
        assert one["others_scored"] == one["others"] or set(one["unscored"]) == {"dropped"}, one
    assert "[3/3] line-killed" in said.err


def test_an_attack_that_does_not_exist_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chaos", "blind", "--only", "nothing-such"]) == 2
    assert "hint: one of socket-garbage" in capsys.readouterr().err
