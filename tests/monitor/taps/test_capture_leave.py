"""Leave to capture is given when a server is started, or there is none: no thread, no hook, no path looked at."""

from __future__ import annotations

import gc
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from dosimeter.monitor.taps import capturing, seams
from dosimeter.monitor.taps.serve import Runtime
from dosimeter.monitor.taps.settings import ENV, TapSettings

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

    monkeypatch.setattr("dosimeter.monitor.taps.serve.Place", fails)
    model = small.model()
    runtime = Runtime(replace(settings_of(small, tmp_path), capture=str(tmp_path / "c.sock")))
    runtime.loaded(model, lambda: small.folder)
    said = runtime.hello()
    assert (said["state"], said["errors"]) == ("live", 1)
    assert "a defect of ours" in said["last_error"]
