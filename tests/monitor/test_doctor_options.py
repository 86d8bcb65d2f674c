"""An engine is asked what its own command comes to, in whichever way it was written; what is refused has its reason."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from dosimeter.monitor import doctor
from dosimeter.monitor.doctor import OK, WRONG
from dosimeter.monitor.doctor_options import options
from tests.monitor.taps.test_sglang_modes import config, graphs

ASKED = ["--model-path", "m", "--tp-size", "1"]


@pytest.fixture
def sglang(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """An engine that writes down its words, and answers `config` in float32."""
    engine = SimpleNamespace(config=config(model__dtype="torch.float32"), words=[])

    def prepare(words: list[str]) -> Any:
        engine.words = words
        args = SimpleNamespace(resolved=False)
        args.resolve_once = lambda: setattr(args, "resolved", True)
        return args

    def resolved(args: Any) -> Any:
        assert args.resolved  # before, the options are as they were typed
        return engine.config.args

    for name, parts in {
        "sglang.srt.arg_groups.overrides": {
            "resolved_view": resolved,
            "model_config_of": lambda args: engine.config.model,
        },
        "sglang.srt.server_args": {"prepare_server_args": prepare},
    }.items():
        made: Any = ModuleType(name)
        vars(made).update(parts)
        monkeypatch.setitem(sys.modules, name, made)
    return engine


@pytest.mark.parametrize(
    "command",
    [
        ["sglang", "serve", *ASKED],
        ["/opt/bin/sglang", "serve", "m", "--tp-size", "1"],
        ["python", "-m", "sglang.launch_server", *ASKED],
        ASKED,
    ],
    ids=["serve", "positional", "module", "options"],
)
def test_a_command_is_understood_as_sglang_would(
    command: list[str], sglang: SimpleNamespace
) -> None:
    assert options("sglang", command) == ([], "float32")
    assert sglang.words == ASKED


def test_what_is_refused_is_said_with_its_reason_and_what_to_change(
    sglang: SimpleNamespace,
) -> None:
    found, dtype = doctor._settings("sglang", ASKED)
    assert (found.state, dtype) == (OK, "float32")
    sglang.config.args.tp_size = 2
    sglang.config.args.cuda_graph_config = graphs(decode="full", prefill="full")
    found, _ = doctor._settings("sglang", ASKED)
    assert found.state == WRONG
    assert "`args.tp_size`: a block's output may still owe its sum over the ranks" in found.found
    graphs_off = "start with `--disable-decode-cuda-graph --disable-prefill-cuda-graph`"
    assert found.fix == f"{graphs_off}; start with `--tp-size 1`"  # said once for both


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (ValueError("no such model"), "SGLang refuses them itself: no such model"),
        (SystemExit(2), "SGLang refuses them itself: as it says above"),
    ],
    ids=["reason", "usage"],
)
def test_options_that_the_engine_refuses_are_wrong_in_its_own_words(
    raised: BaseException, said: str, sglang: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(words: list[str]) -> None:
        raise raised

    monkeypatch.setattr(sys.modules["sglang.srt.server_args"], "prepare_server_args", refuse)
    found, dtype = doctor._settings("sglang", ASKED)
    assert (found.state, found.found, dtype) == (WRONG, said, None)
