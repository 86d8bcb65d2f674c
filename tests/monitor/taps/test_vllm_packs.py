"""Other packs for the tap in vLLM's worker: by the list that it follows, once the path was proven.

On a runner made of vLLM's own steps, without vLLM; `test_packs_vllm_serve` has the same inside it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dosimeter.detectors.frames import Codes, to_codes
from dosimeter.detectors.pack import Pack, save_pack
from dosimeter.monitor.taps import pack_list
from dosimeter.monitor.taps.settings import TapSettings

from .conftest import Small, hidden_of, pack_of
from .test_pack_list import listed
from .test_vllm_worker import PROMPT, Engine, Runner

OTHER = {"scam": 0.25, "sycophancy": -1.0, "hedging": 0.5, "deception": 0.0}


@pytest.fixture
def other(small: Small, tmp_path: Path) -> tuple[Pack, Path]:
    pack = pack_of(small.model(), small.folder, OTHER, seed=9, name="small/other")
    save_pack(pack, tmp_path / "other")
    return pack, tmp_path / "other"


@pytest.fixture
def path(tmp_path: Path, small: Small, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(pack_list, "LOOK_S", 1e6)  # only the test looks
    path = tmp_path / "packs"
    listed(path, pack_list.pinned(small.pack, small.pack_folder))
    return path


@pytest.fixture
def engine(small: Small, path: Path) -> Engine:
    settings = pack_list.resolved(TapSettings("none.sock", pack_list=str(path)))
    return Engine(Runner(small), settings)


def expected(small: Small, pack: Pack) -> Codes:
    hidden = hidden_of(small.model(), PROMPT)
    columns = [np.einsum("ltd,ld->t", hidden, p.weights) + p.bias for p in pack.probes]
    return to_codes(np.stack(columns, axis=1))


def look(engine: Engine) -> None:
    assert engine.watch._list is not None
    engine.watch._list.look()


def test_a_listed_pack_takes_over_at_a_step_and_its_codes_are_its_own(
    engine: Engine, small: Small, path: Path, other: tuple[Pack, Path]
) -> None:
    engine.canary(small)
    engine.run("a", PROMPT)
    listed(path, pack_list.pinned(*other))
    look(engine)
    assert engine.watch.state.digests == (small.pack.digest,)  # until a step begins
    engine.run("b", PROMPT)
    assert engine.watch.state.digests == (other[0].digest,)
    before, after = engine.wire.codes
    assert np.abs(before.astype(int) - expected(small, small.pack)).max() <= 1
    assert np.abs(after.astype(int) - expected(small, other[0])).max() <= 1
    assert [(one["served"], one["emitted"], one["errors"]) for one in engine.wire.closed] == [
        (5, 5, {})
    ] * 2


def test_what_is_refused_is_said_and_the_packs_there_go_on(
    engine: Engine, small: Small, path: Path, other: tuple[Pack, Path]
) -> None:
    engine.canary(small)
    listed(path, pack_list.pinned(*other))
    path.chmod(0o666)
    look(engine)
    engine.run("a", PROMPT)
    (codes,) = engine.wire.codes
    assert codes.shape == (5, len(small.pack.features))
    hello = engine.watch.hello()
    assert (hello["state"], hello["reason"]) == ("live", None)
    assert "others may write it (mode 0666)" in hello["packs_refused"]
    path.chmod(0o644)
    look(engine)
    engine.run("b", PROMPT)
    assert engine.watch.state.digests == (other[0].digest,)
    assert engine.watch.hello()["packs_refused"] is None


def test_a_path_that_is_not_proven_yet_keeps_the_packs_whose_canaries_are_on_their_way(
    engine: Engine, small: Small, path: Path, other: tuple[Pack, Path]
) -> None:
    """Else what comes back would be held against columns that are not there any more."""
    assert engine.watch._list is not None
    listed(path, pack_list.pinned(*other))
    assert engine.watch._list._thread is None
    engine.canary(small)
    assert engine.watch._list._thread is not None
    assert engine.wire.states[-1] == ("live", None)
    look(engine)
    engine.run("a", PROMPT)
    assert engine.watch.state.digests == (other[0].digest,)


def test_a_tap_that_was_taken_off_refuses_other_packs(
    engine: Engine, small: Small, path: Path, other: tuple[Pack, Path]
) -> None:
    engine.canary(small)
    engine.runner.reload_weights()
    listed(path, pack_list.pinned(*other))
    look(engine)
    assert "no model is scored here" in engine.watch.hello()["packs_refused"]
