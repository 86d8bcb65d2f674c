"""Attacks on the sidecar's own processes: stopped, killed, flooded, its clock set."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Generator

from dosimeter.monitor.chaos.arena import Arena
from dosimeter.monitor.chaos.attack import Act, Attack

NO_ANSWER = r"livez: "
FLOOD_CALLS, FLOOD_TOKENS, FLOOD_S = 16, 300, 3.0


def stopped(arena: Arena) -> Generator[None]:
    line = arena.line()
    os.kill(line, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):  # its supervisor may have ended it
            os.kill(line, signal.SIGCONT)


def flooded(arena: Arena) -> Generator[None]:
    """The line stands still while the server runs as much as it can: more than the socket holds."""
    line = arena.line()
    threads = [
        threading.Thread(
            target=arena.attacker.ask,
            args=(arena.server.url,),
            daemon=True,
            kwargs={
                "max_tokens": FLOOD_TOKENS,
                "generation_config": '{"eos_token_id": [1000000], "do_sample": false}',
            },
        )
        for _ in range(FLOOD_CALLS)
    ]
    arena.fault("small-buffer")
    os.kill(line, signal.SIGSTOP)
    for thread in threads:
        thread.start()
    time.sleep(FLOOD_S)
    with contextlib.suppress(ProcessLookupError):
        os.kill(line, signal.SIGCONT)
    yield
    arena.mend("small-buffer")
    for thread in threads:
        thread.join(60)


def killed(arena: Arena) -> Generator[None]:
    arena.stage.stop("sidecar", signal.SIGKILL)
    yield
    arena.stage.start_sidecar()


def line_killed(arena: Arena) -> Generator[None]:
    os.kill(arena.line(), signal.SIGKILL)
    yield


def clock_set(seconds: float) -> Act:
    def act(arena: Arena) -> Generator[None]:
        arena.set_clock(seconds)
        yield
        arena.set_clock(0)

    return act


ATTACKS = (
    Attack("line-stopped", "stops the line (SIGSTOP)", stopped, NO_ANSWER, others="counted"),
    Attack(
        "flood",
        "the server runs more than the socket holds while the line stands still",
        flooded,
        r"rows_dropped|coverage\.unscored\.dropped",
        others="counted",
        fake="the socket's buffer is made small: seconds of the line's stop for minutes",
    ),
    Attack(
        "line-killed",
        "kills the line (SIGKILL)",
        line_killed,
        r"line ended with -9|coverage\.unscored",
        others="counted",
    ),
    Attack(
        "sidecar-killed", "kills the whole sidecar (SIGKILL)", killed, NO_ANSWER, others="counted"
    ),
    Attack(
        "clock-forward",
        "sets the clock two hours forward",
        clock_set(7200),
        r"clock\.jumps",
        fake="the clock of these processes, not the machine's",
    ),
    Attack(
        "clock-back",
        "sets the clock two hours back",
        clock_set(-7200),
        r"clock\.jumps",
        fake="the clock of these processes, not the machine's",
    ),
)
