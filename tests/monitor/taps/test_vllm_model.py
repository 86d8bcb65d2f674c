"""vLLM's models: the residual stream out of what a block returns, blocks by where they are kept."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from dosimeter.monitor.taps.probe_op import HookError
from dosimeter.monitor.taps.vllm_model import blocks, folder_of, residual


def test_the_residual_stream_is_the_sum_that_the_next_norm_would_make() -> None:
    hidden, rest = torch.tensor([[1.0, 2.0]]), torch.tensor([[10.0, 20.0]])
    assert residual((hidden, rest)).tolist() == [[11.0, 22.0]]
    assert residual(torch.ones(2, 2)).tolist() == [[1.0, 1.0], [1.0, 1.0]]  # two rows are no pair
    with pytest.raises(HookError, match="NoneType"):
        residual(None)


def test_a_block_that_adds_at_once_may_have_none_beside_it() -> None:
    """MiniCPM's and Gemma 4's do: `dosimeter` read nothing of them, and where they were compiled the server ended."""
    hidden = torch.tensor([[1.0, 2.0]])
    assert residual((hidden, None)).tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize(
    ("beside", "found"),
    [
        ((torch.ones(2, 3),), "two tensors that are not added"),
        ((torch.ones(2),), "two tensors that are not added"),
        ((torch.ones(2, 2), torch.ones(2, 2)), "3 values"),
        (([],), "list"),
        ((), "1 values"),
    ],
)
def test_what_is_no_pair_of_a_stream_is_refused_and_never_tried(
    beside: tuple[object, ...], found: str
) -> None:
    with pytest.raises(HookError, match=found):
        residual((torch.ones(2, 2), *beside))


def test_a_model_whose_blocks_are_not_found_is_refused_by_name() -> None:
    with pytest.raises(HookError, match=r"`Linear` keeps its blocks in none of model\.layers"):
        blocks(nn.Linear(1, 1))


def test_the_text_part_of_a_larger_model_is_where_the_blocks_are() -> None:
    inner = nn.Module()
    inner.model = nn.Module()
    inner.model.layers = nn.ModuleList([nn.Identity(), nn.Identity()])
    outer = nn.Module()
    outer.get_language_model = lambda: inner  # type: ignore[assignment]
    assert len(blocks(outer)) == 2


def test_a_folder_is_itself(tmp_path: Path) -> None:
    assert folder_of(SimpleNamespace(model=str(tmp_path), revision=None)) == tmp_path
