"""Modes of SGLang under which no row map is proven: found in its own resolved options, refused with a reason.

As `vllm_modes` for vLLM. `args.` are the server's options after it has resolved them, `model.` is its model's.
A graph that slips through is found all the same: no block is called in a replay, and such a step is not read.
"""

from __future__ import annotations

from typing import Any

from dosimeter.monitor.taps.vllm_modes import Refused

SUPPORTED = (0, 5, 23)
"""The one release whose private names we use. Patches of one minor release change them."""


def _is(value: object) -> Any:
    return lambda found: found == value


def _more_than_one(value: Any) -> bool:
    return int(value or 1) > 1


def _is_there(value: Any) -> bool:
    return bool(value)


def _not(value: object) -> Any:
    return lambda found: found != value


GRAPHS = "graphs are replayed without hooks"

REFUSED = (
    Refused(
        "args.cuda_graph_config.decode.backend",
        _not("disabled"),
        GRAPHS,
        "start with `--disable-decode-cuda-graph --disable-prefill-cuda-graph`",
    ),
    Refused(
        "args.cuda_graph_config.prefill.backend",
        _not("disabled"),
        GRAPHS,
        "start with `--disable-decode-cuda-graph --disable-prefill-cuda-graph`",
    ),
    Refused(
        "args.enable_torch_compile",
        _is_there,
        "a compiled model may have no tap in it",
        "start without `--enable-torch-compile`",
    ),
    Refused(
        "args.tp_size",
        _more_than_one,
        "a block's output may still owe its sum over the ranks",
        "start with `--tp-size 1`",
    ),
    Refused(
        "args.pp_size",
        _more_than_one,
        "a pipeline stage holds a part of the blocks",
        "start with `--pp-size 1`",
    ),
    Refused(
        "args.dp_size",
        _more_than_one,
        "replicas would share one account",
        "start one server a replica",
    ),
    Refused(
        "args.attn_cp_size",
        _more_than_one,
        "a prompt's rows are split over ranks",
        "start with `--attn-cp-size 1`",
    ),
    Refused(
        "args.dcp_size",
        _more_than_one,
        "a context is split over ranks",
        "start with `--dcp-size 1`",
    ),
    Refused(
        "args.enable_two_batch_overlap",
        _is_there,
        "a step runs as two batches",
        "start without `--enable-two-batch-overlap`",
    ),
    Refused(
        "args.enable_pdmux",
        _is_there,
        "a prompt runs a few blocks at a time",
        "start without `--enable-pdmux`",
    ),
    Refused(
        "args.disaggregation_mode",
        _not("null"),
        "positions may have run on another server",
        "start without `--disaggregation-mode`",
    ),
    Refused(
        "args.speculative_algorithm",
        lambda value: value is not None,
        "drafts are run and taken back",
        "start without `--speculative-algorithm`",
    ),
    Refused(
        "args.dllm_algorithm",
        lambda value: value is not None,
        "a diffusion model runs a position many times",
        "no such model is supported",
    ),
    Refused(
        "args.enable_lora",
        _is_there,
        "an adapter moves the activations a pack was fitted on",
        "start without `--enable-lora` and `--lora-paths`",
    ),
    Refused(
        "args.enable_memory_saver",
        _is_there,
        "weights may be taken out of memory and put back",
        "start without `--enable-memory-saver`",
    ),
    Refused(
        "args.startup_weight_load_mode",
        _not("serial"),
        "the weights come after the hooks",
        "start with `--startup-weight-load-mode serial`",
    ),
    Refused(
        "args.tokenizer_worker_num",
        _more_than_one,
        "its API processes are not those we are in",
        "start with `--tokenizer-worker-num 1`",
    ),
    Refused(
        "model.is_generation",
        _is(False),
        "the model answers with vectors, not with tokens",
        "start without `--is-embedding`",
    ),
    Refused(
        "model.is_encoder_decoder",
        _is_there,
        "an encoder's rows are no positions of the answer",
        "no such model is supported",
    ),
    Refused(
        "model.is_multimodal",
        _is_there,
        "pictures and sound take places in the prompt",
        "no such model is supported",
    ),
    Refused(
        "model.quantization",
        lambda value: value is not None,
        "the weights are quantised, and no pack is bound to such",
        "serve the weights the pack was fitted on",
    ),
)


def unsupported_release(version: str) -> str | None:
    wanted = ".".join(map(str, SUPPORTED))
    return None if version.split("+")[0] == wanted else f"sglang {version} is not {wanted}"
