"""vLLM's canary: what must come back through the server's scheduler, in as many steps as it takes."""

from __future__ import annotations

import numpy as np
import pytest

from dosimeter.detectors.bank import ProbeBank
from dosimeter.detectors.frames import ROWS, to_codes
from dosimeter.monitor.taps.vllm_canary import CANARY_KEY, Canary

from .conftest import Small


@pytest.fixture
def canary(small: Small) -> Canary:
    return Canary(ProbeBank.from_packs([small.pack]), [small.pack])


def known(small: Small) -> np.ndarray:
    return to_codes(small.pack.fingerprint.scores)


def take(canary: Canary, start: int, codes: np.ndarray) -> None:
    canary.take(np.array([(CANARY_KEY, start, len(codes), 0, 0)], ROWS), codes)


def test_the_known_answer_in_two_chunks_proves_the_path(canary: Canary, small: Small) -> None:
    codes = known(small)
    canary.begin(small.pack.name, len(codes))
    take(canary, 0, codes[:10])
    assert not canary.passed
    take(canary, 10, codes[10:])
    assert canary.verdict() is None
    assert canary.passed


def test_a_code_may_round_either_way_and_no_further(canary: Canary, small: Small) -> None:
    canary.begin(small.pack.name, 16)
    take(canary, 0, known(small) + 1)
    assert canary.verdict() is None
    canary = Canary(ProbeBank.from_packs([small.pack]), [small.pack])
    canary.begin(small.pack.name, 16)
    off = known(small)
    off[3, 1] += 2
    take(canary, 0, off)
    assert "differ from the known answer" in str(canary.verdict())
    assert not canary.passed


def test_positions_that_nobody_read_are_no_proof(canary: Canary, small: Small) -> None:
    """Where hooks do not run, as in a compiled graph, nothing comes, and nothing must not pass."""
    canary.begin(small.pack.name, 16)
    assert canary.verdict() == "pack `small/core`: 0 of 16 positions were read"
    canary.begin(small.pack.name, 16)
    take(canary, 4, known(small)[4:])  # a prefix out of the server's cache
    assert canary.verdict() == "pack `small/core`: 12 of 16 positions were read"


def test_another_pack_proves_nothing(canary: Canary, small: Small) -> None:
    canary.begin("other/pack", 16)
    take(canary, 0, known(small))
    assert canary.verdict() is None
    assert not canary.passed
