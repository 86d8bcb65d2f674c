"""A cut changes what it says and nothing else, and leaves no hook behind."""

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from dosimeter.monitor.lab.ablate import Cut, orthonormal, without
from dosimeter.monitor.taps import transformers as server

WIDTH = 16


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=32,
            hidden_size=WIDTH,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
        )
    ).eval()


def _cut(everywhere: bool) -> Cut:
    rng = np.random.default_rng(1)
    centre = rng.standard_normal(WIDTH).astype(np.float32)
    return Cut({0: orthonormal(rng.standard_normal((2, WIDTH)))}, {0: centre}, everywhere)


def _first_block(model: LlamaForCausalLM, cut: Cut | None) -> np.ndarray:
    """[T, D] of block 0, seen by a hook that was put on after the cut's own."""
    seen = []
    ids = torch.tensor([[3, 1, 4, 1, 5]])

    def run() -> None:
        def look(_: object, __: object, out: object) -> None:
            seen.append((out[0] if isinstance(out, tuple) else out)[0].numpy())  # type: ignore[index]

        handle = server.blocks(model)[0].register_forward_hook(look)
        with torch.no_grad():
            model(input_ids=ids, use_cache=False)
        handle.remove()

    if cut is None:
        run()
    else:
        with without(model, cut):
            run()
    return np.asarray(seen[0], np.float64)


@pytest.mark.parametrize("everywhere", [True, False])
def test_what_is_left_along_a_cut_is_the_centre_and_the_rest_stays(
    model: LlamaForCausalLM, everywhere: bool
) -> None:
    cut = _cut(everywhere)
    basis, centre = cut.directions[0].astype(float), cut.centre[0].astype(float)
    plain, changed = _first_block(model, None), _first_block(model, cut)
    touched = slice(None) if everywhere else slice(-1, None)
    np.testing.assert_allclose(
        changed[touched] @ basis.T, [centre @ basis.T] * len(plain[touched]), atol=1e-5
    )
    off = np.eye(WIDTH) - basis.T @ basis
    np.testing.assert_allclose(changed @ off, plain @ off, atol=1e-5)
    if not everywhere:
        np.testing.assert_array_equal(changed[:-1], plain[:-1])


def test_hooks_come_off_even_where_the_answering_breaks_off(model: LlamaForCausalLM) -> None:
    before = _first_block(model, None)
    with pytest.raises(KeyError), without(model, _cut(True)):
        raise KeyError
    assert not server.blocks(model)[0]._forward_hooks
    np.testing.assert_array_equal(_first_block(model, None), before)


def test_random_cuts_have_the_same_rank_blocks_and_reach() -> None:
    cut = _cut(True)
    other = cut.random(np.random.default_rng(0))
    assert other.directions[0].shape == (2, WIDTH)
    assert other.everywhere
    np.testing.assert_allclose(other.directions[0] @ other.directions[0].T, np.eye(2), atol=1e-6)
