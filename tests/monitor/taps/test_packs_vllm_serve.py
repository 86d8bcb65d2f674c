"""A running `vllm serve`, eager and compiled, is told of other packs by the list it follows.

One that had those packs from its start is the reference, to the bit. What is compiled is read in the server's log.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dosimeter.detectors.pack import Pack, save_pack
from dosimeter.monitor.cli import packs
from dosimeter.monitor.taps import pack_list

from .conftest import Small, pack_of
from .test_pack_list import listed
from .test_vllm_serve import Both, Server, eligible, serving

__all__ = ["eligible"]
OTHER = {"scam": 0.25, "sycophancy": -1.0, "hedging": 0.5, "deception": 0.0}
AFTER = "this is a test of things, hello world, and no cache has seen it"
SERVED = (
    *("--max-num-batched-tokens", "64", "--block-size", "32", "--num-gpu-blocks-override", "64"),
    "--no-enable-prefix-caching",
)


@pytest.fixture
def other(eligible: Small, tmp_path: Path) -> tuple[Pack, Path]:
    pack = pack_of(eligible.model(), eligible.folder, OTHER, seed=9, name="small/other")
    save_pack(pack, tmp_path / "other")
    return pack, tmp_path / "other"


def tap(listener: Both) -> dict[str, Any]:
    """What the tap, and not the front, said last."""
    return [hello for hello in listener.hellos if hello["role"] == "tap"][-1]


def until(listener: Both, said: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    with listener.changed:
        assert listener.changed.wait_for(lambda: said(tap(listener)), 30), tap(listener)
        return tap(listener)


def scores(digest: str) -> Callable[[dict[str, Any]], bool]:
    return lambda hello: {column["pack"] for column in hello["columns"]} == {digest}


def ask(server: Server, name: str) -> dict[int, list[int]]:
    """Codes of one request, by position."""
    server.post(name, "/v1/completions", prompt=AFTER, max_tokens=12, temperature=0.0)
    (key,) = server.listener.keys_of(name, 1)
    return {position: row.tolist() for position, row in server.listener.codes[key].items()}


def graphs(server: Server) -> int:
    """How many were traced in this server, or loaded as traced before."""
    return len(re.findall(r"torchdynamo start tracing|AOT compil", server.log.read_text()))


def refuses(server: Server, eligible: Small, pack: Pack, folder: Path, path: Path) -> None:
    """What a tap refuses is said, and the packs it has go on."""
    before = ask(server, "before")

    def refused(why: str) -> None:
        hello = until(server.listener, lambda hello: why in (hello["packs_refused"] or ""))
        assert (hello["state"], scores(eligible.pack.digest)(hello)) == ("live", True)
        assert ask(server, why) == before

    stranger = replace(pack, model=replace(pack.model, blocks="00" * 32))
    save_pack(stranger, folder.parent / "stranger")
    packs.write(path, [folder.parent / "stranger"])
    refused("`small/other` is bound to another model: blocks is")
    listed(path, pack_list.pinned(pack, folder), mode=0o666)
    refused("others may write it (mode 0666)")


@pytest.mark.parts
@pytest.mark.parametrize("mode", [("--enforce-eager",), ()], ids=["eager", "compiled"])
def test_packs_change_under_traffic_and_no_graph_is_made_for_them(
    eligible: Small, other: tuple[Pack, Path], tmp_path: Path, mode: Sequence[str]
) -> None:
    pack, folder = other
    path, over = tmp_path / "packs", threading.Event()
    packs.write(path, [eligible.pack_folder])
    (tmp_path / "changed").mkdir()
    (tmp_path / "fresh").mkdir()
    attached, served = ["--pack-list", str(path)], [*SERVED, *mode]
    logs = {"TORCH_LOGS": "dynamo"}
    with serving(eligible, tmp_path / "changed", attached, served, **logs) as server:
        found = server.listener

        def client(number: int) -> None:
            while not over.is_set():
                options = {"max_tokens": 60, "ignore_eos": True, "temperature": 1.0}
                server.post("traffic", "/v1/completions", prompt=f"hello {number}", **options)

        until(found, lambda hello: hello["state"] == "live")
        if mode:
            refuses(server, eligible, pack, folder, path)
        clients = [threading.Thread(target=client, args=(n,)) for n in range(3)]
        for one in clients:
            one.start()
        try:
            found.wait(3)
            made = graphs(server)
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
        assert graphs(server) == made
        assert (made > 0) == (not mode)
        widths = {len(row) for rows in found.codes.values() for row in rows.values()}
        assert widths == {len(eligible.pack.features), len(OTHER)}
        for close in found.closed.values():
            counted = close["emitted"] + close["cached"] + sum(close["errors"].values())
            assert close["served"] == counted, close
            assert close["errors"] == {}  # no drafts here: not one row is lost
    with serving(eligible, tmp_path / "fresh", attached, served) as server:
        until(server.listener, lambda hello: hello["state"] == "live")
        assert ask(server, "after") == after
