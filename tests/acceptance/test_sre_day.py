"""docs/sre.md, run: the rendered pod's containers as processes, an outage of Kafka, a pause, a kill, and the recovery.

The page's own commands are run where it has them, and their output is held against what it says.
"""

from __future__ import annotations

import re
import signal
import tarfile
from pathlib import Path

import pytest

from dosimeter.monitor.sinks import semconv
from tests.acceptance.rendered import RenderedPod
from tests.acceptance.scene import (
    RULES,
    accepted,
    conversations,
    drained,
    in_kafka,
    is_live,
    say,
    settled,
    sinks,
    until,
)
from tests.docs.test_docs import DOCS, FENCE, run_console

pytestmark = pytest.mark.parts
PAGE = DOCS / "sre.md"
FOUND = re.compile(r"\(docs/runbooks\.md#(\w+)\)")


class Day:
    """The sections of the page that have commands, by their headings, to be played one after the other."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        _, *parts = re.split(r"^## (.+)$", PAGE.read_text(), flags=re.M)
        self._capsys = capsys
        self.left = {
            heading: commands
            for heading, text in zip(parts[::2], parts[1::2], strict=True)
            if (commands := [m[2] for m in FENCE.finditer(text) if m[2].startswith("$ dosimeter")])
        }

    def play(self, heading: str, *, only: slice = slice(None)) -> None:
        """only: of the blocks of the section; the rest is for later."""
        played = self.left[heading][only]
        for commands in played:
            run_console(commands, f"docs/sre.md, {heading}", self._capsys, [])
            self.left[heading].remove(commands)
        if not self.left[heading]:
            del self.left[heading]


def test_the_page_runs_and_the_outage_costs_nothing_that_was_accepted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    day, told, stage = Day(capsys), conversations(4), RenderedPod()
    with stage:
        monkeypatch.chdir(stage.folder)
        until(lambda: is_live(stage), "a live tap")
        day.play("Attached")

        old = rules_in_force(stage)
        (stage.rules / "any-answer.yaml").write_text(RULES)
        until(lambda: rules_in_force(stage) != old, "the new rule in force")
        say(stage, told)
        settled(stage, 4)
        drained(stage, "kafka", "otlp")
        day.play("A rule goes live")

        before = accepted(stage)
        stage.broker.stop()
        say(stage, told)
        settled(stage, 8)
        until(lambda: sinks(stage)["kafka"]["last_error"], "what is wrong with Kafka")
        day.play("03:10: Kafka is away")
        assert stage.viewer.event_ids() == accepted(stage)

        day.play("03:40: somebody wants it quiet", only=slice(1))
        quiet = say(stage, told[:1])
        assert settled(stage, 9)["coverage"]["unscored"]["paused"] == quiet[0].tokens
        day.play("03:40: somebody wants it quiet")

        stage.stop("sidecar", signal.SIGKILL)
        day.play("03:50: the sidecar is killed")
        stage.start_sidecar()
        stage.broker.start()
        until(lambda: is_live(stage), "a live tap again")
        say(stage, told[:1])
        settled(stage, 10)
        drained(stage, "kafka", "otlp")
        day.play("04:00: Kafka is back")
        assert (
            in_kafka(stage) == accepted(stage) - before
        )  # it keeps memory only: all since it went
        assert stage.viewer.event_ids() == accepted(stage)
        alerts = [e for e in stage.viewer.events() if e.name == semconv.EVENT_NAME]
        assert len(alerts) >= 8
        assert all(event.trace_id for event in alerts), "each client sent its trace"

        day.play("The ticket")
        tenants = {one.tenant.encode() for one in told}
        with tarfile.open(stage.folder / "ticket.tar.gz") as bundle:
            files = [bundle.extractfile(one) for one in bundle.getmembers()]
            text = b"".join(file.read() for file in files if file is not None)
        assert not [tenant for tenant in tenants if tenant in text]
    assert day.left == {}


def rules_in_force(stage: RenderedPod) -> str:
    """Their digest."""
    status = stage.status()
    assert status is not None
    return str(status["rules"]["digest"])


def test_every_finding_of_the_page_has_its_runbook() -> None:
    books = re.findall(r"^## (\w+)$", (Path(DOCS) / "runbooks.md").read_text(), flags=re.M)
    named = set(FOUND.findall(PAGE.read_text()))
    assert named
    assert named <= {book.lower() for book in books}
