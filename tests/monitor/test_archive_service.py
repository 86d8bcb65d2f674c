"""A sidecar that keeps scores, as a user starts it: killed under traffic, stopped, and read to the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dosimeter.monitor.history.archive_reader import open_archive
from tests.monitor.test_pipeline import Server, folder  # noqa: F401
from tests.monitor.test_service import Sidecar, until

pytestmark = pytest.mark.parts


class Keeping(Sidecar):
    """With an archive that keeps every request."""

    def start(self) -> None:
        file = self.root / "sidecar.yaml"
        text = file.read_text()
        if "archive:" not in text:
            file.write_text(text + "archive: {sample: 1 in 1}\n")
        super().start()


@pytest.fixture
def sidecar(folder: Path) -> Iterator[Keeping]:  # noqa: F811
    one = Keeping(folder)
    yield one
    if one.process.poll() is None:
        one.stop()


def archive_to_the_end(root: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "dosimeter.monitor.cli.main", "archive", "--once", "--json"]
    done = subprocess.run(
        [*command, "--config", str(root / "sidecar.yaml")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_what_a_living_sidecar_scored_is_in_the_archive_after_it_has_ended(
    sidecar: Keeping,
    folder: Path,  # noqa: F811
) -> None:
    server = Server(folder)
    for key in range(1, 6):
        server.open(key, prompt=1)
        server.run(key, 0, [0, 1, 2])
        server.close(key, served=3)
    until(lambda: sidecar.status()["coverage"]["scored"] == 15)
    assert sidecar.status()["archive"]["rows"] == 15
    assert sidecar.stop() == 0
    done = archive_to_the_end(folder)
    assert (done["requests"], done["tokens"], done["kept_tokens"]) == (5, 15, 15)
    (part,) = open_archive(folder / "archive").parts(["deception"])
    assert part.codes[0].tolist() == [0, 256, 512] * 5
    assert part.whole.all()


def test_killed_under_traffic_it_marks_what_it_may_have_lost(
    sidecar: Keeping,
    folder: Path,  # noqa: F811
) -> None:
    server = Server(folder)
    server.open(1, prompt=1)
    server.run(1, 0, [0, 1, 2])
    server.close(1, served=3)
    server.open(2, prompt=1)
    server.run(2, 0, [0, 1])
    until(lambda: sidecar.status()["archive"]["rows"] == 5)
    until(lambda: sidecar.status()["archive"]["queue_bytes"] == 0)
    os.kill(sidecar.line_pid(), signal.SIGKILL)
    until(lambda: not sidecar.ready())
    until(sidecar.ready)
    server.beat()
    server.run(2, 2, [3])
    server.close(2, served=3)
    until(lambda: sidecar.status()["coverage"]["requests"] == 2)
    assert sidecar.stop() == 0
    done = archive_to_the_end(folder)
    assert done["chunks_torn"] == 1
    (part,) = open_archive(folder / "archive").parts(["deception"])
    assert dict(zip(part.key.tolist(), part.whole.tolist(), strict=True)) == {1: True, 2: False}
    assert done["tokens_unknown"] == 0
