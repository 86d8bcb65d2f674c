"""How long `detectors build` of one feature takes, as a user runs it: the lab model, the reader, a model of 0.5 B."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from dosimeter.monitor.bench.figures import Figure
from dosimeter.monitor.lab import MODEL


def figures(data: Path | None) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        subprocess.run(
            [sys.executable, "-m", "dosimeter.monitor.lab.sets", "--out", str(work / "sets"), "--quick"],
            check=True,
        )  # fmt: skip
        lab = _build(work / "lab", "lab", "deception", "--data", str(work / "sets"), "--tier", "T1")
        reader = _build(work / "reader", "reader", "scam")
        half_billion(work / "half")
        refusal, code = _timed(work / "refused", str(work / "half"), "scam")
    return [
        Figure("build: lab model, one feature", lab, "s", "<= 60"),
        Figure("build: reader, one feature", reader, "s", "<= 180"),
        Figure("build: random 0.5 B model, to its refusal", refusal, "s", "<= 600"),
        Figure("build: random 0.5 B model refused", int(code == 1), "", "== 1"),
    ]


def half_billion(folder: Path) -> None:
    """A decoder of 0.5 B parameters that was never trained, with the lab's tokenizer.

    In float32: a processor without bfloat16 products takes a hundred times as long.
    """
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32_000, hidden_size=1024, intermediate_size=4096, num_hidden_layers=26,
        num_attention_heads=16, num_key_value_heads=8, tie_word_embeddings=True, dtype="float32",
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(MODEL).save_pretrained(folder)


def _build(out: Path, model: str, feature: str, *more: str) -> float:
    seconds, code = _timed(out, model, feature, *more)
    if code not in (0, 1):
        raise RuntimeError(f"build of {feature} on {model} ended with {code}")
    return seconds


def _timed(out: Path, model: str, feature: str, *more: str) -> tuple[float, int]:
    command = [
        sys.executable, "-m", "dosimeter.monitor.cli.main", "detectors", "build",
        "--model", model, "--feature", feature, "--out", str(out), *more,
    ]  # fmt: skip
    started = time.monotonic()
    code = subprocess.run(command, stdout=subprocess.DEVNULL).returncode
    return time.monotonic() - started, code
