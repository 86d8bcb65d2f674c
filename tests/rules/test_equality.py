"""A million tokens decided live, in chunks and alone: one engine for live, test, backtest and reproduction."""

from __future__ import annotations

import pytest
from equality import compare


@pytest.mark.parts  # for its length: some fifteen seconds
def test_a_million_tokens_are_decided_alike_live_in_chunks_and_alone() -> None:
    tokens, hits, wrong = compare(1_000_000, seed=20_261_129)
    assert tokens >= 1_000_000
    assert hits > 5_000
    assert wrong == 0


def test_the_comparison_finds_a_hit_that_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it could not fail."""
    import equality

    def blind(work: object, began: object, chunk: int) -> list[object]:
        return alone(work, began, chunk)[1:]

    alone = equality.alone
    monkeypatch.setattr(equality, "alone", blind)
    _, _, wrong = compare(20_000, seed=1)
    assert wrong == 2  # one a way
