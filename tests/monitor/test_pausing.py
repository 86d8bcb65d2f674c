"""A pause: nothing is looked at, every token of it is counted, and it ends by itself."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from dosimeter.monitor import pause_file, status
from dosimeter.monitor.history.records import LedgerRecord
from dosimeter.monitor.pausing import Pausing
from dosimeter.monitor.score_counts import ScoreCounts
from tests.monitor.test_pipeline import Line, Server, folder  # noqa: F401

S = 10**9
WALL = 1_700_000_000 * S


class Watch:
    """A `Pausing` with its clocks in hand."""

    def __init__(self, data_dir: Path) -> None:
        self.at = SimpleNamespace(mono=50 * S, wall=WALL)
        self.dir = data_dir
        self.pausing = self.again()

    def again(self) -> Pausing:
        self.pausing = Pausing(
            self.dir, "led", monotonic_ns=lambda: self.at.mono, time_ns=lambda: self.at.wall
        )
        return self.pausing

    def wait(self, seconds: float) -> None:
        self.at.mono += int(seconds * S)
        self.at.wall += int(seconds * S)

    def ask(self, seconds: int, reason: str = "INC-441") -> None:
        pause_file.ask(self.dir, reason, self.at.wall, self.at.wall + seconds * S)

    def look(self) -> list[dict[str, Any]]:
        return [core(record) for record in self.pausing.look()]


def core(record: LedgerRecord) -> dict[str, Any]:
    assert not record.deliverable
    found: dict[str, Any] = json.loads(record.core)
    assert (found["event_id"], found["kind"]) == (record.event_id, "pause")
    return found


def test_it_begins_when_asked_and_ends_by_itself_with_a_record_of_each(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    assert (watch.look(), watch.pausing.on, watch.pausing.status()) == ([], False, None)
    watch.ask(600)
    (began,) = watch.look()
    assert (began["state"], began["reason"], began["time_ns"]) == ("began", "INC-441", WALL)
    assert began["until_ns"] == WALL + 600 * S
    watch.wait(599)
    assert (watch.look(), watch.pausing.on) == ([], True)
    watch.pausing.tokens += 7
    watch.wait(1)
    (ended,) = watch.look()
    assert (ended["state"], ended["why"], ended["tokens"]) == ("ended", "its time is up", 7)
    assert (watch.pausing.on, list(tmp_path.iterdir()), watch.look()) == (False, [], [])


def test_a_restart_in_the_middle_goes_on_and_says_the_same_under_the_same_id(
    tmp_path: Path,
) -> None:
    watch = Watch(tmp_path)
    watch.ask(600)
    (before,) = watch.look()
    watch.wait(300)
    watch.again()
    (after,) = watch.look()
    assert after["event_id"] == before["event_id"]
    watch.wait(300)
    assert [one["state"] for one in watch.look()] == ["ended"]


def test_it_ends_in_time_where_the_wall_clock_is_set_back(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    watch.ask(600)
    watch.look()
    watch.wait(600)
    watch.at.wall -= 3600 * S
    assert [one["state"] for one in watch.look()] == ["ended"]
    assert watch.look() == []


def test_one_from_a_time_to_come_pauses_nothing(tmp_path: Path) -> None:
    """It would begin anew, and for as long again, whenever the sidecar starts."""
    watch = Watch(tmp_path)
    watch.at.wall += 3600 * S
    watch.ask(600)
    watch.at.wall -= 3600 * S
    assert (watch.look(), watch.pausing.on) == ([], False)
    assert [one.name for one in tmp_path.iterdir()] == ["pause.json.wrong"]


def test_another_pause_under_an_id_that_was_used_is_a_record_of_its_own(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    watch.ask(60)
    (one,) = watch.look()
    file = tmp_path / pause_file.NAME
    file.write_text(json.dumps(json.loads(file.read_text()) | {"until_ns": WALL + 3600 * S}))
    _, other = watch.look()
    assert (other["pause"], other["state"]) == (one["pause"], "began")
    assert other["event_id"] != one["event_id"], "the ledger would take it for the same"


def test_resumed_removed_and_replaced_each_say_so(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    watch.ask(600)
    watch.look()
    watch.ask(60, "another")
    ended, began = watch.look()
    assert (ended["why"], began["reason"]) == ("another pause took its place", "another")
    watch.ask(0, "resumed")
    (ended,) = watch.look()
    assert (ended["why"], ended["ended_by_uid"]) == ("resumed", began["by_uid"])
    assert list(tmp_path.iterdir()) == []
    watch.ask(600)
    watch.look()
    (tmp_path / pause_file.NAME).unlink()
    assert [one["why"] for one in watch.look()] == ["its file was removed"]


def test_what_is_no_pause_pauses_nothing_and_is_put_aside(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    (tmp_path / pause_file.NAME).write_text("{}")
    assert (watch.look(), watch.pausing.on) == ([], False)
    assert [one.name for one in tmp_path.iterdir()] == ["pause.json.wrong"]


def test_one_that_was_over_before_we_began_is_cleared_away(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    watch.ask(60)
    watch.wait(61)
    assert (watch.look(), list(tmp_path.iterdir())) == ([], [])


def test_in_a_pause_no_rule_fires_and_every_token_is_counted_as_paused(
    folder: Path,  # noqa: F811
) -> None:
    line = Line(folder)
    (folder / "data").mkdir()
    line.pipeline.pausing = Pausing(
        folder / "data", monotonic_ns=lambda: line.now.ns, time_ns=lambda: line.now.wall_ns
    )
    line.pipeline.scores = ScoreCounts()
    server = Server(folder)
    server.open(1, prompt=1)
    server.run(1, 0, [0, 0, 0])
    line.read()
    wall = line.now.wall_ns
    pause_file.ask(folder / "data", "INC-441", wall, wall + 60 * S)
    line.read()
    found = status.line_status(line.pipeline, started_ns=0)["paused"]
    assert (found["reason"], found["tokens"]) == ("INC-441", 0)
    server.run(1, 3, [5, 5, 5, 5, 5, 5])
    server.run(2, 0, [5, 5])  # of a request that is announced later
    line.read()
    assert line.pipeline.pausing.tokens == 8
    line.now.wall_ns += 60 * S
    line.read()
    server.open(2, prompt=1)
    server.run(1, 9, [0, 5])
    server.close(1, served=11)
    server.close(2, served=2)
    line.read()
    line.commit()
    assert [core(one)["state"] for one in line.ledger.records] == ["began", "ended"]
    account = line.account
    assert (account.served, account.scored, account.unscored) == (13, 5, {"paused": 8})
    assert account.unaccounted == 0
    line.pipeline.flush()
    counted = [tokens for _, upper, tokens in line.pipeline.scores.totals() if upper == "+Inf"]
    assert counted == [account.scored]  # nor do metrics look at what is paused
    line.close()
