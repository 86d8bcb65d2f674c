"""The kit over `vllm serve`, of its own environment: compiled, chunked prefill, prefix caching, a cache too small.

Not collected where that environment was not made (`tests/conftest.py`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dosimeter.detectors.frames import Scope
from dosimeter.monitor.conformance import case, kit, report
from dosimeter.monitor.conformance.asked import Asked
from dosimeter.monitor.conformance.case import MIXED, Outcome
from dosimeter.monitor.conformance.ear import Sequence as Told
from dosimeter.monitor.conformance.reference import Reference
from dosimeter.rules.atoms import Atom
from dosimeter.rules.engine import Engine
from tests.rules.rule_streams import frame, program_of

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
        assert findings.reused > 0 or name == MIXED, name
        assert findings.unscored == {}, name
    return found


@pytest.mark.parts
def test_vllm_serve_conforms() -> None:
    found = conforming(3_000)
    assert {name for name, one in found.items() if one.skipped} == {"beams", "drafts"}
    mixed = found[MIXED].findings
    assert mixed is not None
    assert mixed.reused > 0


@pytest.mark.parts
def test_vllm_serve_conforms_with_drafts_that_are_rejected_and_requests_that_are_put_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The case `drafts` fails where the server, by its own count, kept all of its drafts or none of them."""
    heard: list[tuple[Sequence[Asked], Sequence[Told], Reference]] = []
    compare = case.compare

    def noted(asked: Any, told: Any, account: Any, reference: Any, read: Any) -> Any:
        heard.append((asked, told, reference))
        return compare(asked, told, account, reference, read)

    monkeypatch.setattr(case, "compare", noted)
    smaller = ["--num-gpu-blocks-override", "34"]
    found = conforming(1_000, "--speculative-config", json.dumps(DRAFTS), *smaller)
    assert {name for name, one in found.items() if one.skipped} == {"beams"}
    drafts = found["drafts"].findings
    assert drafts is not None
    assert drafts.twice > 0  # else nothing was put off and run again
    assert (drafts.unscored, drafts.after_end) == ({}, 0)
    nothing_fires_on_what_was_rejected(*heard[list(found).index("drafts")])


def nothing_fires_on_what_was_rejected(
    asked: Sequence[Asked], told: Sequence[Told], reference: Reference
) -> None:
    """For each answer a rule whose level only a rejected draft of it reaches: on that row it would have fired."""
    answers = {one.label: one for one in asked if one.label.startswith("free-")}
    rules = 0
    for theirs in told:
        one = answers.get(theirs.label or "")
        if one is None:
            continue
        ids = [*one.prompt, *(one.answer or ())]
        highest = reference.codes(ids[:-1]).astype(int).max(axis=0)  # of all that is to be kept
        vain = rejected(ids, len(one.prompt))
        rows_of = [reference.codes(run)[-1] for run in vain]
        above = np.array(rows_of, int).reshape(len(vain), len(highest)) - highest  # [rejected, F]
        if above.max(initial=0) <= 16:
            continue  # what was kept is as high
        which, column = np.unravel_index(above.argmax(), above.shape)
        level = int(highest[column]) + int(above[which, column]) // 2
        atom = Atom(int(column), Scope.MESSAGE, 1, "once", 1, level)
        rule, run = program_of(atom, columns=len(highest)), vain[which]
        for rows, hits in ((theirs.parts, 0), ([(len(run) - 1, rows_of[which][None], 0)], 1)):
            engine = Engine(rule)
            engine.open(theirs.key, {})
            steps = [
                engine.step(frame((theirs.key, at, Scope.MESSAGE, part))) for at, part, _ in rows
            ]
            assert sum(map(len, steps)) == hits
        rules += 1
    assert rules >= 3


def rejected(ids: Sequence[int], prompt_len: int) -> list[list[int]]:
    """What a server ran in vain, from the answer alone: tokens up to a draft that is not what came.

    Of the likeliest tokens: a draft is kept as far as it is what came, and one token more is sampled.
    """
    found = []
    at = prompt_len + 1  # the first is sampled from the prompt, without a draft
    while at < len(ids):
        draft = looked_up(list(ids[:at]))
        came = list(ids[at : at + len(draft)])
        kept = 0
        while kept < len(came) and came[kept] == draft[kept]:
            kept += 1
        found += [[*ids[:at], *draft[: n + 1]] for n in range(kept, len(draft))]
        at += kept + 1
    return found


def looked_up(ids: list[int]) -> list[int]:
    """The longest ending of at most 3 tokens that was there before, where it was there first: what followed it."""
    for n in (3, 2, 1):
        for start in range(len(ids) - n):
            if ids[start : start + n] == ids[-n:]:
                return ids[start + n : start + n + 3]
    return []
