"""A server of the user's, started with the tap in it, and clients of its HTTP API.

The command is the user's own and is run as it is, under `dosimeter attach`; a free port is added where it
names none. Whether it is `transformers serve`, vLLM or SGLang is learned from the tap's greeting.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dosimeter.monitor.cli.attach import engine
from dosimeter.monitor.conformance.case import CannotRun
from dosimeter.monitor.conformance.ear import Ear
from dosimeter.monitor.supervising import ending_with_parent

TENANT = "conformance"
START_S = 900.0
REPLY_S = 120.0
PREEMPTIONS = "vllm:num_preemptions_total"
DRAFTED = "vllm:spec_decode_num_draft_tokens_total"
ACCEPTED = "vllm:spec_decode_num_accepted_tokens_total"


@dataclass(slots=True)
class Reply:
    """What came back of a call. ids: generated, by sequence, where the server says them."""

    text: str = ""
    ids: dict[int, list[int]] = field(default_factory=dict)
    prompt_ids: list[int] | None = None
    usage: tuple[int, int] | None = None
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers. kind: as its tap greets; model: the name it wants in a call."""

    host: str
    port: int
    kind: str
    model: str
    command: tuple[str, ...]

    def post(
        self, path: str, body: dict[str, Any], headers: dict[str, str], leave_after: int | None
    ) -> Reply:
        """One call. leave_after: hang up after that many events of a stream; 0: without reading at all.

        Raises RuntimeError for a reply that is an error.
        """
        line = http.client.HTTPConnection(self.host, self.port, timeout=REPLY_S)
        try:
            sent = {"content-type": "application/json", "x-tenant-id": TENANT, **headers}
            line.request("POST", path, json.dumps({"model": self.model, **body}), sent)
            if leave_after == 0:
                return Reply()
            response = line.getresponse()
            if response.status != 200:
                said = response.read(500).decode(errors="replace")
                raise RuntimeError(f"{path}: {response.status} {said}")
            if body.get("stream"):
                return _streamed(response, leave_after)
            reply = Reply(whole=True)
            _take(reply, json.loads(response.read()))
            return reply
        finally:
            line.close()

    def put_off(self) -> int:
        """Requests that vLLM says it preempted so far: their positions run again. 0 where a server says nothing.

        Raises OSError where its metrics cannot be read.
        """
        return self._counted(PREEMPTIONS) or 0

    def drafted(self) -> tuple[int, int] | None:
        """Tokens that vLLM says it drafted so far, and kept; None where a server drafts nothing.

        Raises OSError where its metrics cannot be read.
        """
        made, kept = self._counted(DRAFTED), self._counted(ACCEPTED)
        return None if made is None or kept is None else (made, kept)

    def _counted(self, metric: str) -> int | None:
        """Over all labels; None where the server has no such counter."""
        if self.kind != "vllm":
            return None
        with urllib.request.urlopen(f"http://{self.host}:{self.port}/metrics", timeout=10) as reply:
            lines = reply.read().decode().splitlines()
        found = [line for line in lines if line.startswith(f"{metric}{{")]
        return sum(int(float(line.rsplit(" ", 1)[1])) for line in found) if found else None


def _streamed(response: http.client.HTTPResponse, leave_after: int | None) -> Reply:
    reply, events = Reply(), 0
    for raw in response:
        if not raw.startswith(b"data: "):
            continue
        if raw.strip() == b"data: [DONE]":
            break
        _take(reply, json.loads(raw[6:]))
        events += 1
        if events == leave_after:
            return reply
    reply.whole = True
    return reply


def _take(reply: Reply, event: dict[str, Any]) -> None:
    if event.get("error"):
        raise RuntimeError(f"the server said: {str(event['error'])[:300]}")
    for choice in event.get("choices", ()):
        part = choice.get("delta") or choice.get("message") or choice
        reply.text += part.get("text") or part.get("content") or ""
        ids = choice.get("token_ids", choice.get("response_token_ids"))  # SGLang's, of a chat
        if ids is not None:
            reply.ids.setdefault(choice.get("index", 0), []).extend(ids)
        reply.prompt_ids = choice.get("prompt_token_ids") or reply.prompt_ids
    reply.prompt_ids = event.get("prompt_token_ids") or reply.prompt_ids
    usage = event.get("usage")
    if usage:
        reply.usage = (int(usage["prompt_tokens"]), int(usage.get("completion_tokens") or 0))


@contextlib.contextmanager
def running(
    command: Sequence[str], model: Path, pack: Path, ear: Ear, say: Callable[[str], None]
) -> Iterator[Running]:
    """Start `command` under attach; ends it at the end. Raises CannotRun if it does not come up and live."""
    command = [*command]
    port = _port_of(command)
    if port is None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command += ["--port", str(port)]
    # An engine says the ids of its tokens in its replies, and lets no text out of its worker.
    content = [] if engine(command) is not None else ["--content-tenant", TENANT]
    whole = [
        *(sys.executable, "-m", "dosimeter.monitor.cli.main", "attach"),
        *("--socket", str(ear.path), "--pack", str(pack)),
        *("--trust", "tenant", *content, "--", *command),
    ]
    say(f"starting {' '.join(command)}")
    log = ear.path.parent / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            whole,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            preexec_fn=ending_with_parent(),
        )
    try:
        host = "127.0.0.1"
        _wait_until_up(process, host, port, log, say)
        why_not = ear.wait_live(60.0, lambda: process.poll() is None)
        if why_not is not None:
            raise CannotRun(f"the tap does not score this server: {why_not}\n{_tail(log)}")
        kind = str((ear.hello or {}).get("server", {}).get("kind", "unknown"))
        yield Running(host, port, kind, _model_name(command, model), tuple(command))
    finally:
        _end(process)


def _wait_until_up(
    process: subprocess.Popen[bytes], host: str, port: int, log: Path, say: Callable[[str], None]
) -> None:
    began = said = time.monotonic()
    while True:
        if process.poll() is not None:
            raise CannotRun(f"the server ended with {process.returncode}\n{_tail(log)}")
        now = time.monotonic()
        if now - began > START_S:
            raise CannotRun(f"the server did not come up in {START_S:.0f} s\n{_tail(log)}")
        if now - said > 5:
            said = now
            say(f"waiting for the server, {now - began:.0f} s")
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://{host}:{port}/health", timeout=2),
        ):
            return
        time.sleep(0.2)


def _port_of(command: Sequence[str]) -> int | None:
    for index, word in enumerate(command):
        if word == "--port" and index + 1 < len(command):
            return int(command[index + 1])
        if word.startswith("--port="):
            return int(word.removeprefix("--port="))
    return None


def _model_name(command: Sequence[str], model: Path) -> str:
    """The name that a call must carry: as given to the server, or as its command names the folder."""
    for index, word in enumerate(command):
        if word == "--served-model-name" and index + 1 < len(command):
            return command[index + 1]
    same = [word for word in command if Path(word).is_dir() and Path(word).samefile(model)]
    return same[0] if same else str(model)


def _end(process: subprocess.Popen[bytes]) -> None:
    """With its children: a server may have workers of its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
