"""SGLang's general plugin: inert without settings, and a server that does not fit starts all the same."""

from __future__ import annotations

import enum
import os
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from dosimeter.monitor.taps import sglang
from dosimeter.monitor.taps.settings import ENV, TapSettings
from dosimeter.monitor.taps.vllm_session import ENV as SESSION_ENV


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What the sidecar was told, and this process as it was before any plugin."""
    said: list[tuple[str, str]] = []
    monkeypatch.setattr(sglang.refusal, "say", lambda reason, server: said.append((reason, server)))
    monkeypatch.delenv(ENV, raising=False)
    monkeypatch.setenv(SESSION_ENV, "")
    monkeypatch.delenv(SESSION_ENV)
    return said


class Kind(enum.Enum):
    BEFORE = "before"
    AFTER = "after"
    AROUND = "around"


def installed(monkeypatch: pytest.MonkeyPatch, version: str) -> list[tuple[str, Kind]]:
    """A server of that release, attached. Returns what comes to be registered with it."""
    for name, value in TapSettings("/run/none.sock").to_env().items():
        monkeypatch.setenv(name, value)
    registered: list[tuple[str, Kind]] = []
    register = lambda target, hook, kind: registered.append((target, kind))  # noqa: E731
    names: dict[str, dict[str, Any]] = {
        "sglang": {"__version__": version},
        "sglang.srt.plugins.hook_registry": {
            "HookRegistry": SimpleNamespace(register=register),
            "HookType": Kind,
        },
    }
    for seam in sglang.SEAMS:
        module, _, name = seam.partition(":")
        owner, _, method = name.partition(".")
        there = names.setdefault(module, {})
        if method:
            setattr(there.setdefault(owner, SimpleNamespace()), method, None)
        else:
            there[owner] = None
    for module, parts in names.items():
        made: Any = ModuleType(module)
        for name, value in parts.items():
            setattr(made, name, value)
        monkeypatch.setitem(sys.modules, module, made)
    return registered


def test_without_settings_nothing_is_touched(told: list[tuple[str, str]]) -> None:
    sglang.register()
    assert told == []
    assert SESSION_ENV not in os.environ


def test_another_release_is_told_once_and_the_server_starts(
    told: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    registered = installed(monkeypatch, "0.5.24")
    sglang.register()
    assert "sglang 0.5.24 is not 0.5.23" in capsys.readouterr().err
    assert (told, registered) == ([("sglang 0.5.24 is not 0.5.23", "sglang")], [])


def test_a_release_whose_names_moved_is_left_as_it_is(
    told: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SGLang's registry would log a name that is gone and go on with the others: half a tap."""
    registered = installed(monkeypatch, "0.5.23")
    del sys.modules["sglang.srt.managers.tokenizer_manager"].TokenizerManager  # type: ignore[attr-defined]
    sglang.register()
    assert registered == []
    assert "TokenizerManager" in told[0][0]


def test_each_process_hooks_what_runs_in_it_and_both_have_all(
    told: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API's process has no model, and the scheduler's no app; one that makes text of tokens has neither."""
    registered = installed(monkeypatch, "0.5.23")
    sglang.register()
    api = {target for target, _ in registered}
    registered.clear()
    monkeypatch.setattr(sglang.multiprocessing, "parent_process", lambda: object())
    sglang.register()
    assert api | {target for target, _ in registered} == {
        seam.replace(":", ".") for seam in sglang.SEAMS
    }
    assert not api & {target for target, _ in registered}
    registered.clear()
    monkeypatch.delitem(sys.modules, sglang.SCHEDULER)
    sglang.register()
    assert (registered, told) == ([], [])
