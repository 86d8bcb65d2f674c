"""The sidecar killed, restarted and late, under traffic: the server goes on as if nothing had happened,
no accepted alert is lost, and every token that was not seen is counted under a reason.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from dosimeter.monitor.lab.clients import Exchanged
from dosimeter.monitor.lab.stage import Stage
from dosimeter.monitor.lab.traffic import Conversation
from tests.acceptance.scene import (
    accepted,
    accounted,
    ask_long,
    ask_one,
    conversations,
    delivered_everywhere,
    is_live,
    say,
    scene,
    settled,
    tokens,
    until,
)

pytestmark = pytest.mark.parts
GAPS = {"no_sidecar", "sidecar_restart", "dropped"}


Send = Callable[[Stage, Conversation], Exchanged]


class Client:
    """One client that goes through its conversations in sequence, on a thread of its own."""

    def __init__(self, stage: Stage, told: list[Conversation], send: Send = ask_one) -> None:
        self.done: list[Exchanged] = []
        self._stage, self._told, self._send = stage, told, send
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for one in self._told:
            self.done.append(self._send(self._stage, one))

    def reached(self, n: int) -> None:
        until(lambda: len(self.done) >= n, f"{n} replies")

    def finish(self) -> list[Exchanged]:
        self.reached(len(self._told))
        assert not [reply.error for reply in self.done if reply.error]
        return self.done


def gone(gaps: dict[str, int]) -> dict[str, int]:
    """Tokens the server ran and nobody saw: not those it took from its own cache."""
    return {reason: n for reason, n in gaps.items() if reason != "prefix_cache"}


def texts(replies: list[Exchanged]) -> list[str]:
    return [reply.text for reply in replies]


def test_killed_and_restarted_under_traffic_the_answers_are_the_same_and_nothing_accepted_is_lost(
    tmp_path: Path,
) -> None:
    """kill -9 of supervisor, line and delivery at one instant, in the middle of a request."""
    told = conversations(16)
    with scene(tmp_path) as stage:
        first = say(stage, told)
        again = say(stage, told)  # A/A: what the server answers is a function of what it is asked
        assert texts(again) == texts(first)
        assert not gone(accounted(stage, [*first, *again]))
        kept = accepted(stage)
        assert len(kept) == 2 * len(told)

        client = Client(stage, told)
        client.reached(4)
        stage.stop("sidecar", signal.SIGKILL)
        assert stage.status() is None
        client.reached(9)
        stage.start_sidecar()
        third = client.finish()
        until(lambda: is_live(stage), "the tap to come back")
        last = say(stage, told[:4])

        assert texts(third) == texts(first)
        gaps = gone(accounted(stage, [*first, *again, *third, *last]))
        assert gaps["no_sidecar"] > 0
        assert set(gaps) <= GAPS
        ids = delivered_everywhere(stage)
        assert kept < ids
        # Seen again after the restart: those last answers, and what was still to come of the third round.
        assert len(ids) >= len(kept) + len(last)


def test_replies_under_way_at_the_kill_are_accounted_for_in_three_parts(tmp_path: Path) -> None:
    """Scored and lost with the process that had it; run while nobody was there; scored after it returned.

    Eight very long replies at once, so that they outlast the restart.
    """
    with scene(tmp_path) as stage:
        clients = [Client(stage, [one], ask_long) for one in conversations(8)]
        until(lambda: len(accepted(stage)) == len(clients), "an alert of each, committed")
        kept = accepted(stage)
        stage.stop("sidecar", signal.SIGKILL)
        stage.start_sidecar()
        until(lambda: is_live(stage), "the tap to come back")
        assert not any(client.done for client in clients), "replies too short for this test"
        done = [reply for client in clients for reply in client.finish()]

        gaps = gone(accounted(stage, done))
        assert set(gaps) <= GAPS
        assert gaps["sidecar_restart"] > 0
        assert gaps["no_sidecar"] > 0
        assert sum(gaps.values()) < tokens(done)
        ids = delivered_everywhere(stage)
        assert kept <= ids
        # The new process does not know what has fired: a rule may alert once more for such a request.
        assert len(ids) <= 2 * len(kept)


def test_only_the_line_killed_is_restarted_by_its_supervisor(tmp_path: Path) -> None:
    told = conversations(12)
    with scene(tmp_path) as stage:
        first = say(stage, told)
        settled(stage, len(told))
        kept = accepted(stage)
        client = Client(stage, told)
        client.reached(3)
        line = line_of(stage)
        os.kill(line, signal.SIGKILL)
        until(lambda: line_of(stage, but=line) and is_live(stage), "another line, and its tap")
        second = client.finish()
        last = say(stage, told[:3])

        assert texts(second) == texts(first)
        gaps = gone(accounted(stage, [*first, *second, *last]))
        assert set(gaps) <= GAPS
        assert gaps
        assert kept < delivered_everywhere(stage)


def line_of(stage: Stage, but: int = 0) -> int:
    """The line's process, unless it is `but`; 0: none."""
    for pid in stage.children("sidecar"):
        if pid != but and "--line-only" in Path(f"/proc/{pid}/cmdline").read_text():
            return pid
    return 0


def test_started_after_the_server_it_names_every_token_before_it(tmp_path: Path) -> None:
    told = conversations(8)
    with scene(tmp_path, absent=["sidecar"]) as stage:
        unseen = say(stage, told)
        stage.start_sidecar()
        until(lambda: is_live(stage), "the tap to find the sidecar")
        before = accounted(stage, unseen)
        assert sum(before.values()) == tokens(unseen)
        assert set(gone(before)) == {"no_sidecar"}
        seen = say(stage, told)
        assert texts(seen) == texts(unseen)
        assert gone(accounted(stage, [*unseen, *seen])) == gone(before)
        assert len(delivered_everywhere(stage)) == len(seen)
