"""Who may connect to the socket of taps, as the sidecar's file says it.

Owns the keys under `peers`. The system lets in whom the socket's mode, owner and group let in; `uids` narrows that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dosimeter.detectors.findings import visible
from dosimeter.detectors.reader import Reader
from dosimeter.detectors.strict_yaml import Node

MODES = re.compile(r"06[06]0|0666")
MAX_ID = (1 << 32) - 2


@dataclass(frozen=True, slots=True)
class PeersConfig:
    """mode, group: of the socket; group None: as the folder gives it. uids: who may beside our own user; None: all whom
    the mode lets in."""

    mode: int = 0o660
    group: str | None = None  # a name, or a number
    uids: tuple[int, ...] | None = None


def read_peers(node: Node, reader: Reader) -> PeersConfig:
    keys = reader.mapping(node, ("mode", "group", "uids"))
    mode = keys["mode"].written if "mode" in keys else None
    if mode is not None and MODES.fullmatch(mode) is None:
        hint = '`"0600"` our user alone, `"0660"` the group too, `"0666"` everybody who reaches the folder'
        reader.error(keys["mode"], f"`{visible(mode)[:80]}` is no value of `mode`", hint)
        mode = None
    uids = None
    if "uids" in keys:
        found = (reader.integer(item, 0, MAX_ID) for item in reader.items(keys["uids"]))
        uids = tuple(uid for uid in found if uid is not None)
    if mode == "0666" and uids is None:
        hint = "name the users of your servers under `uids`"
        reader.error(keys["mode"], "everybody on this machine could invent scores", hint)
    group = None
    if "group" in keys:
        is_number = keys["group"].kind == "int"
        group = keys["group"].written if is_number else reader.text(keys["group"])
    return PeersConfig(PeersConfig().mode if mode is None else int(mode, 8), group, uids)


def plain_peers(of: PeersConfig) -> dict[str, object]:
    """As `read_peers` reads it."""
    found: dict[str, object] = {"mode": f"{of.mode:04o}"}
    if of.group is not None:
        found["group"] = of.group
    if of.uids is not None:
        found["uids"] = list(of.uids)
    return found
