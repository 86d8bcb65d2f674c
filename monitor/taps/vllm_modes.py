"""Modes of vLLM under which no row map is proven: found in its own configuration, refused with a reason.

A refused mode is served and counted, never scored. The configuration is read by attribute names alone, so
that this runs without vLLM; a name that is gone is a reason too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

SUPPORTED = (0, 32)
"""The one minor release whose private names we use."""


@dataclass(frozen=True, slots=True)
class Refused:
    """setting: where in the configuration; when: its values that are refused; change: what to start with.

    beside: another setting, where this one is refused only if that is there.
    """

    setting: str
    when: Callable[[Any], bool]
    because: str
    change: str
    beside: str | None = None


def _more_than_one(value: Any) -> bool:
    return int(value) > 1


def _is_there(value: Any) -> bool:
    return bool(value)


def _named(value: Any) -> bool:
    """An enumeration, or None before it is decided; `NONE` is off."""
    return getattr(value, "name", None) != "NONE"


REFUSED = (
    Refused(
        "compilation_config.mode",
        lambda value: getattr(value, "name", None) not in ("NONE", "DYNAMO_TRACE_ONCE"),
        "its cache of compiled graphs does not know whether a tap is in them",
        "start with `--enforce-eager` or `--compilation-config.mode DYNAMO_TRACE_ONCE`",
    ),
    Refused(
        "compilation_config.cudagraph_mode",
        _named,
        "CUDA graphs are replayed without hooks",
        "start with `--enforce-eager`",
    ),
    Refused(
        "parallel_config.use_sequence_parallel_moe",
        _is_there,
        "sequence parallelism scatters rows over ranks",
        "start without `--enable-expert-parallel`",
    ),
    Refused(
        "parallel_config.pipeline_parallel_size",
        _more_than_one,
        "a pipeline stage holds a part of the blocks",
        "start with `--pipeline-parallel-size 1`",
    ),
    Refused(
        "parallel_config.data_parallel_size",
        _more_than_one,
        "replicas would share one account",
        "start one server a replica",
    ),
    Refused(
        "parallel_config.prefill_context_parallel_size",
        _more_than_one,
        "a prompt's rows are split over ranks",
        "start with `--prefill-context-parallel-size 1`",
    ),
    Refused(
        "parallel_config.decode_context_parallel_size",
        _more_than_one,
        "a context is split over ranks",
        "start with `--decode-context-parallel-size 1`",
    ),
    Refused(
        "parallel_config.use_ubatching",
        _is_there,
        "a step runs as several batches (dual batch overlap)",
        "start without `--enable-dbo`",
    ),
    Refused(
        "speculative_config",
        lambda value: value is not None and getattr(value, "method", None) != "ngram",
        "drafts are taken back, and which is not shown for this method",
        "start with `--speculative-config.method ngram`, or without `--speculative-config`",
    ),
    Refused(
        "scheduler_config.async_scheduling",
        _is_there,
        "a step begins before it is known which drafts of the last were kept",
        "start with `--no-async-scheduling`, or without `--speculative-config`",
        beside="speculative_config",
    ),
    Refused(
        "use_v2_model_runner",
        _is_there,
        "which drafts runner V2 keeps is not read",
        "start with `VLLM_USE_V2_MODEL_RUNNER=0`, or without `--speculative-config`",
        beside="speculative_config",
    ),
    Refused(
        "lora_config",
        lambda value: value is not None,
        "an adapter moves the activations a pack was fitted on",
        "start without `--enable-lora`",
    ),
    Refused(
        "kv_transfer_config",
        lambda value: value is not None,
        "positions may have run on another server",
        "start without `--kv-transfer-config`",
    ),
    Refused(
        "weight_transfer_config",
        lambda value: value is not None,
        "a trainer replaces the weights a pack is bound to",
        "start without `--weight-transfer-config`",
    ),
    Refused(
        "cache_config.kv_sharing_fast_prefill",
        _is_there,
        "some blocks skip the prompt",
        "start without `--kv-sharing-fast-prefill`",
    ),
    Refused(
        "model_config.is_encoder_decoder",
        _is_there,
        "an encoder's rows are no positions of the answer",
        "no such model is supported",
    ),
    Refused(
        "model_config.is_diffusion",
        _is_there,
        "a diffusion model runs a position many times",
        "no such model is supported",
    ),
    Refused(
        "model_config.runner_type",
        lambda value: value != "generate",
        "the model answers with vectors, not with tokens",
        "start with `--runner generate`",
    ),
    Refused(
        "model_config.multimodal_config",
        lambda value: value is not None and not value.language_model_only,
        "pictures and sound take places in the prompt",
        "start with `--language-model-only`",
    ),
    Refused(
        "model_config.enable_prompt_embeds",
        _is_there,
        "a prompt may come as vectors",
        "start without `--enable-prompt-embeds`",
    ),
    Refused(
        "model_config.quantization",
        lambda value: value is not None,
        "the weights are quantised, and no pack is bound to such",
        "serve the weights the pack was fitted on",
    ),
)


def release(version: str) -> tuple[int, ...]:
    """The first two parts of a version; what is no number ends it."""
    parts: list[int] = []
    for part in version.split(".")[:2]:
        if not part.isdigit():
            break
        parts.append(int(part))
    return tuple(parts)


def unsupported_release(version: str) -> str | None:
    if release(version) == SUPPORTED:
        return None
    return f"vllm {version} is not {SUPPORTED[0]}.{SUPPORTED[1]}"


def refusals(config: Any, table: Sequence[Refused] = REFUSED) -> list[Refused]:
    """What of a `VllmConfig`, or of what another table is about, is refused, in the order of the table."""
    return [
        one
        for one in table
        if (one.beside is None or _value(config, one.beside) is not None)
        and ((value := _value(config, one.setting)) is _GONE or one.when(value))
    ]


def _value(config: Any, setting: str) -> Any:
    for name in setting.split("."):
        config = getattr(config, name, _GONE)
    return config


_GONE = object()


def reason(found: list[Refused]) -> str:
    return "; ".join(f"`{one.setting}`: {one.because} ({one.change})" for one in found)
