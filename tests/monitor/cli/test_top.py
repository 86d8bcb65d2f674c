"""`dosimeter top`: rates between two looks, a picture that replaces the last one, an end by Ctrl-C."""

from __future__ import annotations

from pathlib import Path

import pytest

from dosimeter.monitor.cli.main import main
from dosimeter.monitor.cli.top import look, rates, watch
from dosimeter.monitor.config import Config
from tests.monitor.cli.status_scene import ran, serving, status_of
from tests.monitor.test_pipeline import Line, folder, line

__all__ = ["folder", "line"]


def test_rates_are_by_the_clock_of_the_sidecar(line: Line, folder: Path) -> None:
    first = status_of(line, folder)
    server = ran(line, folder)
    second = status_of(line, folder)
    assert (first["uptime_s"], second["uptime_s"]) == (1.0, 2.0)
    found = rates(first, second)
    assert found == {
        "tokens scored": 10.0,
        "requests ended": 1.0,
        "notified": 1.0,
        "committed": 1.0,
    }
    server.beat()
    line.read()
    assert set(rates(second, status_of(line, folder)).values()) == {0.0}


def test_a_sidecar_that_began_anew_has_no_rates(line: Line, folder: Path) -> None:
    before = status_of(line, folder)
    assert rates(before | {"uptime_s": 900.0}, before) == {}


def test_it_goes_on_over_a_sidecar_that_is_away_until_it_is_interrupted(
    line: Line, folder: Path
) -> None:
    body = status_of(line, folder)
    drawn: list[list[str]] = []
    with serving(lambda: body) as url:
        waits = iter((url, "http://127.0.0.1:1"))

        def wait() -> None:
            if len(drawn) == 2:
                raise KeyboardInterrupt

        watch(Config(data_dir=folder), url, drawn.append, wait)
        lines, kept = look(Config(data_dir=folder), next(waits), None)
        away, lost = look(Config(data_dir=folder), next(waits), kept)
    assert kept == body
    assert lost is None
    assert drawn[0][0] == lines[0] == drawn[1][0]
    assert not any(one.startswith("a second") for one in drawn[0])
    assert [one for one in drawn[1] if one.startswith("a second")]
    assert "no status came" in away[0]


def test_on_no_terminal_it_is_one_look(
    line: Line, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = status_of(line, folder)
    with serving(lambda: body) as url:
        assert main(["top", "--data-dir", str(folder), "--url", url]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("dosimeter ")
    assert shown.endswith("all well\n")
    assert "\x1b" not in shown


@pytest.mark.parametrize("every", ["0", "fast", "nan"])
def test_a_pause_that_is_none_is_refused(every: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["top", "--every", every])
    assert caught.value.code == 2
