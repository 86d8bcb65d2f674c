"""The kit over `vllm serve`, of its own environment: compiled, chunked prefill, prefix caching, a cache too small.

Not collected where that environment was not made (`tests/conftest.py`).
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dosimeter.monitor.conformance import kit, report
from dosimeter.monitor.conformance.case import MIXED, Outcome

VLLM = Path(__file__).resolve().parents[2] / ".venv-vllm" / "bin" / "vllm"
DRAFTS = {
    "method": "ngram",
    "num_speculative_tokens": 3,
    "prompt_lookup_min": 1,
    "prompt_lookup_max": 3,
}


@pytest.fixture(autouse=True)
def small_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("HF_HUB_OFFLINE", "1"),
        ("OMP_NUM_THREADS", "1"),
        ("VLLM_CPU_KVCACHE_SPACE", "1"),
        ("VLLM_NO_USAGE_STATS", "1"),
    ):
        monkeypatch.setenv(name, value)


def conforming(tokens: int, *options: str) -> dict[str, Outcome]:
    """Every case, and so many tokens of mixed traffic. options: of the server, beside those it always has."""
    command = [
        *(str(VLLM), "serve", str(kit.LAB), "--dtype", "float32"),  # compiled, as by default
        *("--max-model-len", "1024", "--max-num-seqs", "8", "--max-num-batched-tokens", "64"),
        *("--enable-prefix-caching", "--enable-chunked-prefill", "--block-size", "32"),
        *("--num-gpu-blocks-override", "40"),  # one of the longest fits, and not much beside it
        *options,
    ]
    outcomes = kit.run(kit.Wanted(command=command, tokens=tokens, cancels=5))
    assert report.conforms(outcomes), report.as_table(outcomes)
    found = {one.case: one for one in outcomes}
    for name in ("shared prefixes", "turns", "chat", MIXED):
        findings = found[name].findings
        assert findings is not None
        assert findings.reused > 0, name
        assert findings.unscored == {}, name
    return found


@pytest.mark.parts
def test_vllm_serve_conforms() -> None:
    found = conforming(3_000)
    assert {name for name, one in found.items() if one.skipped} == {"beams", "drafts"}


@pytest.mark.parts
def test_vllm_serve_conforms_with_drafts_that_are_rejected_and_requests_that_are_put_off() -> None:
    """The case `drafts` fails where the server, by its own count, kept all of its drafts or none of them."""
    found = conforming(1_000, "--speculative-config", json.dumps(DRAFTS))
    assert {name for name, one in found.items() if one.skipped} == {"beams"}
    drafts = found["drafts"].findings
    assert drafts is not None
    assert drafts.twice > 0  # else nothing was put off and run again
    assert (drafts.unscored, drafts.after_end) == ({}, 0)
