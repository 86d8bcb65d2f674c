"""Where attacks are made: a real stage, a tenant who calls all the while, and a hand inside each server.

It owns the processes, the callers and the files an attack may reach for, and answers whether all is well. What
an attack does with them, and what the monitor should say of it, is not known here.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import struct
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from dosimeter.monitor import lab
from dosimeter.monitor.chaos.callers import (
    RULES,
    Caller,
    Reply,
    answered,
    repeated,
    scored,
)
from dosimeter.monitor.chaos.inside import hand
from dosimeter.monitor.chaos.scores import Scores
from dosimeter.monitor.chaos.voice import NO_GAP, Look
from dosimeter.monitor.lab.stage import Stage

SITE = Path(__file__).parent / "inside" / "site"
START_S = 60.0
SETTLE_S = 6.0
PAUSE_S = 0.2
"""Between two calls of the bystander."""
FRESH_S = 3.0
"""A call is news for this long: older ones say nothing about whether all is well now."""


class ArenaError(RuntimeError):
    """The stage is not well, and a fresh one was not either."""


@dataclass(frozen=True, slots=True)
class Server:
    """One model server on the stage."""

    name: str
    url: str
    pid: int
    hand: Path  # where its faults are asked for


class Arena:
    """One stage, for the length of a `with`; renewed when an attack has left it unwell."""

    def __init__(self, say: Callable[[str], None] = lambda line: None) -> None:
        self._say = say
        self._serial = 0
        self.effective: float | None = None
        """When the present attack took effect (monotonic), if it says so: it may begin long before."""
        self.note: str = ""  # what the present attack remembers

    # --- its life

    def __enter__(self) -> Arena:
        self._begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def renew(self) -> None:
        """A fresh stage. Raises ArenaError."""
        self._say("a fresh stage: the one before was not well; the end of its server's log:")
        self._say(self.stage.log_tail("server", 30))
        self._end()
        self._begin()

    def _begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="dosimeter-chaos-"))
        self.rules, self._clock = self.folder / "rules.yaml", self.folder / "clock"
        self.rules.write_text(RULES)
        self._clock.write_bytes(bytes(8))
        self.stage = Stage(
            lab.MODEL,
            packs=[lab.PACK],
            calibrations=[lab.CALIBRATION],
            rules=[self.rules],
            environment=self._environment("server"),
        )
        try:
            self.stage.__enter__()
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        self.scores = Scores(self.ledger)
        pid = self.stage.pid("server")
        self.server = Server("server", self.stage.url, pid, self._hand("server"))
        self.others: list[Server] = []  # further ones that have to be live for all to be well
        model = str(self.stage.model)
        self.bystander, self.attacker = Caller("bystander", model), Caller("attacker", model)
        self._calling = contextlib.ExitStack()
        calls = repeated(lambda: self.bystander.ask(self.server.url), every_s=PAUSE_S)
        self._calling.enter_context(calls)
        if not self._until(self.well, START_S):
            log = "\n".join(self.stage.log_tail(name) for name in ("server", "sidecar"))
            self._end()
            raise ArenaError(f"the stage did not become well in {START_S:.0f} s\n{log}")

    def _end(self) -> None:
        with contextlib.suppress(OSError, KeyError):  # a server that an attack left stopped
            os.kill(self.server.pid, signal.SIGCONT)
        self.stage.close()
        self._calling.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _hand(self, name: str) -> Path:
        return self.folder / f"{name}.hand"

    def _environment(self, name: str, fault: str | None = None) -> dict[str, str]:
        path = os.pathsep.join(filter(None, [str(SITE), os.environ.get("PYTHONPATH")]))
        settings = {
            "hand": str(self._hand(name)),
            "fault": fault,
            "clock": str(self._clock),
        }
        return {"PYTHONPATH": path, hand.ENV: json.dumps(settings)}

    # --- what attacks reach for

    def in_effect(self) -> None:
        """From now on tokens can go unseen: what came before was preparation."""
        self.effective = time.monotonic()

    @contextlib.contextmanager
    def another(
        self,
        fault: str | None = None,
        packs: Sequence[Path] = (lab.PACK,),
        *,
        attached: bool = True,
    ) -> Iterator[Server]:
        """A further server of the same model, that answers; ended at the end. fault: one it is loaded with."""
        self._serial += 1
        name = f"another-{self._serial}"
        try:
            url = self.stage.another_server(
                name, packs, self._environment(name, fault), attached=attached
            )
            yield Server(name, url, self.stage.pid(name), self._hand(name))
        finally:
            self.others = [server for server in self.others if server.name != name]
            self.stage.stop(name, signal.SIGKILL)

    def fault(self, name: str, server: Server | None = None, argument: str = "") -> None:
        """Have a fault made inside the server; until `mend`. Raises HandError."""
        hand.ask((server or self.server).hand, "begin", name, argument)

    def mend(self, name: str, server: Server | None = None) -> None:
        hand.ask((server or self.server).hand, "end", name)

    def set_clock(self, seconds: float) -> None:
        """The clocks of all processes of the stage are off by so much. In place: they have the file mapped."""
        with self._clock.open("r+b") as file:
            file.write(struct.pack("<d", seconds))

    @property
    def socket(self) -> Path:
        return self.stage.folder / "tap.sock"

    @property
    def ledger(self) -> Path:
        return self.stage.folder / "ledger.db"

    def token_of(self, text: str) -> int:
        """The model's token for a piece of text that nobody else uses."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.stage.model / "tokenizer.json"))
        return int(tokenizer.encode(text, add_special_tokens=False).ids[-1])

    def line(self, but: int = 0) -> int:
        """The line's process, unless it is `but`; 0: none."""
        with contextlib.suppress(OSError, KeyError):
            for pid in self.stage.children("sidecar"):
                if pid != but and b"--line-only" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return pid
        return 0

    # --- what is to be seen

    def look(self) -> Look:
        """What anyone sees from outside."""
        livez = self.stage.livez()
        status = self.stage.status() if livez != "no answer" else None
        log = [
            line
            for line in self.stage.log_tail("sidecar", 2000).splitlines()
            if line.startswith(("WARNING", "ERROR", "dosimeter sidecar:"))
        ]
        return Look(livez, status, self.stage.exit_code("sidecar"), tuple(log))

    def well(self, since: float | None = None) -> bool:
        """All servers live, nothing stalled, and a call of the bystander since then scored to its end."""
        look = self.look()
        if look.livez != "ok" or look.status is None:
            return False
        live = {tap["pid"] for tap in look.status["taps"] if tap["state"] == "live"}
        wanted = {server.pid for server in (self.server, *self.others)}
        broken = look.status["ledger"]["stalled"] or look.status["rules"]["error"]
        if broken or not wanted <= live:
            return False
        after = time.monotonic() - FRESH_S if since is None else since
        if not self._any_scored(answered(self.bystander_since(after))):
            return False
        probes = [self.attacker.ask(server.url) for server in self.others]
        return self._until(lambda: self.scored(answered(probes)) == len(probes), 2.0)

    def bystander_since(self, began: float) -> list[Reply]:
        return [reply for reply in list(self.bystander.replies) if reply.began >= began]

    def settled(self, replies: Sequence[Reply]) -> int:
        """How many of these were scored to the end, once what was on its way has come."""
        expected = answered(replies)
        self._until(lambda: self.scored(expected) == len(expected), SETTLE_S)
        self._until(lambda: not self.unaccounted(), SETTLE_S)
        return self.scored(expected)

    def scored(self, replies: Sequence[Reply]) -> int:
        return scored(replies, self.scores.tokens_of())

    def unscored(self) -> Counter[str]:
        """Tokens without a score, by reason, of all servers this sidecar has met."""
        found = self._status()["coverage"]["unscored"]
        return Counter({reason: int(n) for reason, n in found.items() if reason not in NO_GAP})

    def unaccounted(self) -> int:
        """Of every server that is known now, and of all together."""
        status = self._status()
        each = sum(abs(int(tap["coverage"]["unaccounted"])) for tap in status["taps"])
        return max(each, abs(int(status["coverage"]["unaccounted"])))

    def _status(self) -> dict[str, Any]:
        deadline = time.monotonic() + START_S
        while (found := self.stage.status()) is None:
            if time.monotonic() > deadline:
                raise ArenaError("the sidecar's `/status` does not answer")
        return found

    def _any_scored(self, replies: Sequence[Reply]) -> bool:
        return bool(replies) and self.scored(replies) > 0

    @staticmethod
    def _until(ready: Callable[[], bool], patience_s: float) -> bool:
        deadline = time.monotonic() + patience_s
        while not ready():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True
