"""`dosimeter rules schema`."""

from __future__ import annotations

import json

import pytest

from dosimeter.monitor.cli.main import main
from dosimeter.rules.language.json_schema import json_schema


def test_what_is_printed_is_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json_schema()
