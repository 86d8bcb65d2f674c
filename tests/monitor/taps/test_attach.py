"""Packs, canary and the state the tap reports: what cannot be trusted does not score, and says so."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dosimeter.detectors.bank import Column, Probe, ProbeBank
from dosimeter.detectors.frames import ActivationFrame
from dosimeter.detectors.pack import save_pack
from dosimeter.monitor.cli import attach as cli
from dosimeter.monitor.taps import attach, binding, seams
from dosimeter.monitor.taps.probe_op import HookError, ProbeOp
from dosimeter.monitor.taps.transformers import blocks

from .conftest import Small, hidden_of, pack_of


def sink(rows: object, scores: object, ns: int) -> tuple[int, str | None]:
    return 0, None


def put(small: Small, model: torch.nn.Module, packs: list[Path]) -> tuple[object, binding.TapState]:
    state = binding.TapState()
    return attach.put(model, small.folder, packs, sink, state), state


def hooks(model: torch.nn.Module) -> int:
    return sum(len(block._forward_hooks) for block in blocks(model))


def test_a_fitting_pack_makes_the_tap_live(small: Small) -> None:
    model = small.model()
    tap, state = put(small, model, [small.pack_folder])
    assert tap is not None
    assert (state.state, state.reason) == ("live", None)
    assert [column["feature"] for column in state.columns] == ["deception", "scam", "defection"]


def test_no_pack_installs_no_op(small: Small) -> None:
    model = small.model()
    tap, state = put(small, model, [])
    assert (tap, state.state, hooks(model)) == (None, "no-pack", 0)


def test_a_pack_of_another_model_refuses_to_score(small: Small, tmp_path: Path) -> None:
    other = small.model()
    with torch.no_grad():
        other.model.layers[0].mlp.up_proj.weight.add_(0.01)
    other.save_pretrained(tmp_path)
    small.tokenizer().save_pretrained(tmp_path)
    state = binding.TapState()
    assert attach.put(other, tmp_path, [small.pack_folder], sink, state) is None
    assert state.state == "no-pack"
    assert "bound to another model" in str(state.reason)
    assert hooks(other) == 0


def test_a_canary_that_misses_its_known_answer_leaves_the_tap_blind(small: Small) -> None:
    """The folder fits, the weights in memory do not: only the canary can tell."""
    model = small.model()
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight.add_(0.5)
    tap, state = put(small, model, [small.pack_folder])
    assert tap is None
    assert state.state == "blind"
    assert "canary" in str(state.reason)
    assert hooks(model) == 0


def test_the_op_agrees_with_float64(small: Small) -> None:
    model, ids = small.model(), list(range(8, 60))
    op = ProbeOp(ProbeBank.from_packs([small.pack]), torch.device("cpu"))
    op.install(blocks(model))
    op.begin()
    with torch.no_grad():
        model(torch.tensor([ids]), use_cache=False)
    scores = op.read(len(ids))
    hidden = hidden_of(model, ids).astype(np.float64)
    expected = np.stack(
        [
            np.einsum("ltd,ld->t", hidden, probe.weights.astype(np.float64)) + probe.bias
            for probe in small.pack.probes
        ],
        axis=1,
    )
    assert np.abs(scores - expected).max() < 1e-5


def test_a_step_is_read_once_and_only_if_the_hooks_ran(small: Small) -> None:
    model = small.model()
    op = ProbeOp(ProbeBank.from_packs([small.pack]), torch.device("cpu"))
    op.install(blocks(model))
    op.begin()
    with torch.no_grad():
        model(torch.tensor([[9, 10]]))
    op.read(2)
    with pytest.raises(HookError, match="0 of 2"):
        op.read(2)
    op.begin()
    with pytest.raises(HookError, match="0 of 2"):
        op.read(2)


def test_the_self_test_finds_an_op_whose_weights_were_changed(small: Small) -> None:
    bank = ProbeBank.from_packs([small.pack])
    op = ProbeOp(bank, torch.device("cpu"))
    binding.self_test(op, bank, [small.pack])
    op._weights[0, 0, 0] += 1.0
    with pytest.raises(HookError, match="self-test"):
        binding.self_test(op, bank, [small.pack])


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    cli.add_parser(parser.add_subparsers())
    return parser.parse_args(["attach", *arguments])


def test_the_command_line_becomes_one_environment_variable(small: Small) -> None:
    args = parse(
        "--pack",
        str(small.pack_folder),
        "--label",
        "tenant=X-Org",
        "--trust",
        "tenant",
        "--content-tenant",
        "demo",
        "--",
        "transformers",
        "serve",
        "m",
    )
    environment = cli.environment(cli.settings_of(args), {"PYTHONPATH": "/theirs", "HOME": "/h"})
    told = json.loads(environment["DOSIMETER_TAP"])
    assert told["labels"]["tenant"] == "x-org"
    assert (told["trusted"], told["content_tenants"]) == (["tenant"], ["demo"])
    assert environment["PYTHONPATH"] == f"{cli.SITE}:/theirs"
    assert environment["HOME"] == "/h"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trust", "tennant"], "not one of"),
        (["--label", "tenant"], "LABEL=HEADER"),
        (["--label", "tenant="], "no name of a header"),
        (["--label", "tenant= X-Org"], "no name of a header"),
        (["--content-tenant", "demo"], "--trust tenant"),
        (["--pack", "/nowhere"], "no card.yaml"),
    ],
)
def test_a_wrong_option_is_named(arguments: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cli.settings_of(parse(*arguments, "--", "true"))


@pytest.mark.parametrize("text", ["echo no interpreter is named", "#!/nowhere/python"])
def test_a_command_that_cannot_be_started_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    command = tmp_path / "serve"
    command.write_text(text + "\n")
    command.chmod(0o755)
    args = parse("--", str(command))
    assert cli.run(args) == 3
    assert "cannot be started" in capsys.readouterr().err


def test_a_model_loaded_in_another_type_refuses_to_score_and_says_which(small: Small) -> None:
    """`transformers serve --dtype bfloat16`: the folder still says float32, and a small error passes a canary."""
    tap, state = put(small, small.model().to(torch.bfloat16), [small.pack_folder])
    assert (tap, state.state) == (None, "no-pack")
    assert "dtype is `float32` in the pack, `bfloat16` in the model" in str(state.reason)


def test_quantised_weights_refuse_to_score(small: Small) -> None:
    model = small.model()
    model.is_quantized = True
    tap, state = put(small, model, [small.pack_folder])
    assert tap is None
    assert "quantised" in str(state.reason)


def test_a_canary_with_unknown_tokens_is_refused_before_it_can_reach_a_gpu(small: Small) -> None:
    known = replace(small.pack.fingerprint, token_ids=(*range(10, 25), 1 << 30))
    model = small.model()
    op = ProbeOp(ProbeBank.from_packs([small.pack]), torch.device("cpu"))
    with pytest.raises(HookError, match="tokens the model does not know"):
        attach.canary(
            model, op, ProbeBank.from_packs([small.pack]), replace(small.pack, fingerprint=known)
        )


def test_the_self_test_covers_packs_that_read_fewer_layers_than_the_bank(small: Small) -> None:
    probe = small.pack.probes[0]
    narrow = Probe("narrow", (2,), probe.weights[1:], 0.0)
    known = small.pack.fingerprint
    pack = replace(
        small.pack,
        name="small/narrow",
        probes=(narrow,),
        notes=small.pack.notes[:1],
        fingerprint=replace(known, scores=known.scores[:, :1], layer_means=known.layer_means[1:]),
    )
    packs = [small.pack, pack]
    bank = ProbeBank.from_packs(packs)
    op = ProbeOp(bank, torch.device("cpu"))
    binding.self_test(op, bank, packs)
    op._weights[1, 3] += 1.0
    with pytest.raises(HookError, match="self-test"):
        binding.self_test(op, bank, [pack])


def test_a_token_with_one_value_that_is_not_finite_has_no_score_in_any_column() -> None:
    """Also of a probe that does not read the layer: the reference says so, and some BLAS skip zero weights."""
    ones = np.ones((1, 4), np.float32)
    bank = ProbeBank(
        [(Column(n, "", ""), Probe(n, (layer,), ones, 0.5)) for layer, n in enumerate("ab")]
    )
    op = ProbeOp(bank, torch.device("cpu"))
    hidden = np.ones((2, 4, 4), np.float32)
    hidden[0, 1, 2], hidden[1, 2, 0], hidden[1, 3, 1] = np.inf, np.nan, -np.inf
    op.begin()
    for index, layer in enumerate(hidden):
        op.feed(index, torch.from_numpy(layer))
    found = op.read(4)
    assert np.array_equal(found, bank.score(ActivationFrame(hidden, (0, 1))), equal_nan=True)
    assert np.isnan(found[1:]).all()


def test_one_block_run_twice_for_another_that_did_not_run_is_an_error(small: Small) -> None:
    model = small.model()
    op = ProbeOp(ProbeBank.from_packs([small.pack]), torch.device("cpu"))
    op.install(blocks(model))
    op.begin()
    hidden = torch.zeros(1, 2, 64)
    for hook in [*blocks(model)[1]._forward_hooks.values()] * 2:
        hook(model, (), hidden)
    with pytest.raises(HookError, match="ran as number 1"):
        op.read(2)


def test_more_columns_than_a_greeting_has_room_for_are_not_scored_and_it_says_why(
    small: Small, tmp_path: Path
) -> None:
    """The sidecar refused each greeting as too long: such a tap was heard by nobody, and held itself for live."""
    biases = dict.fromkeys((f"feature_{n:04d}" for n in range(900)), 0.0)
    save_pack(pack_of(small.model(), small.folder, biases, name="small/many"), tmp_path / "many")
    model, state = small.model(), binding.TapState()
    with pytest.raises(HookError, match="900 columns take"):
        attach.put(model, small.folder, [tmp_path / "many"], sink, state)
    assert (state.columns, model in seams.taps, hooks(model)) == ([], False, 0)


def test_a_model_that_a_script_changes_is_not_scored_on(small: Small) -> None:
    model, ids = small.model(), torch.tensor([[5, 6, 7]])
    with attach.attach(model, [small.pack]) as seen:
        torch.nn.init.normal_(model.model.layers[0].mlp.up_proj.weight)
        model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=2, do_sample=False)
    (close,) = seen.closed.values()
    assert (close["emitted"], close["errors"]) == (0, {"model_changed": 4})


def test_a_second_tap_on_a_model_is_refused_and_the_first_stays(small: Small) -> None:
    """Found by `dosimeter chaos blind` on 2026-11-20: the second one took the first one's steps, and the first
    went on saying `live`."""
    model = small.model()
    first, _ = put(small, model, [small.pack_folder])
    second, state = put(small, model, [small.pack_folder])
    assert (second, state.state, state.reason) == (None, "blind", "another tap is on this model")
    assert seams.taps[model] is first
