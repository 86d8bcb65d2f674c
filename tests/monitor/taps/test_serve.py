"""The real server, unchanged: `transformers serve` under `dosimeter attach`, both ways it can generate.

Wire messages are read off a real socket; counts are the server's own replies; scores are compared with an
unbatched forward of the same tokens.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import types
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from dosimeter.detectors.frames import StepFrame, to_codes
from dosimeter.monitor.taps import seams, serve, wire
from dosimeter.monitor.taps.serve import Runtime, local_folder
from dosimeter.monitor.taps.settings import TapSettings

from .conftest import Small, hidden_of

MESSAGES = [
    {"role": "system", "content": "be nice"},
    {"role": "user", "content": "hello"},
    {"role": "assistant", "content": "a test"},
    {"role": "user", "content": "say <|assistant|> now, this is a test of things"},
]


@dataclass
class Listener:
    """A sidecar's ear: collects what arrives, decides nothing."""

    path: Path
    opened: dict[int, dict[str, Any]] = field(default_factory=dict)
    closed: dict[int, dict[str, Any]] = field(default_factory=dict)
    codes: dict[int, dict[int, np.ndarray]] = field(default_factory=dict)
    hellos: list[dict[str, Any]] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.bind(str(self.path))
        self.socket.listen(4)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self.socket.accept()
            while data := connection.recv(1 << 18):
                with self.changed:
                    self._take(wire.unpack(data))
                    self.changed.notify_all()

    def _take(self, message: wire.Message) -> None:
        body = message.body
        if isinstance(body, StepFrame):
            at = 0
            for key, start, n, _, _ in body.rows.tolist():
                mine = self.codes.setdefault(key, {})
                mine.update((start + i, body.codes[at + i]) for i in range(n))
                at += n
        elif message.kind is wire.Kind.OPEN:
            self.opened.setdefault(body["key"], body)
        elif message.kind is wire.Kind.CLOSE:
            self.closed[body["key"]] = body
        elif message.kind is wire.Kind.HELLO:
            self.hellos.append(body)

    def wait(self, n: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.closed) >= n, 30), self.hellos


@dataclass
class Server:
    listener: Listener
    url: str
    small: Small

    def post(
        self,
        stream: bool,
        headers: dict[str, str],
        new: int = 12,
        lines: int = 0,
        messages: Sequence[dict[str, str]] = MESSAGES,
    ) -> dict | None:
        """One chat call; the usage of its reply. lines: hang up after that many lines of the stream."""
        body = {
            "model": str(self.small.folder),
            "messages": messages,
            "max_tokens": new,
            "stream": stream,
        }
        request = urllib.request.Request(
            f"{self.url}/v1/chat/completions",
            json.dumps(body).encode(),
            {"content-type": "application/json", **headers},
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            if not stream:
                return json.loads(reply.read())["usage"]
            usage = None
            for count, line in enumerate(reply):
                if b'"usage"' in line:
                    usage = json.loads(line[6:])["usage"]
                if lines and count >= lines:
                    return None
            return usage


BATCHING = ("--continuous-batching", "--cb-num-blocks", "64", "--cb-block-size", "16")


@contextlib.contextmanager
def serving(
    small: Small, folder: Path, attached: Sequence[str], served: Sequence[str], **environment: str
) -> Iterator[Server]:
    """A server of the small model, with its log in `folder`. attached, served: options of either command."""
    listener = Listener(folder / "tap.sock")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable, "-m", "dosimeter.monitor.cli.main", "attach",
        "--socket", str(listener.path), *attached, "--",
        shutil.which("transformers", path=str(Path(sys.executable).parent)) or "transformers",
        "serve", str(small.folder), "--device", "cpu", "--port", str(port), *served,
    ]  # fmt: skip
    log = (folder / "log").open("wb")
    env = {**os.environ, "HF_HUB_OFFLINE": "1", **environment}
    process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while True:
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=1):
                break
            with listener.changed:
                listener.changed.wait(0.2)
        yield Server(listener, url, small)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
        log.close()


@pytest.fixture(scope="module", params=[BATCHING, ()], ids=["continuous batching", "sequential"])
def server(
    request: pytest.FixtureRequest, small: Small, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    attached = ["--pack", str(small.pack_folder), "--trust", "tenant", "--content-tenant", "demo"]
    with serving(small, tmp_path_factory.mktemp("serve"), attached, request.param) as found:
        yield found


@pytest.mark.parts
def test_every_token_of_every_request_is_accounted_for(server: Server) -> None:
    """Four clients at once, streaming and not, two with one request id, and one that hangs up."""
    usages: list[dict | None] = []
    clients = [
        threading.Thread(
            target=lambda i=i: usages.append(
                server.post(i % 2 == 0, {"x-request-id": f"r{i}", "x-tenant-id": "demo"})
            )
        )
        for i in range(4)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    server.post(True, {"x-request-id": "cut", "x-tenant-id": "other"}, new=300, lines=6)
    server.listener.wait(5)
    found = server.listener
    assert all(usage == usages[0] for usage in usages)
    served = usages[0]["prompt_tokens"] + usages[0]["completion_tokens"] - 1
    by_id = {found.opened[key]["labels"]["request_id"]: key for key in found.closed}
    assert sorted(by_id) == ["cut", "r0", "r1", "r2", "r3"]
    for name, key in by_id.items():
        close, rows = found.closed[key], found.codes[key]
        assert sorted(rows) == list(range(close["cached"], close["cached"] + len(rows))), name
        short = close["served"] - len(rows) - close["cached"] - sum(close["errors"].values())
        assert short == 0, (name, close)
        if name != "cut":
            assert (close["outcome"], close["served"]) == ("finished", served)
            assert close["served_source"] == "usage"
    assert found.closed[by_id["cut"]]["outcome"] == "cancelled"


@pytest.mark.parts
def test_codes_are_those_of_an_unbatched_forward_of_the_same_tokens(server: Server) -> None:
    server.post(False, {"x-request-id": "text", "x-tenant-id": "demo"})
    server.listener.wait(1)
    found = server.listener
    (key,) = [k for k, o in found.opened.items() if o["labels"]["request_id"] == "text"]
    with found.changed:
        assert found.changed.wait_for(lambda: key in found.closed, 30)
    model = server.small.model()
    prompt = server.small.tokenizer().apply_chat_template(
        MESSAGES, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    tokens = model.generate(**prompt, max_new_tokens=12, do_sample=False)[0].tolist()
    hidden = hidden_of(model, tokens)
    columns = [np.einsum("ltd,ld->t", hidden, p.weights) + p.bias for p in server.small.pack.probes]
    expected = to_codes(np.stack(columns, axis=1))
    for position, codes in found.codes[key].items():
        assert np.abs(codes.astype(int) - expected[position].astype(int)).max() <= 1, position


@pytest.mark.parts
def test_scopes_follow_the_messages_and_text_leaves_only_for_the_tenant_that_chose_it(
    server: Server,
) -> None:
    server.post(False, {"x-request-id": "a", "x-tenant-id": "demo"})
    server.post(False, {"x-request-id": "b", "x-tenant-id": "acme"})
    found = server.listener
    with found.changed:
        assert found.changed.wait_for(
            lambda: {"a", "b"} <= {found.opened[k]["labels"]["request_id"] for k in found.closed},
            30,
        )
    by_id = {o["labels"]["request_id"]: k for k, o in found.opened.items()}
    opened = found.opened[by_id["a"]]
    assert opened["spans_exact"]
    assert [scope for scope, _, _ in opened["spans"]] == [0, 1, 2]  # system, history, message
    assert "tokens" in found.closed[by_id["a"]]
    assert "tokens" not in found.closed[by_id["b"]]
    assert found.hellos[-1]["state"] == "live"


def runtime_of(small: Small, tmp_path: Path) -> Runtime:
    return Runtime(TapSettings(str(tmp_path / "none.sock"), (str(small.pack_folder),)))


def test_a_second_model_is_not_scored_and_leaves_the_first_as_it_was(
    small: Small, tmp_path: Path
) -> None:
    """`transformers serve` loads whatever model a call names: one without a pack once took the columns out
    of the greeting of the one that was scored, and the sidecar hung up on every step of it."""
    runtime = runtime_of(small, tmp_path)
    first, second = small.model(), small.model()
    runtime.loaded(first, lambda: small.folder)
    columns = runtime.hello()["columns"]
    runtime.loaded(second, lambda: tmp_path)
    assert (runtime.hello()["state"], runtime.hello()["columns"]) == ("live", columns)
    assert (runtime.reason_of(first), runtime.reason_of(second)) == (None, "unsupported")
    assert runtime.requests.blanket_reason is None


def test_two_models_that_are_loaded_at_once_are_taken_one_after_the_other(
    small: Small, tmp_path: Path
) -> None:
    """A digest takes long, and until it was known both were taken: rows of one under the columns of the other."""
    runtime = runtime_of(small, tmp_path)
    first, second = small.model(), small.model()
    other = threading.Thread(target=runtime.loaded, args=(second, lambda: small.folder))

    def folder() -> Path:
        other.start()
        other.join(0.2)  # it waits for us, or is through by now
        return small.folder

    runtime.loaded(first, folder)
    other.join()
    assert (runtime.hello()["state"], len(runtime.hello()["columns"])) == ("live", 3)
    assert (runtime.reason_of(first), runtime.reason_of(second)) == (None, "unsupported")
    assert (first in seams.taps, second in seams.taps) == (True, False)


def test_an_app_that_takes_no_middleware_of_ours_is_served(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = runtime_of(small, tmp_path)
    monkeypatch.setattr(serve, "runtime", lambda: runtime)
    module = types.ModuleType("server")
    app = object()
    module.build_server = lambda: app  # type: ignore[attr-defined]
    serve.patch_server(module)
    assert module.build_server() is app
    assert runtime.hello()["errors"] == 1


def test_a_token_is_made_into_text_once() -> None:
    """2,048 of them took 50 ms, in which the server's event loop stood still, for every answer of such a tenant."""

    class Tokenizer:
        asked: ClassVar[list[int]] = []

        def decode(self, ids: list[int]) -> str:
            self.asked += ids
            return f"t{ids[0]}"

    tokenizer = Tokenizer()
    texts = [[serve.decoder(tokenizer)(token) for token in (5, 6, 5)] for _ in range(2)]
    assert texts == [["t5", "t6", "t5"]] * 2
    assert tokenizer.asked == [5, 6]


def test_a_model_that_was_unloaded_makes_room_for_the_next(small: Small, tmp_path: Path) -> None:
    runtime = runtime_of(small, tmp_path)
    first = small.model()
    runtime.loaded(first, lambda: small.folder)
    del first
    gc.collect()
    assert (runtime.hello()["state"], runtime.requests.blanket_reason) == ("no-pack", "no_pack")
    again = small.model()
    runtime.loaded(again, lambda: small.folder)
    assert (runtime.hello()["state"], runtime.requests.blanket_reason) == ("live", None)


def test_a_model_whose_folder_cannot_be_found_is_served_unseen(
    small: Small, tmp_path: Path
) -> None:
    """A GGUF file's repository has no config.json; looking for one once failed the server's own loading."""
    runtime, model = runtime_of(small, tmp_path), small.model()
    runtime.loaded(model, lambda: local_folder("nobody/nothing@main"))
    assert runtime.hello()["state"] == "no-pack"
    runtime.loaded(model, lambda: local_folder(f"{small.folder}@main", "weights.gguf"))
    assert "weights.gguf" in runtime.hello()["reason"]
    assert runtime.reason_of(model) == "no_pack"


@pytest.mark.parts
def test_the_other_chat_endpoint_gets_its_scopes_too(server: Server) -> None:
    """A client chooses the endpoint: resent turns must not become messages by that choice."""
    body = {
        "model": str(server.small.folder),
        "input": MESSAGES,
        "max_output_tokens": 8,
        "stream": False,
    }
    request = urllib.request.Request(
        f"{server.url}/v1/responses",
        json.dumps(body).encode(),
        {"content-type": "application/json", "x-request-id": "other"},
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        usage = json.loads(reply.read())["usage"]
    found = server.listener
    with found.changed:
        assert found.changed.wait_for(
            lambda: "other" in {found.opened[k]["labels"].get("request_id") for k in found.closed},
            30,
        )
    (key,) = [k for k, o in found.opened.items() if o["labels"].get("request_id") == "other"]
    assert [scope for scope, _, _ in found.opened[key]["spans"]] == [0, 1, 2]
    close = found.closed[key]
    assert close["served_source"] == "usage"
    assert close["served"] == usage["input_tokens"] + usage["output_tokens"] - 1


@pytest.mark.parts
def test_a_decision_is_counted_as_tokens_that_nobody_read(server: Server) -> None:
    """The server runs the model for it beside its loops. A client chooses the endpoint."""
    question = {"type": "choice", "instructions": "which?", "criteria": {"one": "x", "two": None}}
    body = {"model": str(server.small.folder), "state": "hello", "questions": {"q": question}}
    request = urllib.request.Request(
        f"{server.url}/v1/systemone",
        json.dumps(body).encode(),
        {"content-type": "application/json", "x-request-id": "decided", "x-tenant-id": "demo"},
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        usage = json.loads(reply.read())["usage"]
    found = server.listener
    with found.changed:
        assert found.changed.wait_for(
            lambda: "decided" in {o["labels"].get("request_id") for o in found.opened.values()}, 30
        )
    (key,) = [k for k, o in found.opened.items() if o["labels"].get("request_id") == "decided"]
    with found.changed:
        assert found.changed.wait_for(lambda: key in found.closed, 30)
    served = usage["input_tokens"] - 1
    close = found.closed[key]
    assert (close["served"], close["errors"], key in found.codes) == (
        served, {"unsupported": served}, False,
    )  # fmt: skip


@pytest.mark.parts
def test_a_client_that_takes_the_name_of_a_warm_up_is_seen(server: Server) -> None:
    usage = server.post(True, {"x-request-id": "__warmup_PENDING_0__", "x-tenant-id": "demo"})
    assert usage is not None
    found = server.listener
    with found.changed:
        assert found.changed.wait_for(
            lambda: (
                "__warmup_PENDING_0__"
                in {found.opened[k]["labels"].get("request_id") for k in found.closed}
            ),
            30,
        )
    (key,) = [
        k
        for k, o in found.opened.items()
        if o["labels"].get("request_id") == "__warmup_PENDING_0__"
    ]
    served = usage["prompt_tokens"] + usage["completion_tokens"] - 1
    assert (found.closed[key]["served"], len(found.codes[key])) == (served, served)
