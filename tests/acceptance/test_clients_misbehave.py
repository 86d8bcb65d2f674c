"""Clients that hang up in the middle of a reply, and many at once that repeat their own request ids."""

from __future__ import annotations

import threading
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from dosimeter.monitor.lab.clients import Exchanged, ask, call
from dosimeter.monitor.lab.stage import Stage
from dosimeter.monitor.lab.traffic import Conversation
from tests.acceptance.scene import (
    ENDLESS,
    LONG,
    accounted,
    conversations,
    delivered_everywhere,
    say,
    scene,
    settled,
    tokens,
)

pytestmark = pytest.mark.parts


def hang_up(stage: Stage, conversation: Conversation, after: int) -> int:
    """Ask for a very long reply, read `after` chunks of it, and close. Returns how many were read."""
    one = replace(conversation, stream=True, max_tokens=LONG)
    request = call(stage.url, str(stage.model), one, generation_config=ENDLESS)
    read = 0
    with urllib.request.urlopen(request, timeout=30) as reply:
        for line in reply:
            read += line.startswith(b"data: {")
            if read >= after:
                break
    return read


def test_hang_ups_are_accounted_for_beside_whole_replies(tmp_path: Path) -> None:
    """The server's own count is then its scheduler's: a reply that was cut off carries no usage."""
    told = conversations(8)
    with scene(tmp_path) as stage:
        whole = say(stage, told)
        for i, one in enumerate(told):
            assert hang_up(stage, one, after=1 + 3 * i) == 1 + 3 * i
        whole += say(stage, told[:2])
        coverage = settled(stage, len(whole) + len(told))["coverage"]
        assert coverage["unaccounted"] == 0
        assert set(coverage["unscored"]) <= {"prefix_cache"}
        cut = coverage["served"] - tokens(whole)
        read = sum(1 + 3 * i for i in range(len(told)))
        assert read <= cut < len(told) * LONG  # at least what was read, and not to the end
        delivered_everywhere(stage)


def test_forty_at_once_with_ids_repeated_in_sequence_are_told_apart(tmp_path: Path) -> None:
    """A client's id is a label, never a key. Ids that overlap would crash this server itself, so each of
    forty clients repeats its own id, one call after another; every second shares it with nobody but time."""
    told = conversations(20)
    with scene(tmp_path) as stage:
        done: list[Exchanged] = []
        begin = threading.Barrier(40)

        def client(number: int) -> None:
            begin.wait(30)
            for turn in range(2):
                one = told[(number + 7 * turn) % len(told)]
                done.append(ask(stage.url, str(stage.model), one, f"again-{number}"))

        threads = [threading.Thread(target=client, args=(n,), daemon=True) for n in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(done) == 80
        assert not [reply.error for reply in done if reply.error]
        gaps = accounted(stage, done)
        assert set(gaps) <= {"prefix_cache"}
        ids = delivered_everywhere(stage)
        assert len(ids) == 80
