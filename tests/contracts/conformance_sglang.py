"""`make conformance-sglang`: the doctor and the kit over a real `sglang serve` on the CPU, of its own environment.

What is SGLang's own runs as it is: its API, scheduler, radix tree and Llama, ahead of its results as by default, with
prompts in chunks beside decodes. What stands in for its kernels raises when it is called (`sgl_kernel_stand_in`). No
part of `make test`: the server alone needs minutes to start.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from dosimeter.monitor.conformance import kit, report
from dosimeter.monitor.conformance.case import MIXED, CannotRun, Outcome

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv-sglang"
STAND_IN = Path(__file__).with_name("sgl_kernel_stand_in")
SURROUNDINGS = {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": str(STAND_IN),
    "SGLANG_USE_CPU_ENGINE": "1",
}
OPTIONS = (
    *("--device", "cpu", "--dtype", "float32", "--attention-backend", "torch_native"),
    *("--disable-decode-cuda-graph", "--disable-prefill-cuda-graph"),
    *("--max-total-tokens", "16384", "--max-running-requests", "8"),
    *("--chunked-prefill-size", "64", "--enable-mixed-chunk", "--mem-fraction-static", "0.3"),
)
NOT_COMPARED = {"several answers", "drafts", "beams"}
REUSES = {"chat", "shared prefixes", "turns", MIXED}
"""Cases that say nothing unless the server took tokens out of its tree."""


def main(
    venv: Path = VENV, run: Callable[[kit.Wanted, Callable[[str], None]], list[Outcome]] = kit.run
) -> int:
    """0: it conforms, in every case that must be there. 1: it does not. 3: it was not run, and why.

    venv, run: as the environment and the kit, for tests.
    """
    if not (venv / ".ready").is_file():
        print(f"not shown: SGLang: no {venv.name} here\n  hint: make setup-sglang", file=sys.stderr)
        return 3
    os.environ.update(SURROUNDINGS)
    command = [str(venv / "bin" / "sglang"), "serve", "--model-path", str(kit.LAB), *OPTIONS]
    packs = ["--model", str(kit.LAB), "--pack", str(kit.LAB.parent / "packs" / "core")]
    doctor = [str(venv / "bin" / "python"), "-m", "dosimeter.monitor.cli.main", "doctor"]
    if subprocess.run([*doctor, "--server", "sglang", *packs, "--", *command]).returncode != 0:
        return 1
    wanted = kit.Wanted(command=command, tokens=6_000, cancels=20)
    try:
        outcomes = run(wanted, lambda line: print(line, file=sys.stderr, flush=True))
    except CannotRun as error:
        print(f"not shown: SGLang: {error}", file=sys.stderr)
        return 3
    print(report.as_table(outcomes))
    missing = unseen(outcomes)
    for line in missing:
        print(f"does not conform: {line}")
    return 0 if report.conforms(outcomes) and not missing else 1


def unseen(outcomes: Sequence[Outcome]) -> list[str]:
    """What would make a pass say less than it seems to, a line each."""
    skipped = {one.case for one in outcomes if one.skipped is not None}
    found = [f"{name}: not compared" for name in sorted(skipped - NOT_COMPARED)]
    reused = {one.case for one in outcomes if one.findings is not None and one.findings.reused}
    return found + [f"{name}: nothing was reused" for name in sorted(REUSES - reused)]


if __name__ == "__main__":
    sys.exit(main())
