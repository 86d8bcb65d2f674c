"""The kit: a pack planted, servers run one after the other, their cases and their traffic, the outcomes.

`SERVERS` is what it knows to start by itself; any other server is a command of the user's. Everything lies in
one temporary folder, and nothing is left behind.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dosimeter.monitor.conformance import continuous, generate, inside, over_http
from dosimeter.monitor.conformance.asked import Read
from dosimeter.monitor.conformance.calls import Calls, reader
from dosimeter.monitor.conformance.case import MIXED, CannotRun, Case, Outcome, S, carry_out
from dosimeter.monitor.conformance.ear import Ear
from dosimeter.monitor.conformance.planted import plant
from dosimeter.monitor.conformance.reference import Reference
from dosimeter.monitor.conformance.server import running
from dosimeter.monitor.conformance.soak import Amount, Traffic, soak
from dosimeter.monitor.conformance.texts import Texts

LAB = Path(__file__).resolve().parent.parent / "lab" / "dosimeter-lab"
SERVERS = {
    "generate": "`model.generate`, in this process",
    "continuous": "continuous batching, in this process",
    "serve": "`transformers serve`, a request at a time",
    "serve-continuous": "`transformers serve --continuous-batching`",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """servers: of SERVERS; command: a server's own command line, instead. tokens, cancels: of mixed traffic."""

    model: Path = LAB
    servers: Sequence[str] = tuple(SERVERS)
    command: Sequence[str] = ()
    only: str = ""
    tokens: int = 20_000
    cancels: int = 40
    seed: int = 0


class Kit:
    """One model, one pack, one reference, for all servers."""

    def __init__(self, wanted: Wanted, folder: Path, say: Callable[[str], None]) -> None:
        self._wanted, self._folder, self._say = wanted, folder, say
        if not (wanted.model / "config.json").is_file():
            raise CannotRun(f"{wanted.model}: no model's folder: no `config.json` in it")
        say(f"reading {wanted.model}")
        try:
            self._reference = Reference(wanted.model)
            plant(self._reference, wanted.model, folder / "pack", wanted.seed)
        except (OSError, ValueError, AttributeError) as error:
            raise CannotRun(
                f"{wanted.model}: no decoder that transformers loads: {error}"
            ) from error
        say(f"{self._reference.dtype}, pack of random directions planted")

    def inside(self, server: str) -> list[Outcome]:
        cases = (generate if server == "generate" else continuous).CASES
        traffic = generate.traffic if server == "generate" else continuous.traffic
        with (
            Ear(self._place()) as ear,
            inside.watched(
                self._wanted.model, self._folder / "pack", ear, self._reference, self._wanted.seed
            ) as site,
        ):
            return self._outcomes(
                server, cases, site, traffic, site.context, ear, inside.read, lambda: 0
            )

    def started(self, server: str, command: Sequence[str]) -> list[Outcome]:
        try:
            texts = Texts(self._wanted.model, self._reference, self._wanted.seed)
        except (OSError, ValueError) as error:
            raise CannotRun(f"{self._wanted.model}: no tokenizer: {error}") from error
        with (
            Ear(self._place()) as ear,
            running(
                command, self._wanted.model, self._folder / "pack", ear, self._say
            ) as answering,
        ):
            site = Calls(answering, texts, self._reference.context, self._wanted.seed)
            read = reader(texts)
            return self._outcomes(
                server, over_http.CASES, site, over_http.traffic, site.context, ear, read,
                answering.put_off,
            )  # fmt: skip

    def _outcomes(
        self,
        server: str,
        cases: Sequence[Case[S]],
        site: S,
        traffic: Traffic[S],
        context: int,
        ear: Ear,
        read: Read,
        put_off: Callable[[], int],
    ) -> list[Outcome]:
        found = []
        for case in cases:
            if self._wanted.only in case.name:
                self._say(f"{server}: {case.name}")
                found.append(carry_out(case, server, site, ear, self._reference, read, put_off))
        amount = Amount(self._wanted.tokens, self._wanted.cancels)
        if amount.tokens and self._wanted.only in MIXED:
            found.append(Outcome(server, MIXED, "", 0.0))
            soak(
                found[-1],
                traffic,
                site,
                context,
                ear,
                self._reference,
                read,
                amount,
                self._wanted.seed,
                lambda line: self._say(f"{server}: {line}"),
            )
        return found

    def _place(self) -> Path:
        """A folder of its own for each server: a socket, a log."""
        return Path(tempfile.mkdtemp(dir=self._folder))


def run(wanted: Wanted, say: Callable[[str], None] = lambda line: None) -> list[Outcome]:
    """Raises CannotRun naming what is missing."""
    began = time.monotonic()

    def timed(line: str) -> None:
        say(f"{time.monotonic() - began:6.1f} s  {line}")

    with tempfile.TemporaryDirectory(prefix="dosimeter-") as folder:
        kit = Kit(wanted, Path(folder), timed)
        if wanted.command:
            return kit.started(Path(wanted.command[0]).name, wanted.command)
        outcomes: list[Outcome] = []
        for server in wanted.servers:
            if server in ("generate", "continuous"):
                outcomes += kit.inside(server)
            else:
                outcomes += kit.started(server, _serve(server, wanted.model))
        return outcomes


def _serve(server: str, model: Path) -> list[str]:
    """The command line of a server that we know to start."""
    beside = shutil.which("transformers", path=str(Path(sys.executable).parent))
    program = beside or shutil.which("transformers")
    if program is None:
        raise CannotRun(
            "`transformers` is not on PATH\n  hint: pip install 'transformers[serving]'"
        )
    command = [program, "serve", str(model), "--host", "127.0.0.1"]
    if server == "serve-continuous":
        command += ["--continuous-batching", "--cb-block-size", "16", "--cb-num-blocks", "512"]
    return command
