"""The status names what a tap cannot say itself: that it is gone, mute, or that nothing comes of its requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dosimeter.monitor import status
from dosimeter.monitor.rulebook import Rulebook
from dosimeter.monitor.standing import Standing
from dosimeter.monitor.status import IDLE_S, SILENT_S, STUCK_S
from tests.monitor.test_pipeline import Line, Server, folder, line

__all__ = ["folder", "line"]
S = 1_000_000_000


def seen(line: Line, **more: Any) -> dict[str, Any]:
    return status.line_status(line.pipeline, started_ns=0, **more)


def state(line: Line) -> tuple[str, str | None]:
    [tap] = seen(line)["taps"]
    return tap["state"], tap["reason"]


def test_a_connected_tap_that_says_nothing_is_silent(line: Line, folder: Path) -> None:
    """A frozen server keeps its connection open: `live` would be a lie."""
    server = Server(folder)
    line.read()
    assert state(line) == ("live", None)
    line.now.ns += int((SILENT_S + 1) * S)
    assert state(line)[0] == "silent"
    server.beat()
    line.read()
    assert state(line) == ("live", None)


def test_it_is_ready_when_it_takes_frames_in_and_says_in_a_line_why_it_does_not(
    line: Line, folder: Path
) -> None:
    socket, ledger, file = Standing(folder), Standing(folder), folder / "lost"
    file.touch()
    lost = Standing(file)
    file.unlink()

    def why(socket: Standing = socket, ledger: Standing = ledger) -> str | None:
        return status.unready(line.pipeline, socket=socket, ledger=ledger)

    line.now.ns = 100 * S
    assert why() == "it is starting"
    line.read()
    assert why() is None
    assert str(why(socket=lost)).startswith(f"socket: {file} is gone")
    assert str(why(ledger=lost)).startswith(f"ledger: {file} is gone")
    line.now.ns += int((STUCK_S + 1) * S)
    assert why() == "the line has not turned for 5 s"
    line.read()
    line.pipeline.rulebook = Rulebook([folder / "nowhere.yaml"])
    assert str(why()).startswith(f"no rules: {folder / 'nowhere.yaml'}")
    line.pipeline.writer.stalled = "no room\n  hint: make some"
    assert why() == "nothing is accepted: no room"


def test_confirmers_that_rules_name_and_nobody_set_up_are_named(line: Line, folder: Path) -> None:
    """Their alerts go out unconfirmed, from the first on: it must show before it comes."""
    assert seen(line)["rules"]["unconfirmed"] == []
    rules = folder / "rules.yaml"
    rules.write_text(
        rules.read_text().replace("severity: high", "confirm: second-look\n    severity: high")
    )
    assert line.pipeline.rulebook.refresh()
    assert seen(line, confirmers=["other"])["rules"]["unconfirmed"] == ["second-look"]
    assert seen(line, confirmers=["second-look"])["rules"]["unconfirmed"] == []


def test_open_requests_without_a_step_are_idle(line: Line, folder: Path) -> None:
    """The server's worker died: it beats on, its requests stay open, and no row will come."""
    server = Server(folder)
    line.read()
    line.now.ns += int(100 * S)
    server.open(1, prompt=3)
    line.read()
    assert state(line)[0] == "live"  # waiting since it opened, not since the last step before
    line.now.ns += int(IDLE_S * S)
    server.beat()
    line.read()
    assert state(line) == ("idle", "requests are open, and no step has come for long")
    server.run(1, 0, [0, 0, 0])
    line.read()
    assert state(line)[0] == "live"
    server.close(1, served=3)
    line.now.ns += int(IDLE_S * S)
    server.beat()
    line.read()
    assert state(line)[0] == "live"  # nothing is open: there is nothing to run


def test_a_tap_without_a_connection_is_absent_whatever_it_last_said(
    line: Line,
    folder: Path,
) -> None:
    server = Server(folder)
    line.read()
    server.sender.close(0)
    line.read()
    line.read()
    assert state(line) == ("absent", "not connected")


@pytest.mark.parametrize(("expected", "missing"), [(0, None), (1, None), (2, "1 of 2 are live")])
def test_servers_that_are_missing_are_said(
    line: Line,
    folder: Path,
    expected: int,
    missing: str | None,
) -> None:
    """A server started without the tap's variables says nothing to anyone: only its absence can."""
    Server(folder)
    line.read()
    found = seen(line, expected=expected)["servers"]
    assert found == {"expected": expected, "live": 1, "missing": missing}


def test_files_that_are_lost_are_said(line: Line, folder: Path) -> None:
    socket = Standing(folder / "tap.sock")
    assert seen(line, socket=socket)["socket"]["lost"] is None
    (folder / "tap.sock").rename(folder / "elsewhere")
    assert "is gone" in seen(line, socket=socket)["socket"]["lost"]
    (folder / "elsewhere").rename(folder / "tap.sock")


def test_another_process_that_speaks_for_the_same_server_is_refused_and_changes_nothing(
    line: Line,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would close other people's requests, or greet with no columns and have the server's own rows refused."""
    server = Server(folder)
    server.open(1, prompt=1)
    line.read()
    impostor = Server(folder)  # the same epoch
    welcome = line.pipeline.receiver._welcome

    def welcomed(accepted: Any, _: Any) -> None:
        welcome(accepted, (1, 0, 0))

    monkeypatch.setattr(line.pipeline.receiver, "_welcome", welcomed)
    impostor.hello["columns"] = []
    impostor.live[1] = {}
    impostor.close(1, served=0)
    line.read()
    server.run(1, 0, [0, 0])
    server.close(1, served=2)
    line.read()
    found = seen(line)
    assert found["socket"]["hostile"] == 1
    assert "speaks for" in found["socket"]["last_refusal"]
    assert (found["coverage"]["scored"], found["coverage"]["unaccounted"]) == (2, 0)
