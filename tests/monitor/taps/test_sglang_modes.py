"""Modes of SGLang that are refused: each by its own option, with a reason that says what to change."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dosimeter.monitor.taps.sglang_modes import REFUSED, unsupported_release
from dosimeter.monitor.taps.vllm_modes import reason, refusals


def config(**changes: Any) -> SimpleNamespace:
    """A server on one device, eager, as its options look when it has resolved them. changes: `part__name=value`."""
    off = SimpleNamespace(backend="disabled")
    parts: dict[str, dict[str, Any]] = {
        "args": {
            "cuda_graph_config": SimpleNamespace(decode=off, prefill=off),
            "enable_torch_compile": False,
            "tp_size": 1,
            "pp_size": 1,
            "dp_size": 1,
            "attn_cp_size": 1,
            "dcp_size": 1,
            "enable_two_batch_overlap": False,
            "enable_pdmux": False,
            "disaggregation_mode": "null",
            "speculative_algorithm": None,
            "dllm_algorithm": None,
            "enable_lora": None,
            "enable_memory_saver": False,
            "startup_weight_load_mode": "serial",
            "tokenizer_worker_num": 1,
            "revision": None,
            "page_size": 1,
        },
        "model": {
            "is_generation": True,
            "is_encoder_decoder": False,
            "is_multimodal": False,
            "quantization": None,
        },
    }
    for name, value in changes.items():
        part, _, setting = name.partition("__")
        parts[part][setting] = value
    return SimpleNamespace(**{name: SimpleNamespace(**of) for name, of in parts.items()})


def graphs(**backends: str) -> SimpleNamespace:
    of = {"decode": "disabled", "prefill": "disabled"} | backends
    return SimpleNamespace(**{name: SimpleNamespace(backend=one) for name, one in of.items()})


def test_a_plain_eager_server_is_not_refused() -> None:
    assert refusals(config(), REFUSED) == []


CASES = [
    ("args.cuda_graph_config.decode.backend", "args__cuda_graph_config", graphs(decode="full")),
    ("args.cuda_graph_config.prefill.backend", "args__cuda_graph_config", graphs(prefill="full")),
    ("args.enable_torch_compile", "args__enable_torch_compile", True),
    ("args.tp_size", "args__tp_size", 2),
    ("args.pp_size", "args__pp_size", 2),
    ("args.dp_size", "args__dp_size", 2),
    ("args.attn_cp_size", "args__attn_cp_size", 2),
    ("args.dcp_size", "args__dcp_size", 2),
    ("args.enable_two_batch_overlap", "args__enable_two_batch_overlap", True),
    ("args.enable_pdmux", "args__enable_pdmux", True),
    ("args.disaggregation_mode", "args__disaggregation_mode", "prefill"),
    ("args.speculative_algorithm", "args__speculative_algorithm", "EAGLE"),
    ("args.dllm_algorithm", "args__dllm_algorithm", "LowConfidence"),
    ("args.enable_lora", "args__enable_lora", True),
    ("args.enable_memory_saver", "args__enable_memory_saver", True),
    ("args.startup_weight_load_mode", "args__startup_weight_load_mode", "overlap"),
    ("args.tokenizer_worker_num", "args__tokenizer_worker_num", 2),
    ("model.is_generation", "model__is_generation", False),
    ("model.is_encoder_decoder", "model__is_encoder_decoder", True),
    ("model.is_multimodal", "model__is_multimodal", True),
    ("model.quantization", "model__quantization", "fp8"),
]


@pytest.mark.parametrize(("setting", "change", "value"), CASES)
def test_each_refused_mode_is_found_by_its_own_setting(
    setting: str, change: str, value: Any
) -> None:
    (found,) = refusals(config(**{change: value}), REFUSED)
    assert found.setting == setting
    assert found.change in reason([found])


def test_every_refusal_has_a_case_above() -> None:
    assert [case[0] for case in CASES] == [one.setting for one in REFUSED]


def test_a_setting_that_is_gone_is_refused_and_not_taken_for_off() -> None:
    changed = config()
    del changed.args.enable_pdmux
    assert [one.setting for one in refusals(changed, REFUSED)] == ["args.enable_pdmux"]


def test_only_the_release_whose_names_are_known_is_supported() -> None:
    assert unsupported_release("0.5.23") is None
    assert unsupported_release("0.5.23+cpu") is None
    assert unsupported_release("0.5.24") == "sglang 0.5.24 is not 0.5.23"


def test_the_page_names_every_refused_setting_and_what_to_change() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "attach.md").read_text()
    begins = ("| `args.", "| `model.")
    assert [line for line in page.splitlines() if line.startswith(begins)] == [
        f"| `{one.setting}` | {one.change} |" for one in REFUSED
    ]
