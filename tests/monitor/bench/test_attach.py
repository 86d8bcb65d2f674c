"""`bench attach`: ratios worked out by hand, peers that are not there, and one run of a small model."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dosimeter.monitor.bench import attach
from dosimeter.monitor.bench.attach_process import Process
from dosimeter.monitor.bench.attach_setting import (
    AGAIN,
    BARE,
    CLOCKED,
    COMPILED,
    HIDDEN,
    IDLE,
    LOOPS,
    OURS,
    Setting,
    Step,
)
from dosimeter.monitor.bench.child import BenchError

PEER = "nnsight"
LAYERS = "2 layers"
SMALL = Setting(
    layers=4, width=64, batch=2, prompt=16, probes=8, tapped={LAYERS: (1, 2)}, backend="eager"
)


def steps(*whole: int, hooks: int = 0) -> list[Step]:
    return [Step(one, hooks) for one in whole]


SAMPLES = {
    (OURS, BARE): steps(1000, 2000, 1000),
    (OURS, AGAIN): steps(980, 2020, 1010),  # -2, 1, 1 %
    (OURS, f"{IDLE}, {LAYERS}"): steps(1000, 2000, 1000, hooks=2),
    (OURS, f"{OURS}, {LAYERS}"): [Step(1010, 12), Step(2080, 22), Step(1030, 12)],  # 1, 4, 3 %
    (OURS, f"{HIDDEN}, {LAYERS}"): steps(1100, 2200, 1100),
    (OURS, f"{LOOPS[0]}, {LAYERS}"): [Step(1060, 62), Step(2120, 122), Step(1060, 62)],
    (OURS, f"{LOOPS[1]}, {LAYERS}"): [Step(1040, 42), Step(2080, 82), Step(1040, 42)],
    (COMPILED, BARE): steps(500, 500, 500),
    (COMPILED, AGAIN): steps(505, 500, 500),
    (COMPILED, f"{COMPILED}, {LAYERS}"): steps(510, 510, 510),
    (PEER, BARE): steps(2000, 2000, 4000),
    (PEER, AGAIN): steps(2000, 2000, 4000),
    (PEER, f"{PEER}, {LAYERS}"): steps(2200, 2200, 4400),
    (PEER, f"{PEER}, {CLOCKED}, {LAYERS}"): [Step(1, 200), Step(1, 200), Step(1, 400)],
}


def test_each_variant_is_set_against_the_bare_step_of_its_own_process_and_round() -> None:
    found = {f.name: f for f in attach.compared("decode", SAMPLES, SMALL)}
    what = f"decode, {LAYERS}"
    end = found[f"{what}: {OURS}, end to end"]
    assert end.value == pytest.approx(3.0)
    assert (end.goal, end.met) == ("<= 2", False)  # the same forward again was up to 2 % away
    assert found[f"{what}: {COMPILED}, end to end"].value == pytest.approx(2.0)
    assert found[f"{what}: {COMPILED}, end to end"].goal == "<= 1"
    assert found[f"{what}: {PEER}, end to end"].value == pytest.approx(10.0)
    assert found[f"{what}: {PEER}, end to end"].goal is None
    assert found[f"{what}: {OURS}, in hooks"].value == pytest.approx(1.0)  # less the clocks
    assert found[f"{what}: {PEER}, in hooks"].value == pytest.approx(10.0)
    ratios = {loop: found[f"{what}: in hooks, {loop} / ours"] for loop in (*LOOPS, PEER)}
    assert [r.value for r in ratios.values()] == pytest.approx([6.0, 4.0, 10.0])
    assert [r.met for r in ratios.values()] == [True, False, True]
    assert f"{what}: {HIDDEN}, in hooks" not in found


def test_where_two_equal_forwards_are_far_apart_nothing_is_judged_by_them() -> None:
    busy = SAMPLES | {(OURS, AGAIN): steps(980, 2120, 1010)}  # -2, 6, 1 %
    found = {f.name: f for f in attach.compared("decode", busy, SMALL)}
    what = f"decode, {LAYERS}"
    assert found[f"{what}: {OURS}, end to end"].goal is None
    assert found[f"{what}: {COMPILED}, end to end"].goal == "<= 1"


def test_a_peer_that_did_not_run_has_no_figures() -> None:
    without = {key: value for key, value in SAMPLES.items() if key[0] != PEER}
    names = [figure.name for figure in attach.compared("decode", without, SMALL)]
    assert not [name for name in names if PEER in name]


def test_a_process_that_ends_says_why_in_its_own_words(tmp_path: Path) -> None:
    peer = tmp_path / "python"
    peer.write_text("#!/bin/sh\necho 'ImportError: no module of that name' >&2\nexit 1\n")
    peer.chmod(0o755)
    with (
        Process(peer, PEER, SMALL) as process,
        pytest.raises(BenchError, match="nnsight: ended: ImportError: no module of that name"),
    ):
        process.ready()


def test_a_setting_reaches_the_process_as_it_was() -> None:
    assert Setting.from_json(SMALL.as_json()) == SMALL


@pytest.mark.parts
def test_a_small_model_is_read_by_all_that_is_here_and_the_others_are_named() -> None:
    """Also that no reading of ours fails: a step that the tap has not read is an error, eager or compiled."""
    root = Path(__file__).resolve().parents[3]
    peers = root / attach.PEERS_PYTHON
    result = attach.run(SMALL, {"prefill": 1, "decode": 1}, peers)
    names = [figure.name for figure in result.figures]
    assert f"decode, {LAYERS}: {COMPILED}, end to end" in names
    assert [note for note in result.notes if note.startswith("not shown: vllm-lens")]
    for kind in attach.PEERS:
        shown = f"decode, {LAYERS}: {kind}, in hooks" in names
        assert shown == peers.exists()
        assert shown != any(note.startswith(f"not shown: {kind}") for note in result.notes)
    assert f"torch {sys.modules['torch'].__version__.split('+')[0]}" in result.notes[1]
