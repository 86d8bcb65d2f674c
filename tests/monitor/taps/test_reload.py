"""Other packs for a tap that runs: every step by one of them, codes as of a tap that had them from the start.

A tap that began with the new pack is the reference. What a greeting says is what the sidecar takes rows for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from transformers import ContinuousBatchingConfig, GenerationConfig, LlamaForCausalLM

from dosimeter.detectors.bank import BankError, Probe
from dosimeter.detectors.frames import StepFrame
from dosimeter.detectors.pack import Pack, save_pack
from dosimeter.monitor.taps import attach, pack_list, reload, seams
from dosimeter.monitor.taps import transformers as server
from dosimeter.monitor.taps.binding import TapState
from dosimeter.monitor.taps.probe_op import DoesNotFit, HookError, ProbeOp
from dosimeter.monitor.taps.requests import Requests
from dosimeter.monitor.taps.serve import Runtime
from dosimeter.monitor.taps.settings import TapSettings
from dosimeter.monitor.taps.tap import Tap
from dosimeter.monitor.taps.wire import Kind, Message

from .conftest import Small, pack_of
from .test_pack_list import listed
from .test_serve import Listener
from .test_transformers import PROMPTS, SHARED, batched, compiling, generated

Go = Callable[[LlamaForCausalLM], list[list[int]]]
OTHER = {"scam": 0.25, "sycophancy": -1.0, "hedging": 0.5, "deception": 0.0}


@dataclass
class Watched:
    """A model with a tap as the server puts it on, and a sidecar's view: rows under the columns greeted last."""

    model: LlamaForCausalLM
    state: TapState = field(default_factory=TapState)
    rows: list[tuple[str, int, int, npt.NDArray[np.int16]]] = field(default_factory=list)
    closed: list[dict[str, object]] = field(default_factory=list)
    tap: Tap | None = None

    def sink(
        self, rows: npt.NDArray[np.void], codes: npt.NDArray[np.int16], hook_ns: int
    ) -> tuple[int, str | None]:
        (pack,) = {column["pack"] for column in self.state.columns}
        assert codes.shape[1] == len(self.state.columns)
        at = 0
        for key, start, n, _, _ in rows.tolist():
            self.rows.append((pack, key, start, codes[at : at + n].copy()))
            at += n
        return len(codes), None

    def control(self, kind: str, record: dict[str, object]) -> None:
        if kind == "CLOSE":
            self.closed.append(record)

    def load(self, *packs: Pack) -> None:
        assert self.tap is not None
        reload.load(self.tap, packs, self.state)

    def run(self, go: Go) -> dict[str, list[tuple[int, list[list[int]]]]]:
        """What one call leaves: by pack, (position, codes) in the order in which it came."""
        self.rows.clear()
        with server.installed(Requests(self.control, lambda: 0)):
            go(self.model)
        found: dict[str, list[tuple[int, list[list[int]]]]] = {}
        for pack, _, start, codes in self.rows:
            found.setdefault(pack, []).append((start, codes.tolist()))
        return found


@pytest.fixture(scope="module")
def other(small: Small) -> Pack:
    """A pack of more probes, for the same model."""
    return pack_of(small.model(), small.folder, OTHER, seed=9, name="small/other")


def watched(small: Small, folder: Path) -> Watched:
    one = Watched(small.model())
    one.tap = attach.put(one.model, small.folder, [folder], one.sink, one.state)
    assert one.tap is not None, one.state
    return one


def saved(pack: Pack, folder: Path) -> Path:
    save_pack(pack, folder)
    return folder


@pytest.mark.parametrize(
    "go",
    [
        pytest.param(generated(), id="generate"),
        pytest.param(
            generated(cache_implementation="static", compile_config=compiling(fullgraph=True)),
            id="generate, static cache, compiled",
            marks=pytest.mark.parts,
        ),
        pytest.param(batched(PROMPTS), id="continuous"),
        pytest.param(
            batched(PROMPTS, varlen_compile_config=compiling(fullgraph=False, dynamic=True)),
            id="continuous, compiled",
            marks=pytest.mark.parts,
        ),
    ],
)
def test_a_loaded_pack_scores_as_one_that_was_there_from_the_start_and_nothing_is_traced(
    small: Small, other: Pack, tmp_path: Path, go: Go
) -> None:
    torch.compiler.reset()
    one = watched(small, small.pack_folder)
    one.run(go)
    first = one.run(go)
    traced = dict(torch._dynamo.utils.counters["stats"])
    one.load(other)
    assert one.state.columns[0]["pack"] == small.pack.digest  # until a step begins
    with torch._dynamo.config.patch(error_on_recompile=True):
        found = one.run(go)
    assert dict(torch._dynamo.utils.counters["stats"]) == traced
    assert (set(first), set(found)) == ({small.pack.digest}, {other.digest})
    assert all(close["errors"] == {} for close in one.closed)
    torch.compiler.reset()
    fresh = watched(small, saved(other, tmp_path / "other"))
    assert fresh.run(go) == found


def test_a_request_under_way_goes_on_under_the_new_pack_from_a_step_on(
    small: Small, other: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for by another thread in the middle of the third step: that one is still the old pack's."""
    one = watched(small, small.pack_folder)
    assert one.tap is not None
    read, steps = one.tap.op.read, []

    def reading(n: int, select: npt.NDArray[np.int64] | None) -> npt.NDArray[np.float32]:
        steps.append(n)
        if len(steps) == 3:
            one.load(other)
        return read(n, select)

    monkeypatch.setattr(one.tap.op, "read", reading)
    found = one.run(generated())
    assert [start for start, _ in found[small.pack.digest]][-4:] == [4, 7, 3, 21]
    assert [start for start, _ in found[other.digest]][:4] == [5, 8, 4, 22]
    assert all(
        close["errors"] == {} and close["emitted"] == close["served"] for close in one.closed
    )


def test_a_prefix_that_was_scored_under_the_old_pack_is_a_named_gap_and_not_spliced_in(
    small: Small, other: Pack
) -> None:
    """The server's own cache of the prefix outlives the pack."""
    one = watched(small, small.pack_folder)
    config = {"page_size": 16, "num_blocks": 64, "max_batch_tokens": 64}

    def turns(model: LlamaForCausalLM) -> list[list[int]]:
        manager = model.init_continuous_batching(
            generation_config=GenerationConfig(
                max_new_tokens=2, do_sample=False, eos_token_id=-1, pad_token_id=0
            ),
            continuous_batching_config=ContinuousBatchingConfig(**config),
        )
        manager.start()
        try:
            for number in range(3):
                manager.add_request([*SHARED, number], request_id=str(number), max_new_tokens=2)
                assert manager.get_result(timeout=30) is not None
                if number == 1:
                    one.load(other)
        finally:
            manager.stop(block=True)
        return []

    found = one.run(turns)
    assert [(close["reused"], close["cached"]) for close in one.closed] == [
        (0, 0),
        (32, 0),
        (0, 32),
    ]
    assert [start for start, _ in found[other.digest]] == [32, 41]


def test_what_may_not_take_the_place_of_a_pack_changes_nothing(small: Small, other: Pack) -> None:
    one = watched(small, small.pack_folder)
    stranger = replace(other, model=replace(other.model, header="00" * 32))
    with pytest.raises(reload.NotLoaded, match="`small/other` is bound to another model"):
        one.load(stranger)
    with pytest.raises(BankError, match="feature `scam` is in pack"):
        one.load(small.pack, other)
    elsewhere = tuple(Probe(p.feature, (0, 2), p.weights, p.bias) for p in other.probes)
    with pytest.raises(DoesNotFit, match=r"read blocks \[0\].*\n  hint: restart the server"):
        one.load(replace(other, probes=elsewhere))
    with pytest.raises(reload.NotLoaded, match="or no pack"):
        one.load()
    assert set(one.run(generated())) == {small.pack.digest}


def test_a_device_that_does_not_find_a_packs_known_answer_keeps_the_old_pack(
    small: Small, other: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = watched(small, small.pack_folder)
    read = ProbeOp.read

    def wrong(self: ProbeOp, *args: object) -> npt.NDArray[np.float32]:
        return read(self, *args) + 1  # type: ignore[arg-type]

    monkeypatch.setattr(ProbeOp, "read", wrong)
    with pytest.raises(HookError, match="self-test"):
        one.load(other)
    monkeypatch.undo()
    assert set(one.run(generated())) == {small.pack.digest}


def test_the_sidecar_hears_of_the_new_columns_before_the_first_row_of_them(
    small: Small, other: Pack, tmp_path: Path
) -> None:
    """On the wire a row says its pack by the greeting it stands behind."""
    heard: list[tuple[str, int]] = []

    class Ear(Listener):
        def _take(self, message: Message) -> None:
            super()._take(message)
            if isinstance(message.body, StepFrame):
                heard.append(("STEP", message.body.codes.shape[1]))
            elif message.kind is Kind.HELLO:
                heard.append(("HELLO", len(message.body["columns"])))

    ear, before = Ear(tmp_path / "tap.sock"), seams.requests
    runtime = Runtime(TapSettings(str(ear.path), (str(small.pack_folder),)))
    model = small.model()
    try:
        runtime.loaded(model, lambda: small.folder)
        with ear.changed:
            assert ear.changed.wait_for(lambda: ("HELLO", 3) in heard, 30)
        generated()(model)
        runtime.load([other])
        generated()(model)
        ear.wait(2 * len(PROMPTS))
    finally:
        server.drop_tap(model)
        runtime.sender.close()
        seams.requests = before
    steps = [entry for entry in heard if entry[1] in (3, 4)]
    change = steps.index(("HELLO", 4))
    assert {width for kind, width in steps[:change]} == {3}
    assert {width for kind, width in steps[change:]} == {4}
    assert steps.count(("STEP", 3)) == steps.count(("STEP", 4)) == 6
    with pytest.raises(reload.NotLoaded, match="no model is scored"):
        Runtime(TapSettings(str(tmp_path / "none.sock"), ())).load([small.pack])


def test_a_runtime_follows_its_list_and_says_why_it_does_not(
    small: Small, other: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the start on: the packs of the list, then others, then none that fit."""
    monkeypatch.setattr(pack_list, "LOOK_S", 1e6)  # only this test looks
    path, before = tmp_path / "packs", seams.requests
    folder = saved(other, tmp_path / "other")
    listed(path, pack_list.pinned(small.pack, small.pack_folder))
    runtime = Runtime(TapSettings(str(tmp_path / "none.sock"), pack_list=str(path)))
    model = small.model()
    try:
        runtime.loaded(model, lambda: small.folder)
        assert (runtime.state.state, runtime.state.digests) == ("live", (small.pack.digest,))
        assert runtime._list is not None
        listed(path, pack_list.pinned(other, folder))
        runtime._list.look()
        generated()(model)
        assert runtime.state.digests == (other.digest,)
        stranger = replace(other, model=replace(other.model, header="00" * 32))
        listed(path, pack_list.pinned(stranger, saved(stranger, tmp_path / "stranger")))
        runtime._list.look()
        generated()(model)
        assert runtime.state.digests == (other.digest,)
        hello = runtime.hello()
        assert (hello["state"], hello["reason"]) == ("live", None)
        assert "`small/other` is bound to another model: header is" in hello["packs_refused"]
    finally:
        server.drop_tap(model)
        runtime.sender.close()
        seams.requests = before


def test_a_list_that_may_not_be_followed_at_the_start_leaves_a_server_that_says_why(
    small: Small, tmp_path: Path
) -> None:
    path, before = tmp_path / "packs", seams.requests
    listed(path, pack_list.pinned(small.pack, small.pack_folder))
    path.chmod(0o666)
    runtime = Runtime(TapSettings(str(tmp_path / "none.sock"), pack_list=str(path)))
    try:
        runtime.loaded(small.model(), lambda: small.folder)
    finally:
        runtime.sender.close()
        seams.requests = before
    assert runtime.state.state == "no-pack"
    assert "others may write it (mode 0666)" in str(runtime.state.reason)
