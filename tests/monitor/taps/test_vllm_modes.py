"""Modes of vLLM that are refused: each by its own setting, with a reason that says what to change."""

from __future__ import annotations

import enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dosimeter.monitor.taps.vllm_modes import REFUSED, reason, refusals, unsupported_release


class Mode(enum.Enum):
    NONE = 0
    DYNAMO_TRACE_ONCE = 2
    VLLM_COMPILE = 3


def config(**changes: Any) -> SimpleNamespace:
    """A server on one device, eager, as `VllmConfig` looks after its checks. changes: `part__name=value`."""
    parts: dict[str, dict[str, Any]] = {
        "compilation_config": {"mode": Mode.NONE, "cudagraph_mode": Mode.NONE},
        "parallel_config": {
            "pipeline_parallel_size": 1,
            "data_parallel_size": 1,
            "prefill_context_parallel_size": 1,
            "decode_context_parallel_size": 1,
            "tensor_parallel_size": 2,
            "use_ubatching": False,
            "use_sequence_parallel_moe": False,
        },
        "scheduler_config": {"async_scheduling": True},
        "cache_config": {"kv_sharing_fast_prefill": False},
        "model_config": {
            "is_encoder_decoder": False,
            "is_diffusion": False,
            "runner_type": "generate",
            "multimodal_config": None,
            "enable_prompt_embeds": False,
            "quantization": None,
        },
    }
    whole: dict[str, Any] = {
        "use_v2_model_runner": True,
        "speculative_config": None,
        "lora_config": None,
        "kv_transfer_config": None,
        "weight_transfer_config": None,
    }
    for name, value in changes.items():
        part, _, setting = name.partition("__")
        if setting:
            parts[part][setting] = value
        else:
            whole[part] = value
    return SimpleNamespace(**whole, **{name: SimpleNamespace(**of) for name, of in parts.items()})


DRAFTS: dict[str, Any] = {
    "speculative_config": SimpleNamespace(method="ngram"),
    "scheduler_config__async_scheduling": False,
    "use_v2_model_runner": False,
}
"""A server with drafts, whose rows are told apart."""


def test_a_plain_eager_server_is_not_refused() -> None:
    """Tensor parallelism is none of the modes: every rank has the whole residual stream."""
    assert refusals(config()) == []


def test_a_model_that_is_traced_once_is_not_refused() -> None:
    """Our hooks are in the trace; only a cache of traces could be without them."""
    assert refusals(config(compilation_config__mode=Mode.DYNAMO_TRACE_ONCE)) == []


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("compilation_config__mode", Mode.VLLM_COMPILE),
        ("compilation_config__cudagraph_mode", Mode.VLLM_COMPILE),
        ("parallel_config__use_sequence_parallel_moe", True),
        ("parallel_config__pipeline_parallel_size", 2),
        ("parallel_config__data_parallel_size", 2),
        ("parallel_config__prefill_context_parallel_size", 2),
        ("parallel_config__decode_context_parallel_size", 2),
        ("parallel_config__use_ubatching", True),
        ("speculative_config", SimpleNamespace(method="eagle")),
        ("scheduler_config__async_scheduling", True),
        ("use_v2_model_runner", True),
        ("lora_config", object()),
        ("kv_transfer_config", object()),
        ("weight_transfer_config", object()),
        ("cache_config__kv_sharing_fast_prefill", True),
        ("model_config__is_encoder_decoder", True),
        ("model_config__is_diffusion", True),
        ("model_config__runner_type", "pooling"),
        ("model_config__multimodal_config", SimpleNamespace(language_model_only=False)),
        ("model_config__enable_prompt_embeds", True),
        ("model_config__quantization", "fp8"),
    ],
)
def test_each_refused_mode_is_found_by_its_own_setting(change: str, value: Any) -> None:
    (found,) = refusals(config(**{**DRAFTS, change: value}))
    assert found.setting == change.replace("__", ".")
    assert found.change in reason([found])


def test_every_refusal_has_a_case_above() -> None:
    """A guard that no case reaches is a guard that nobody has seen work."""
    cases = test_each_refused_mode_is_found_by_its_own_setting.pytestmark[0].args[1]
    assert [case[0].replace("__", ".") for case in cases] == [one.setting for one in REFUSED]


def test_drafts_out_of_the_prompt_are_not_refused_and_alone_forbid_what_hides_which_were_kept() -> (
    None
):
    assert refusals(config(**DRAFTS)) == []
    assert refusals(config()) == []  # async scheduling and runner V2, without drafts


def test_text_alone_of_a_multimodal_model_is_served_and_scored() -> None:
    only = SimpleNamespace(language_model_only=True)
    assert refusals(config(model_config__multimodal_config=only)) == []


def test_a_setting_that_is_gone_is_refused_and_not_taken_for_off() -> None:
    changed = config()
    del changed.parallel_config.use_ubatching
    assert [one.setting for one in refusals(changed)] == ["parallel_config.use_ubatching"]


def test_only_the_release_whose_names_are_known_is_supported() -> None:
    assert unsupported_release("0.32.0") is None
    assert unsupported_release("0.32.1+cpu") is None
    assert unsupported_release("0.33.0") == "vllm 0.33.0 is not 0.32"
    assert unsupported_release("dev") == "vllm dev is not 0.32"


def test_the_page_names_every_refused_setting_and_what_to_change() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "attach.md").read_text()
    assert [line for line in page.splitlines() if line.startswith(_ROW)] == [
        f"| `{one.setting}` | {one.change} |" for one in REFUSED
    ]


_ROW = tuple(f"| `{one.setting.split('.')[0]}" for one in REFUSED)
