"""The sidecar as its image starts it: from the wheel, supervisor first, without torch or transformers.

What is not there is simulated: an import of anything outside the `sidecar` extra fails. The image's own
probe is asked, then the supervisor gets SIGTERM. PID 1 and the read-only root are the image's and not shown.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from dosimeter.monitor.lab.broker import free_port

from .test_dockerfile import command_of, stage

pytestmark = pytest.mark.parts

ABSENT = ("torch", "transformers", "sklearn", "fastapi", "uvicorn", "openai", "rich", "calfkit")
BLOCKER = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {ABSENT!r}:
            raise ModuleNotFoundError(f"`{{name}}` is not in the sidecar's image")

sys.meta_path.insert(0, Absent())
"""
CONFIG = """\
version: 1
data-dir: data
http: {{port: {port}}}
sinks:
  stdout: {{path: alerts.jsonl}}
"""


def test_it_runs_answers_the_probe_and_ends_cleanly(tree: Path, tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "sidecar.yaml").write_text(CONFIG.format(port=port))
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(BLOCKER)
    env = {**os.environ, "PYTHONPATH": f"{tmp_path / 'site'}:{tree}"}
    assert Path(file_of("dosimeter.monitor.service", env)).is_relative_to(tree)
    command = [sys.executable, "-m", "dosimeter.monitor.cli.main", "sidecar"]
    probe = command_of(stage("sidecar"), "CMD")
    probe = [sys.executable, *(word.replace("9464", str(port)) for word in probe[1:])]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--config", "sidecar.yaml"],
            cwd=tmp_path,
            env=env,
            stdout=log,
            stderr=log,
        )
    try:
        status = wait_for_status(process, port, tmp_path / "log")
        assert status["socket"]["path"].endswith("data/tap.sock")
        assert subprocess.run(probe, timeout=10).returncode == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, (tmp_path / "log").read_text()
    finally:
        process.kill()
        process.wait()
    log_text = (tmp_path / "log").read_text()
    assert "Traceback" not in log_text, log_text
    assert subprocess.run(probe, timeout=10, stderr=subprocess.DEVNULL).returncode != 0


def file_of(module: str, env: dict[str, str]) -> str:
    program = f"import importlib; print(importlib.import_module({module!r}).__file__)"
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def wait_for_status(process: subprocess.Popen[bytes], port: int, log: Path) -> dict:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=2) as reply,
        ):
            return json.load(reply)
        time.sleep(0.1)
    raise AssertionError(log.read_text())
