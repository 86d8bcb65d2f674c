"""A pack is bound to weights: scores of other weights under its name would be numbers about something else."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dosimeter.monitor.taps.unchanged import Unchanged

from .conftest import Small


def test_a_model_that_only_serves_is_unchanged(small: Small) -> None:
    model = small.model()
    unchanged = Unchanged(model)
    ids = torch.tensor([[5, 6, 7]])
    model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=4, do_sample=False)
    model.set_attn_implementation("sdpa")
    assert unchanged() is None


def test_weights_written_in_place_are_named(small: Small) -> None:
    model = small.model()
    unchanged = Unchanged(model)
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[0, 0] += 1e-6
    why = unchanged()
    assert why is not None
    assert "weights" in why
    assert "layers.1.mlp.up_proj.weight" in why


def test_weights_put_in_their_place_are_named(small: Small) -> None:
    model = small.model()
    unchanged = Unchanged(model)
    projection = model.model.layers[0].self_attn.q_proj
    projection.weight.data = projection.weight.data.clone()
    assert "q_proj.weight" in (unchanged() or "")


def test_an_adapter_is_named_and_gone_when_it_is_taken_out(small: Small) -> None:
    """Adapter libraries replace a linear layer by one that holds it; the weights stay untouched."""

    class Adapter(nn.Module):
        def __init__(self, base: nn.Linear) -> None:
            super().__init__()
            self.base = base

    model = small.model()
    unchanged = Unchanged(model)
    attention = model.model.layers[2].self_attn
    base = attention.v_proj
    attention.v_proj = Adapter(base)
    why = unchanged()
    assert why is not None
    assert "modules" in why
    assert "layers.2.self_attn.v_proj" in why
    attention.v_proj = base
    assert unchanged() is None


def asked(unchanged: Unchanged, model: nn.Module) -> str:
    """What it says once it has looked at every parameter."""
    for _ in model.named_parameters(remove_duplicate=False):
        if why := unchanged():
            return why
    return ""


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_weights_written_past_torchs_count_are_named_and_stay_so(
    small: Small, dtype: torch.dtype
) -> None:
    """As adapters are merged into them: `weight.data += delta` moves neither place nor count."""
    model = small.model().to(dtype)
    unchanged = Unchanged(model)
    weight = model.model.layers[1].self_attn.v_proj.weight
    before = weight.data.clone()
    weight.data += torch.full_like(weight, 0.01)
    assert "layers.1.self_attn.v_proj.weight" in asked(unchanged, model)
    assert "v_proj.weight" in (unchanged() or "")
    weight.data.copy_(before)
    assert asked(unchanged, model) == ""


def test_an_adapter_that_went_into_the_weights_is_named_at_once(small: Small) -> None:
    """Its modules came and went, so that all is as it was but for the numbers: the tap went live on them."""
    model = small.model()
    unchanged = Unchanged(model)
    attention = model.model.layers[2].self_attn
    base = attention.v_proj
    attention.v_proj = nn.Sequential(base)
    assert "modules" in (unchanged() or "")
    base.weight.data += 0.01
    attention.v_proj = base
    assert "layers.2.self_attn.v_proj.weight" in (unchanged() or "")


def test_the_model_can_still_be_unloaded(small: Small) -> None:
    model = small.model()
    unchanged = Unchanged(model)
    del model
    assert unchanged() is None
