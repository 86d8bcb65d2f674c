"""Leave to capture is given when a server is started, or there is none: no thread, no hook, no path looked at."""

from __future__ import annotations

import contextlib
import gc
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dosimeter.monitor.taps import capturing, leave, seams, wire
from dosimeter.monitor.taps.serve import Runtime
from dosimeter.monitor.taps.settings import ENV, TapSettings
from dosimeter.monitor.taps.wire import Kind

from .conftest import LAYERS, Small


def looking() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "dosimeter-capture"]


def settings_of(small: Small, folder: Path) -> TapSettings:
    return TapSettings(str(folder / "none.sock"), (str(small.pack_folder),))


def test_without_leave_nothing_looks_for_an_asker_and_no_other_block_is_hooked(
    small: Small, tmp_path: Path
) -> None:
    before, model = looking(), small.model()
    runtime = Runtime(settings_of(small, tmp_path))
    runtime.loaded(model, lambda: small.folder)
    assert seams.taps[model].captures is None
    assert looking() == before
    assert [len(b._forward_hooks) for b in model.model.layers] == [n in LAYERS for n in range(3)]
    assert runtime.hello()["capture"] is None


def test_with_leave_it_looks_for_as_long_as_the_model_is_there(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capturing, "LOOK_S", 0.01)
    before, model = looking(), small.model()
    settings = replace(settings_of(small, tmp_path), capture=str(tmp_path / "c.sock"))
    monkeypatch.setenv(ENV, settings.to_env()[ENV])
    assert TapSettings.from_env() == settings  # as the server's process reads it
    runtime = Runtime(settings)
    runtime.loaded(model, lambda: small.folder)
    (thread,) = [one for one in looking() if one not in before]
    assert seams.taps[model].captures is not None
    assert runtime.hello()["state"] == "live"
    del model
    gc.collect()
    thread.join(60)
    assert not thread.is_alive()  # and the model has gone: a look holds nothing of it


def test_an_error_of_ours_while_leave_is_taken_up_costs_no_score(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("a defect of ours")

    monkeypatch.setattr("dosimeter.monitor.taps.leave.Place", fails)
    model = small.model()
    runtime = Runtime(replace(settings_of(small, tmp_path), capture=str(tmp_path / "c.sock")))
    runtime.loaded(model, lambda: small.folder)
    said = runtime.hello()
    assert (said["state"], said["errors"]) == ("live", 1)
    assert "a defect of ours" in said["last_error"]


@pytest.mark.parametrize("waiting", [0, 300], ids=["its buffer has room", "its buffer is full"])
def test_nothing_begins_before_the_sidecar_has_read_the_word_of_it(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waiting: int
) -> None:
    """Of one that stood still and was killed, a capture had left no record where another had followed it."""
    monkeypatch.setattr(leave, "HEAR_S", 0.2)
    path = tmp_path / "tap.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        listener.listen()
        runtime = Runtime(TapSettings(str(path), (str(small.pack_folder),)))
        line, _ = listener.accept()
        with line, Reading(line) as reading:
            assert wire.unpack(line.recv(wire.MAX_MESSAGE)).kind is Kind.HELLO
            for _ in range(waiting):
                runtime.sender.control(Kind.USAGE, {"call": "x" * 10_000})
            began = {"state": "began", "id": "ab" * 16}
            assert not leave.on_record(runtime.sender, runtime.state, began)
            said = runtime.hello()["capture"]
            assert (said["state"], said["id"]) == ("ended", "ab" * 16)
            reading.start()
            while not runtime.sender.all_said:
                time.sleep(0.01)
            monkeypatch.setattr(leave, "HEAR_S", 20)
            assert leave.on_record(runtime.sender, runtime.state, began)
            assert runtime.hello()["capture"] == began
    runtime.sender.close()


class Reading(threading.Thread):
    """Reads a tap's line from `start` on, to the end of the `with`."""

    def __init__(self, line: socket.socket) -> None:
        super().__init__(daemon=True)
        self._line, self._over = line, threading.Event()
        line.settimeout(20)

    def run(self) -> None:
        self._line.settimeout(0.05)
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                self._line.recv(wire.MAX_MESSAGE)

    def __enter__(self) -> Reading:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join(20)
