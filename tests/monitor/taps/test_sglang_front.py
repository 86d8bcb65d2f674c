"""The front for SGLang: its desk is made as vLLM's is, and its canary goes through the server's own API."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from dosimeter.monitor.taps import sglang_front, vllm_front
from dosimeter.monitor.taps.settings import TapSettings
from dosimeter.monitor.taps.vllm_session import ENV, KEY
from tests.monitor.taps.conftest import Small

DESKS = [vllm_front.Desk, sglang_front.Desk]


@pytest.fixture
def environment(small: Small, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As `dosimeter attach` makes it, where both servers are installed."""
    monkeypatch.setattr(vllm_front, "_desks", {})
    for name, value in TapSettings("none.sock", (str(small.pack_folder),)).to_env().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(ENV, "4d:" + "5e" * 16)
    for number, of in enumerate(DESKS):
        monkeypatch.setitem(sys.modules, of.kind, SimpleNamespace(__version__=f"1.{number}"))  # type: ignore[arg-type]
    yield
    for desk in vllm_front._desks.values():
        desk.sender.close()


def test_each_kind_has_one_desk_of_its_own_in_a_process(environment: None) -> None:
    found = [vllm_front.desk(of) for of in DESKS]
    assert [vllm_front.desk(of) for of in DESKS] == found
    assert [one and one.hello()["server"] for one in found] == [
        {"kind": "vllm", "version": "1.0"},
        {"kind": "sglang", "version": "1.1"},
    ]


@pytest.mark.parametrize("of", DESKS)
@pytest.mark.parametrize("missing", ["settings", "session", "server"])
def test_without_one_of_these_there_is_none_and_nothing_is_raised(
    environment: None, monkeypatch: pytest.MonkeyPatch, of: Any, missing: str
) -> None:
    if missing == "server":
        monkeypatch.setitem(sys.modules, of.kind, None)  # type: ignore[arg-type]
    else:
        monkeypatch.delenv("DOSIMETER_TAP" if missing == "settings" else ENV)
    assert vllm_front.desk(of) is None


class Engine:
    """SGLang's tokenizer manager, as far as it is asked."""

    def __init__(self, desk: vllm_front.Desk, fails: bool = False) -> None:
        self.desk, self.fails, self.asked = desk, fails, list[Any]()

    async def generate_request(self, request: Any, _: None) -> AsyncIterator[str]:
        if self.fails:
            raise ValueError("out of vocabulary")
        self.asked.append(request)
        params = SimpleNamespace(custom_params=None, n=1)
        tokenized = SimpleNamespace(sampling_params=params, input_ids=request.input_ids)
        self.desk.carry(tokenized)
        request.carried = params.custom_params
        yield "output"


@pytest.fixture
def desk(environment: None, monkeypatch: pytest.MonkeyPatch) -> vllm_front.Desk:
    module = SimpleNamespace(GenerateReqInput=SimpleNamespace)
    monkeypatch.setitem(sys.modules, "sglang.srt.managers.io_struct", module)  # type: ignore[arg-type]
    found = vllm_front.desk(sglang_front.Desk)
    assert found is not None
    return found


def test_the_canary_is_the_packs_own_tokens_past_any_cache(
    desk: vllm_front.Desk, small: Small
) -> None:
    engine = Engine(desk)
    asyncio.run(desk.prove(engine))
    (asked,) = engine.asked
    assert asked.input_ids == list(small.pack.fingerprint.token_ids)
    assert asked.sampling_params["max_new_tokens"] == 1
    assert len(asked.cache_salt) == 32
    assert json.loads(asked.carried[KEY])["canary"] == small.pack.name
    assert desk.last_error is None


def test_a_canary_that_cannot_be_sent_is_said_and_stops_nothing(desk: vllm_front.Desk) -> None:
    asyncio.run(desk.prove(Engine(desk, fails=True)))
    assert "out of vocabulary" in str(desk.last_error)
