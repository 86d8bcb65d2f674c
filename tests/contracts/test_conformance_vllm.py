"""The kit over `vllm serve`, of its own environment: compiled, chunked prefill, prefix caching, a cache too small.

Not collected where that environment was not made (`tests/conftest.py`).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from dosimeter.monitor.conformance import kit, report
from dosimeter.monitor.conformance.case import MIXED

VLLM = Path(__file__).resolve().parents[2] / ".venv-vllm" / "bin" / "vllm"


@pytest.mark.parts
def test_vllm_serve_conforms(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("HF_HUB_OFFLINE", "1"),
        ("OMP_NUM_THREADS", "1"),
        ("VLLM_CPU_KVCACHE_SPACE", "1"),
        ("VLLM_NO_USAGE_STATS", "1"),
    ):
        monkeypatch.setenv(name, value)
    command = [
        *(str(VLLM), "serve", str(kit.LAB), "--dtype", "float32"),  # compiled, as by default
        *("--max-model-len", "1024", "--max-num-seqs", "8", "--max-num-batched-tokens", "64"),
        *("--enable-prefix-caching", "--enable-chunked-prefill", "--block-size", "32"),
        *("--num-gpu-blocks-override", "40"),  # one of the longest fits, and not much beside it
    ]
    outcomes = kit.run(kit.Wanted(command=command, tokens=3_000, cancels=5))
    assert report.conforms(outcomes), report.as_table(outcomes)
    found = {one.case: one for one in outcomes}
    assert {name for name, one in found.items() if one.skipped} == {"beams"}
    for name in ("shared prefixes", "turns", "chat", MIXED):
        findings = found[name].findings
        assert findings is not None
        assert findings.reused > 0, name
        assert findings.unscored == {}, name
