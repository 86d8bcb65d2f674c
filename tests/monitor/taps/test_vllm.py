"""vLLM's general plugin: inert without settings, and a server that does not fit starts all the same."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from dosimeter.monitor.taps import vllm
from dosimeter.monitor.taps.settings import ENV, TapSettings
from dosimeter.monitor.taps.vllm_session import ENV as SESSION_ENV


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What the sidecar was told, and this process as it was before any plugin."""
    told: list[tuple[str, str]] = []
    monkeypatch.setattr(vllm, "_registered", False)
    monkeypatch.setattr(vllm.refusal, "say", lambda reason, server: told.append((reason, server)))
    monkeypatch.delenv(ENV, raising=False)
    monkeypatch.setenv(SESSION_ENV, "")
    monkeypatch.delenv(SESSION_ENV)
    return told


def attached(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TapSettings("/run/none.sock").to_env().items():
        monkeypatch.setenv(name, value)


def test_without_settings_nothing_is_touched(said: list[tuple[str, str]]) -> None:
    """The plugin is found wherever the wheel is installed: without `dosimeter attach` it must do nothing."""
    vllm.register()
    assert said == []
    assert SESSION_ENV not in os.environ


def test_another_release_is_told_once_and_the_server_starts(
    said: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    attached(monkeypatch)
    other: Any = ModuleType("vllm")
    other.__version__ = "0.33.0"
    monkeypatch.setitem(sys.modules, "vllm", other)
    vllm.register()
    assert said == [("vllm 0.33.0 is not 0.32", "vllm")]
    assert "not attached to vllm" in capsys.readouterr().err
    monkeypatch.setattr(vllm, "_registered", False)
    vllm.register()  # in a process that the first one started
    assert len(said) == 1


def test_the_first_process_reads_the_list_of_packs_for_all(
    said: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Two processes that read it at two moments could have two sets: canaries of packs that the worker has not."""
    line, path = f"/packs/core@sha256:{'0' * 64}", tmp_path / "packs"
    path.write_text(line)
    path.chmod(0o644)
    for name, value in TapSettings("/run/none.sock", pack_list=str(path)).to_env().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(vllm, "_patch", lambda settings, session: None)
    vllm.register()
    path.unlink()
    settings = TapSettings.from_env()
    assert settings is not None
    assert (settings.packs, settings.pack_list, said) == ((line,), str(path), [])


def test_a_release_whose_names_moved_is_left_as_it_is(
    said: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All seams or none: half a tap would count what it cannot score."""
    attached(monkeypatch)

    class Scheduler:
        def schedule(self) -> None: ...

    class InputProcessor:
        def assign_request_id(self) -> None: ...

    original = Scheduler.schedule
    modules = {
        "vllm": SimpleNamespace(__version__="0.32.0"),
        "vllm.renderers": SimpleNamespace(hf=SimpleNamespace(HfRenderer=object)),
        "vllm.v1.core.sched.scheduler": SimpleNamespace(Scheduler=Scheduler),
        "vllm.v1.engine.input_processor": SimpleNamespace(InputProcessor=InputProcessor),
        "vllm.v1.worker.worker_base": SimpleNamespace(WorkerWrapperBase=object),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    vllm.register()
    assert [server for _, server in said] == ["vllm"]
    assert Scheduler.schedule is original


class Tokenizer:
    """A token a character."""

    def __call__(self, text: str, **options: Any) -> dict[str, Any]:
        return {
            "input_ids": [ord(c) for c in text],
            "offset_mapping": [(i, i + 1) for i in range(len(text))],
        }


def rendered(model_config: Any, tokenizer: Any, messages: Any, **options: Any) -> str:
    return "".join(f"<{m['role']}>{m['content']}" for m in messages)


def spans_of(messages: list[dict[str, Any]]) -> Any:
    renderer = SimpleNamespace(get_tokenizer=Tokenizer, model_config=None)
    params = SimpleNamespace(get_apply_chat_template_kwargs=lambda: {"add_generation_prompt": True})
    return vllm._spans_of(renderer, messages, params, rendered)


def test_spans_come_from_the_servers_own_template() -> None:
    messages = [{"role": "system", "content": "ab"}, {"role": "user", "content": "<system>cd"}]
    spans = spans_of(messages)
    ids = [ord(c) for c in "<system>ab<user><system>cd"]
    assert spans(ids) == ([(0, 0, 16), (2, 16, 26)], True)
    assert spans([*ids, 7]) == ([(2, 0, 27)], False)  # other tokens than the engine runs: a blur


def test_a_message_that_is_more_than_text_has_no_exact_spans() -> None:
    assert spans_of([{"role": "user", "content": [{"type": "image_url"}]}]) is None
