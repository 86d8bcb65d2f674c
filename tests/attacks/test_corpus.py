"""Every attack that was ever worth keeping, run again: what broke us once must not break us twice.

A file's name says what it is. The fuzzer starts from the same files (`make fuzz`).
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
FILES = sorted(CORPUS.glob("*/*"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_kept_attack_breaks_no_promise(path: Path) -> None:
    TARGETS[path.parent.name](path.read_bytes())


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_every_target_has_a_corpus_and_the_corpus_no_other(name: str) -> None:
    """A replay that runs nothing would pass for ever."""
    assert {path.parent.name for path in FILES} == set(TARGETS)
    assert sum(path.parent.name == name for path in FILES) >= 4


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_bytes_that_nobody_has_kept_yet_break_no_promise(name: str) -> None:
    """A few seconds of what the fuzzer does for minutes, in every run of the tests."""

    @settings(max_examples=60, deadline=None)
    @given(st.binary(max_size=300))
    def attacked(data: bytes) -> None:
        TARGETS[name](data)

    attacked()
