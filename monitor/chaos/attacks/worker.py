"""Attacks inside the server's process while it runs: other libraries, other weights, the tap's own parts."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator

from dosimeter.monitor.chaos.arena import Arena
from dosimeter.monitor.chaos.attack import Act, Attack
from dosimeter.monitor.chaos.callers import answered, repeated
from dosimeter.monitor.chaos.inside import hand

BLIND = r"tap of pid \d+: blind: |coverage\.unscored\.tap_error"


def made(fault: str) -> Act:
    """A fault of the hand in the server."""

    def act(arena: Arena) -> Generator[None]:
        arena.fault(fault)
        yield
        arena.mend(fault)

    return act


def compiled_after(arena: Arena) -> Generator[None]:
    """Nothing is served while the model is being compiled: it takes effect with the first answer after that."""
    arena.fault("compiled-after")
    arena.attacker.ask(arena.server.url)
    arena.in_effect()
    yield
    arena.mend("compiled-after")


def frozen(arena: Arena) -> Generator[None]:
    os.kill(arena.server.pid, signal.SIGSTOP)
    yield
    os.kill(arena.server.pid, signal.SIGCONT)


def weights_changed(how: str) -> Act:
    """On a server of its own: only loading the model anew makes its scores mean something again."""

    def act(arena: Arena) -> Generator[None]:
        with arena.another() as server:
            arena.attacker.ask(server.url)
            arena.fault("weights-changed", server, how)
            arena.in_effect()
            with repeated(lambda: arena.attacker.ask(server.url), every_s=0.5):
                yield
        with arena.another() as server:
            arena.others = [server]
            yield

    return act


def front_passed_by(arena: Arena) -> Generator[None]:
    """Calls that no front has seen are scored all the same: what is lost is who asked."""
    arena.note = str(by_scheduler(arena))
    arena.attacker.replies.clear()
    arena.fault("front-passed-by", argument="attacker")
    arena.attacker.ask(arena.server.url)
    yield
    arena.mend("front-passed-by")


def second_tap(arena: Arena) -> Generator[None]:
    """The second is refused by the seams themselves, and says so to whoever started it."""
    arena.note = ""
    try:
        arena.fault("second-tap")
    except hand.HandError as error:
        arena.note = str(error)
    arena.attacker.replies.clear()
    arena.attacker.ask(arena.server.url)
    yield


def refused_and_scored(arena: Arena) -> str | None:
    replies = answered(arena.attacker.replies)
    seen = replies and arena.scored(replies) == len(replies)
    return f"refused it, and saw it all: {arena.note}" if arena.note and seen else None


def counted_by_the_scheduler(arena: Arena) -> str | None:
    """The calls' tokens are in the account, by the server's other count, and none of them is a gap."""
    tokens = sum(reply.tokens for reply in answered(arena.attacker.replies))
    seen = tokens and by_scheduler(arena) >= int(arena.note) + tokens and not arena.unaccounted()
    return f"saw it all: {tokens} tokens, counted by the server's scheduler" if seen else None


def by_scheduler(arena: Arena) -> int:
    status = arena.stage.status()
    return 0 if status is None else int(status["coverage"]["served_by"].get("scheduler", 0))


CHANGED = r"tap of pid \d+: blind: .*changed|coverage\.unscored\.model_changed"
INSIDE = "made by a hand in the server's process"

ATTACKS = (
    Attack(
        "hooks-cleared",
        "another library removes every forward hook",
        made("hooks-cleared"),
        BLIND,
        others="counted",
        fake=INSIDE,
    ),
    Attack(
        "compiled-after",
        "the model is compiled after the tap has hooked in",
        compiled_after,
        BLIND,
        others="counted",
        fake=INSIDE,
    ),
    Attack(
        "weights-changed",
        "weights are changed in place after the tap has hooked in",
        weights_changed(""),
        CHANGED,
        fake=INSIDE,
    ),
    Attack(
        "weights-quietly",
        "weights are changed past torch's own count of writes",
        weights_changed("quietly"),
        CHANGED,
        fake=INSIDE,
    ),
    Attack(
        "adapter-loaded",
        "a low-rank adapter is put into the model that serves",
        made("adapter-loaded"),
        CHANGED,
        others="counted",
        fake=INSIDE,
    ),
    Attack(
        "second-tap",
        "a second monitor attaches to the model that is watched",
        second_tap,
        sees=refused_and_scored,
        fake=INSIDE,
    ),
    Attack(
        "connection-cut",
        "the tap's connection breaks",
        made("connection-cut"),
        r"tap of pid \d+: absent|coverage\.unscored\.no_sidecar",
        others="counted",
        fake=INSIDE,
    ),
    Attack(
        "sender-ended",
        "the tap's own thread ends and its connection breaks",
        made("sender-ended"),
        r"tap of pid \d+: absent",
        others="counted",
        fake=INSIDE,
    ),
    Attack(
        "front-passed-by",
        "calls come in that no front has seen",
        front_passed_by,
        sees=counted_by_the_scheduler,
        fake=INSIDE,
    ),
    Attack(
        "server-frozen",
        "stops the server (SIGSTOP): it neither answers nor ends",
        frozen,
        r"tap of pid \d+: silent",
    ),
)
