"""Attacks that are there before the server is: another release, another layout, other files, no tap at all.

Each starts a further server on the same socket, so that the first one's tenants show whether they are disturbed;
it takes effect when that server answers. Re-armed is: the same server started again as it should be.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import urllib.request
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path

from dosimeter.detectors.pack import load_pack, save_pack
from dosimeter.monitor import lab
from dosimeter.monitor.chaos.arena import Arena
from dosimeter.monitor.chaos.attack import Act, Attack
from dosimeter.monitor.chaos.attacks.clients import all_seen


def with_fault(fault: str) -> Act:
    def act(arena: Arena) -> Generator[None]:
        with arena.another(fault) as server:
            arena.in_effect()
            arena.attacker.ask(server.url)
            yield
        yield from again(arena)

    return act


def with_pack(change: Callable[[Path], None]) -> Act:
    def act(arena: Arena) -> Generator[None]:
        folder = arena.folder / "pack"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(lab.PACK, folder)
        change(folder)
        with arena.another(packs=[folder]) as server:
            arena.in_effect()
            arena.attacker.ask(server.url)
            yield
        yield from again(arena)

    return act


def unattached(arena: Arena) -> Generator[None]:
    """The sidecar was told of two servers, and only one of them has the tap's variables."""
    expecting(arena, 2)
    try:
        with arena.another(attached=False) as server:
            arena.in_effect()
            arena.attacker.ask(server.url)
            yield
        yield from again(arena)
    finally:
        expecting(arena, 1)


def expecting(arena: Arena, servers: int) -> None:
    """Restart the sidecar, told of so many."""
    arena.stage.expect = servers
    arena.stage.stop("sidecar", signal.SIGTERM)
    arena.stage.start_sidecar()


def unloaded(arena: Arena) -> Generator[None]:
    """A client asks the server to drop its models, which needs no password, and calls again."""
    with arena.another() as server:
        arena.attacker.replies.clear()
        reset = urllib.request.Request(f"{server.url}/reset", method="POST")
        with contextlib.suppress(OSError):
            urllib.request.urlopen(reset, timeout=10).close()
        arena.in_effect()
        arena.attacker.ask(server.url)
        yield
    yield from again(arena)


def again(arena: Arena) -> Generator[None]:
    with arena.another() as server:
        arena.others = [server]
        yield


def cut_short(folder: Path) -> None:
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def other_probes(folder: Path) -> None:
    """A sound pack for this model, of other probes: a new digest, whose codes no calibration knows."""
    save_pack(replace(load_pack(folder), name="lab/other"), folder)


UNFIT = r"tap of pid \d+: no-pack: (?!no model is loaded yet)"
BLIND = r"tap of pid \d+: blind: "

ATTACKS = (
    Attack(
        "other-release",
        "the server was upgraded",
        with_fault("other-release"),
        BLIND,
        fake="only its version says so",
    ),
    Attack(
        "renamed-layers",
        "the model calls its blocks something else",
        with_fault("renamed-layers"),
        BLIND,
        fake="made by a hand in the server's process",
    ),
    Attack(
        "other-output",
        "the blocks return something else",
        with_fault("other-output"),
        BLIND,
        fake="made by a hand in the server's process",
    ),
    Attack(
        "other-order",
        "the blocks are listed in another order",
        with_fault("other-order"),
        BLIND,
        fake="made by a hand in the server's process",
    ),
    Attack(
        "compiled-before",
        "the model was compiled and run before the tap hooked in",
        with_fault("compiled-before"),
        BLIND,
        fake="made by a hand in the server's process",
    ),
    Attack(
        "pack-cut-short",
        "a pack on disk was replaced by half of one",
        with_pack(cut_short),
        UNFIT,
    ),
    Attack(
        "pack-swapped",
        "another pack for the same model",
        with_pack(other_probes),
        r"rules\.inactive: (?!.*scored here: nothing)",
    ),
    Attack(
        "model-unloaded",
        "a client has the server drop its model",
        unloaded,
        sees=all_seen,
    ),
    Attack(
        "not-attached",
        "one of two servers is started without the tap's variables",
        unattached,
        r"servers: 1 of 2",
        others="counted",
    ),
)
