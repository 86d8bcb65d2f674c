"""A capture of a real server, end to end: asked for, on record in the ledger, shown, read back, and the model's own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dosimeter.monitor import lab
from dosimeter.monitor.capture.folder import KEY, MANIFEST, Capture
from dosimeter.monitor.fitting.decoder import Decoder
from dosimeter.monitor.history.reader import LedgerReader
from dosimeter.monitor.lab.broker import free_port
from dosimeter.monitor.status_client import NotAnsweredError, ask
from dosimeter.monitor.taps.probe_op import first
from tests.acceptance.scene import PATIENCE_S, RULES, until

pytestmark = pytest.mark.parts
DOSIMETER = (sys.executable, "-m", "dosimeter.monitor.cli.main")
LAYERS = (1, 3)
BATCHING = ("--continuous-batching", "--cb-num-blocks", "64", "--cb-block-size", "16")
ENV = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Running:
    folder: Path
    config: Path
    url: str
    status_url: str

    @property
    def socket(self) -> Path:
        return self.folder / "asked" / "c.sock"

    def status(self) -> dict[str, Any] | None:
        with contextlib.suppress(NotAnsweredError):
            return ask(self.status_url).body
        return None

    def capture(self) -> dict[str, Any] | None:
        """What leaves the server now, as `/status` has it."""
        status = self.status()
        found = [tap["capture"] for tap in status["taps"] if tap["capture"]] if status else []
        return found[0] if found else None

    def asked(self, out: Path, *more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*DOSIMETER, "capture", "--socket", str(self.socket), "--layers", "1,3", "--for", "2m", "--sample",
             "100%", "--max-bytes", "1GB", "--reason", "INC-441: refit", "--out", str(out), "--json", *more],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENV,
        )  # fmt: skip


@contextlib.contextmanager
def process(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as file:
        started = subprocess.Popen(command, stdout=file, stderr=file, env=ENV)
    try:
        yield started
    finally:
        started.terminate()
        started.wait(PATIENCE_S)


@pytest.fixture(scope="module", params=[BATCHING, ()], ids=["continuous batching", "generate"])
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("c")
    (folder / "asked").mkdir(mode=0o700)
    (folder / "rules.yaml").write_text(RULES)
    port, http = free_port(), free_port()
    config = folder / "sidecar.yaml"
    config.write_text(
        f"version: 1\ndata-dir: {folder}/data\nrules: [{folder}/rules.yaml]\n"
        f"calibrations: [{lab.CALIBRATION}]\nhttp: {{port: {http}}}\n"
    )
    beside = Path(sys.executable).parent
    server = [
        *DOSIMETER, "attach", "--socket", f"{folder}/data/tap.sock", "--pack", str(lab.PACK), "--trust", "tenant",
        "--content-tenant", "demo", "--allow-capture", f"{folder}/asked/c.sock", "--",
        shutil.which("transformers", path=str(beside)) or "transformers", "serve", str(lab.MODEL), "--device", "cpu",
        "--port", str(port), *request.param,
    ]  # fmt: skip
    found = Running(folder, config, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{http}")
    with (
        process([*DOSIMETER, "sidecar", "--config", str(config)], folder / "sidecar.log"),
        process(server, folder / "server.log"),
    ):
        until(lambda: any(tap["state"] == "live" for tap in (found.status() or {"taps": []})["taps"]),
              "a live tap", 240, lambda: (folder / "server.log").read_text()[-2000:])  # fmt: skip
        yield found


def test_a_capture_is_on_record_shown_whole_and_the_models_own(
    running: Running, tmp_path: Path
) -> None:
    asker = running.asked(tmp_path / "out", "--max-requests", "4")
    now = until(running.capture, "a capture in `/status`", left=lambda: asker.poll())
    assert (now["reason"], now["by_uid"], now["layers"]) == ("INC-441: refit", os.geteuid(), [1, 3])
    status = [*DOSIMETER, "status", "--config", str(running.config)]
    shown = subprocess.run(status, capture_output=True, text=True, env=ENV, check=False)
    assert "capture   activations of layers [1, 3] leave" in shown.stdout
    for i in range(4):
        chat(running, i, "demo" if i else "other")
    said, errors = asker.communicate(timeout=PATIENCE_S)
    assert asker.returncode == 0, errors
    told = json.loads(said)
    assert (told["why"], told["requests"], told["whole"], told["with_ids"]) == (
        "as many requests as were asked for", 4, 4, 3,
    )  # fmt: skip

    found = Capture(tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        MANIFEST,
        KEY,
        "shard-00000.box",
    ]
    assert len(found.requests) == 4
    model = Decoder(lab.MODEL).model
    for one, rows in found.activations([one for one in found.requests.values() if one.ids]):
        assert one.labels["tenant"] == "demo"
        assert np.abs(alone(model, one.ids[:-1])[one.first :] - rows).max() < 1e-3
    assert told["rows"] == sum(one.rows for one in found.requests.values())

    with LedgerReader(running.folder / "data" / "ledger.db") as reader:
        began, ended = until(lambda: kept(reader, tmp_path / "out"), "its end on record")
        listed = [alert.record["kind"] for alert in reader.search(limit=100)]
    assert (began["state"], ended["state"]) == ("began", "ended")
    assert began["out"] == str(tmp_path / "out")
    assert (ended["requests"], ended["rows"], ended["lost"]) == (4, told["rows"], {})
    assert ended["why"] == told["why"]
    assert set(listed) == {"alert"}  # it is no finding
    assert running.capture() is None


def test_whoever_asks_may_end_it_and_that_is_on_record(running: Running, tmp_path: Path) -> None:
    asker = running.asked(tmp_path / "out")
    # On record comes first: a request that begins before the asker has been greeted is under way, and not taken.
    until((tmp_path / "out" / MANIFEST).is_file, "a manifest", left=lambda: asker.poll())
    assert running.capture() is not None
    chat(running, 9, "demo")
    asker.terminate()
    said, errors = asker.communicate(timeout=PATIENCE_S)
    assert asker.returncode == 0, errors
    assert json.loads(said)["why"] == "whoever asked has ended it"
    until(lambda: running.capture() is None, "no capture in `/status`")


def test_an_asker_that_is_killed_leaves_a_record_and_no_rows_after(
    running: Running, tmp_path: Path
) -> None:
    asker = running.asked(tmp_path / "out")
    until(running.capture, "a capture in `/status`")
    asker.kill()
    asker.communicate()
    until(lambda: running.capture() is None, "no capture in `/status`")
    with LedgerReader(running.folder / "data" / "ledger.db") as reader:
        _, ended = until(lambda: kept(reader, tmp_path / "out"), "its end on record")
    assert ended["why"] == "whoever asked has gone"


def chat(running: Running, number: int, tenant: str) -> None:
    said = [{"role": "user", "content": f"Tell me of ferry {number}, please."}]
    body = {"model": str(lab.MODEL), "messages": said, "max_tokens": 12, "stream": number % 2 == 0}
    request = urllib.request.Request(
        f"{running.url}/v1/chat/completions", json.dumps(body).encode(),
        {"content-type": "application/json", "x-tenant-id": tenant},
    )  # fmt: skip
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as reply:
        reply.read()


def alone(model: Any, ids: Sequence[int]) -> np.ndarray:
    """float32 [T, L, D]: one plain forward, without cache or batch."""
    found: list[np.ndarray] = []
    hooks = [
        model.model.layers[n].register_forward_hook(
            lambda module, args, out: found.append(first(out)[0].numpy())
        )
        for n in LAYERS
    ]
    with torch.no_grad():
        model(torch.tensor([ids]), use_cache=False)
    for hook in hooks:
        hook.remove()
    return np.stack(found, axis=1)


def kept(reader: LedgerReader, out: Path) -> list[dict[str, Any]]:
    """The records of a capture into that folder, once there are both."""
    every = (alert.record for alert in reader.alerts_since(limit=1000))
    found = [one for one in every if one["kind"] == "capture" and one["out"] == str(out)]
    return found if len(found) == 2 else []
