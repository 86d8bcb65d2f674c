"""`dosimeter bench`: what cannot run here says so, apart from a goal that is missed."""

from __future__ import annotations

import sys

import pytest

from dosimeter.monitor.cli.main import main


@pytest.mark.parametrize("name", ["hook", "cache"])
def test_beside_a_sidecar_without_torch_a_bench_of_the_tap_says_where_to_run_it(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sidecar's own environment has no torch: exit 3, no traceback."""
    for module in (name, "decoder", "variants"):
        monkeypatch.delitem(sys.modules, f"dosimeter.monitor.bench.{module}", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(["bench", name]) == 3
    assert "hint: run it in the environment of the model server" in capsys.readouterr().err
