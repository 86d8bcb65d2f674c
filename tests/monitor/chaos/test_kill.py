"""`dosimeter chaos kill`, as often as a test may take; `make chaos-kill` goes on for longer."""

from __future__ import annotations

import pytest

from dosimeter.monitor.chaos.kill import run

pytestmark = pytest.mark.parts


def test_what_was_accepted_is_what_can_be_read_back_through_kills_and_faults() -> None:
    """Each fault five times. Duplicates are measured by the command, which states their share."""
    result = run(20, seed=0, say=lambda line: None)
    found = {figure.name: figure.value for figure in result.figures}
    missed = [f.name for f in result.figures if f.met is False and "duplicates" not in f.name]
    assert missed == [], found
    kills = [value for name, value in found.items() if name.startswith("kill -9")]
    assert all(value is not None and value > 0 for value in kills), found
