"""The attacks there are, in the order in which they are run: what needs no server of its own comes first."""

from __future__ import annotations

from collections.abc import Sequence

from dosimeter.monitor.chaos.attack import Attack
from dosimeter.monitor.chaos.attacks import clients, files, sidecar, sockets, start, worker

ATTACKS: tuple[Attack, ...] = (
    *sockets.ATTACKS,
    *clients.ATTACKS,
    *worker.ATTACKS,
    *files.ATTACKS,
    *sidecar.ATTACKS,
    *start.ATTACKS,
)


def chosen(names: Sequence[str]) -> list[Attack]:
    """Those named, all if none is. Raises KeyError with the names there are."""
    known = {attack.name: attack for attack in ATTACKS}
    for name in names:
        if name not in known:
            raise KeyError(f"no attack `{name}`\n  hint: one of {', '.join(known)}")
    return [known[name] for name in names] or list(ATTACKS)


def listing() -> str:
    width = max(len(attack.name) for attack in ATTACKS)
    return "\n".join(f"{attack.name:<{width}}  {attack.does}" for attack in ATTACKS)
