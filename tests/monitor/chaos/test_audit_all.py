"""Every manipulation of the table once, in processes of their own, and what is printed of it."""

from __future__ import annotations

import json

import pytest

from dosimeter.monitor.chaos import audit_all
from dosimeter.monitor.chaos.audit_run import TABLE

pytestmark = pytest.mark.parts


def test_every_verdict_is_as_stated_beforehand() -> None:
    report = audit_all.run(len(TABLE), 5, entries=480, seed=4)
    assert report.result.met, report.as_table()
    assert len(report.by_name()) == len(TABLE)
    said = json.loads(report.as_json())
    assert (said["missed"], said["alarms"]) == ([], [])
