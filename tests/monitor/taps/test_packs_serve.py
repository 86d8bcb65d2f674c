"""A running `transformers serve` is told of other packs by the list it follows, as an operator does it.

A server that had those packs from its start is the reference, to the bit. Nothing of a request may be lost by the
change, and what a tap refuses leaves it as it was.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from dosimeter.detectors.pack import Pack, save_pack
from dosimeter.monitor.cli import packs
from dosimeter.monitor.taps import pack_list

from .conftest import Small, pack_of
from .test_pack_list import listed
from .test_serve import BATCHING, Listener, Server, serving

OTHER = {"scam": 0.25, "sycophancy": -1.0, "hedging": 0.5, "deception": 0.0}
AFTER = [
    {"role": "system", "content": "a test of other things than before"},
    {"role": "user", "content": "hello world, this is a test of things"},
]


@pytest.fixture
def other(small: Small, tmp_path: Path) -> tuple[Pack, Path]:
    pack = pack_of(small.model(), small.folder, OTHER, seed=9, name="small/other")
    save_pack(pack, tmp_path / "other")
    return pack, tmp_path / "other"


def until(listener: Listener, said: Callable[[dict], bool]) -> dict:
    """What the tap greeted with last, once it says so."""
    with listener.changed:
        assert listener.changed.wait_for(lambda: said(listener.hellos[-1]), 30), listener.hellos
        return listener.hellos[-1]


def scores(digest: str) -> Callable[[dict], bool]:
    return lambda hello: {column["pack"] for column in hello["columns"]} == {digest}


def ask(server: Server, name: str) -> dict[int, list[int]]:
    """Codes of one request, by position."""
    server.post(False, {"x-request-id": name}, messages=AFTER)
    found = server.listener

    def keys() -> list[int]:
        return [k for k in found.closed if found.opened[k]["labels"].get("request_id") == name]

    with found.changed:
        assert found.changed.wait_for(keys, 30)
    return {position: row.tolist() for position, row in found.codes[keys()[0]].items()}


@pytest.mark.parts
@pytest.mark.parametrize("options", [BATCHING, ()], ids=["continuous batching", "sequential"])
def test_packs_change_under_traffic_and_score_as_if_they_had_been_there_from_the_start(
    small: Small, other: tuple[Pack, Path], tmp_path: Path, options: Sequence[str]
) -> None:
    pack, folder = other
    path, over, turns = tmp_path / "packs", threading.Event(), count(100)
    packs.write(path, [small.pack_folder])
    (tmp_path / "changed").mkdir()
    (tmp_path / "fresh").mkdir()
    attached = ["--pack-list", str(path)]
    with serving(small, tmp_path / "changed", attached, options) as server:
        found = server.listener

        def client(number: int) -> None:
            while not over.is_set():
                name = f"traffic-{next(turns)}"  # of two with one id the server loses one
                talk = [{"role": "user", "content": f"{name} hello world"}]
                server.post(number % 2 == 0, {"x-request-id": name}, new=24, messages=talk)

        clients = [threading.Thread(target=client, args=(n,)) for n in range(3)]
        for one in clients:
            one.start()
        try:
            found.wait(3)
            assert scores(small.pack.digest)(found.hellos[-1])
            packs.write(path, [folder])
            until(found, scores(pack.digest))
            with found.changed:
                done = len(found.closed)
            found.wait(done + 4)  # of which one at least began before
        finally:
            over.set()
            for one in clients:
                one.join()
        after = ask(server, "after")
        widths = {len(row) for rows in found.codes.values() for row in rows.values()}
        assert widths == {len(small.pack.features), len(OTHER)}
        for close in found.closed.values():
            counted = close["emitted"] + close["cached"] + sum(close["errors"].values())
            assert close["served"] == counted, close
            assert close["errors"] == {}  # no drafts here: not one row is lost
        assert {hello["state"] for hello in found.hellos[1:]} <= {"live", "no-pack"}
        assert found.hellos[-1]["errors"] == 0
    with serving(small, tmp_path / "fresh", attached, options) as server:
        assert ask(server, "after") == after


@pytest.mark.parts
def test_what_a_tap_refuses_is_said_and_the_packs_it_has_go_on(
    small: Small, other: tuple[Pack, Path], tmp_path: Path
) -> None:
    """A pack of another model, one that was exchanged behind its list, a list that anybody may write."""
    pack, folder = other
    path = tmp_path / "packs"
    packs.write(path, [small.pack_folder])
    (tmp_path / "served").mkdir()
    with serving(small, tmp_path / "served", ["--pack-list", str(path)], ()) as server:
        found = server.listener
        before = ask(server, "before")

        def refused(why: str) -> None:
            hello = until(found, lambda hello: why in (hello["packs_refused"] or ""))
            assert (hello["state"], scores(small.pack.digest)(hello)) == ("live", True)
            assert ask(server, why) == before

        stranger = replace(pack, model=replace(pack.model, blocks="00" * 32))
        save_pack(stranger, tmp_path / "stranger")
        packs.write(path, [tmp_path / "stranger"])
        refused("`small/other` is bound to another model: blocks is")
        listed(path, pack_list.pinned(stranger, folder))
        refused("the list says")
        listed(path, pack_list.pinned(pack, folder), mode=0o666)
        refused("others may write it (mode 0666)")
        path.chmod(0o644)
        until(found, lambda hello: hello["packs_refused"] is None)
        after = ask(server, "after")
        assert scores(pack.digest)(found.hellos[-1])
        assert np.array(list(after.values())).shape == (len(before), len(OTHER))
