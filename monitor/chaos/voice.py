"""What the monitor says to whoever looks from outside: `/livez`, `/status`, its log and its exit code, as words.

Every word names its place. Prefix-cache tokens are no gap: they have their scores in an earlier request. It
only reads what it is given, and knows nothing of attacks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

NO_GAP = frozenset({"prefix_cache"})
TAP_COUNTS = (
    *("late_rows", "rows_without_open", "counted_twice", "rows_not_evaluated"),
    *("errors", "rows_dropped", "records_lost", "records_cut"),
)
LATE_S = 5.0
SOCKET_COUNTS = ("hostile", "failed", "refused")


@dataclass(frozen=True, slots=True)
class Look:
    """One look. status: None if it did not answer. exit_code: None while the sidecar runs."""

    livez: str
    status: Mapping[str, Any] | None
    exit_code: int | None = None
    log: tuple[str, ...] = ()  # its warnings and errors so far


@dataclass(frozen=True, slots=True)
class Voice:
    """states: true now, and gone when it is over. events: happened. counts: only grow."""

    states: frozenset[str] = frozenset()
    events: frozenset[str] = frozenset()
    counts: Mapping[str, int] = field(default_factory=dict)

    def since(self, before: Voice) -> list[str]:
        """What it says now and did not say before."""
        grown = {
            name: count - known if count >= (known := before.counts.get(name, 0)) else count
            for name, count in self.counts.items()
        }
        return [
            *sorted(self.states - before.states),
            *sorted(self.events - before.events),
            *(f"{name} +{more}" for name, more in grown.items() if more),
        ]


def voice(look: Look) -> Voice:
    states: list[str] = []
    if look.exit_code is not None:
        states.append(f"sidecar ended with {look.exit_code}")
    if look.livez != "ok":
        states.append(f"livez: {look.livez}")
    found = look.status
    if found is None:
        return Voice(frozenset(states), frozenset(look.log))
    events = list(look.log)
    counts = {f"coverage.unaccounted of {source}": n for source, n in _unaccounted(found).items()}
    for reason, tokens in found["coverage"]["unscored"].items():
        if reason not in NO_GAP:
            counts[f"coverage.unscored.{reason}"] = tokens
    for tap in found["taps"]:
        who = f"tap of pid {tap['pid']}"
        if tap["state"] != "live":
            states.append(f"{who}: {tap['state']}: {tap['reason']}")
        if tap["last_error"]:
            events.append(f"{who}: last_error: {tap['last_error']}")
        counts |= {f"{who}: {name}": tap[name] for name in TAP_COUNTS if tap[name]}
    rules, ledger, socket = found["rules"], found["ledger"], found["socket"]
    if rules["error"]:
        states.append(f"rules.error: {rules['error']}")
    states += [f"rules.inactive: {name}: {why}" for name, why in rules["inactive"].items()]
    if found["servers"]["missing"]:
        states.append(f"servers: {found['servers']['missing']}")
    for part, name in ((ledger, "ledger"), (socket, "socket")):
        states += [f"{name}.{key}: {part[key]}" for key in ("stalled", "lost") if part.get(key)]
    counts["clock.jumps"] = found["clock"]["jumps"]
    counts["ledger.refused"] = ledger["refused"]
    counts |= {f"socket.{name}": socket[name] for name in SOCKET_COUNTS}
    if socket["last_refusal"]:
        events.append(f"socket.last_refusal: {socket['last_refusal']}")
    delivery = found["delivery"]
    if delivery.get("error"):
        states.append(f"delivery.error: {delivery['error']}")
    for name, sink in delivery["sinks"].items():
        if sink["last_error"]:
            states.append(f"delivery.{name}: {sink['last_error']}")
        if sink["oldest_queued_s"] > LATE_S:
            states.append(f"delivery.{name}: an alert is queued for more than {LATE_S:.0f} s")
    return Voice(frozenset(states), frozenset(events), counts)


def _unaccounted(found: Mapping[str, Any]) -> dict[str, int]:
    """By server process: an excess of one must not hide what is missing at another."""
    return {
        f"pid {tap['pid']}": abs(tap["coverage"]["unaccounted"])
        for tap in found["taps"]
        if tap["coverage"]["unaccounted"]
    }
