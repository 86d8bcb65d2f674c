"""The second server, unchanged: `vllm serve` of its own environment, under `dosimeter attach`, on CPU.

Chunked prefill, prefix caching and a cache so small that requests are preempted, all in one server. Wire
messages are read off a real socket, counts are the server's own replies, and scores are compared with an
unbatched forward of the same tokens by transformers, which shares no code with vLLM's model.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from dosimeter.detectors.frames import ROW_REUSED, StepFrame, to_codes
from dosimeter.detectors.pack import load_pack, save_pack
from dosimeter.monitor.taps import wire

from .capture_scene import captured
from .conftest import Small, hidden_of, pack_of
from .test_serve import MESSAGES, Listener

VENV = Path(__file__).resolve().parents[3] / ".venv-vllm" / "bin"
MODEL = "small"
ASKED = "c.sock"


@dataclass
class Both(Listener):
    """Hears the tap and the front, each on a connection of its own."""

    usages: dict[str, dict[str, Any]] = field(default_factory=dict)  # by call
    reused: dict[int, int] = field(default_factory=dict)  # rows of a key that came out of the cache

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.socket.accept()
                threading.Thread(target=self._hear, args=(connection,), daemon=True).start()

    def _hear(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := connection.recv(1 << 18):
                with self.changed:
                    self._take(wire.unpack(data))
                    self.changed.notify_all()

    def _take(self, message: wire.Message) -> None:
        super()._take(message)
        body = message.body
        if isinstance(body, StepFrame):
            for key, _, n, _, flags in body.rows.tolist():
                if flags & ROW_REUSED:
                    self.reused[key] = self.reused.get(key, 0) + n
        elif message.kind is wire.Kind.USAGE:
            self.usages[body["call"]] = body

    def keys_of(self, request_id: str, n: int, *, counted: bool = True) -> list[int]:
        """Keys of the client's request id, once n of them have closed; counted: and their calls' usage is there."""

        def found() -> list[int]:
            return [
                key
                for key, opened in self.opened.items()
                if opened["labels"].get("request_id") == request_id
                and key in self.closed
                and (opened["call"] in self.usages or not counted)
            ]

        with self.changed:
            assert self.changed.wait_for(lambda: len(found()) >= n, 30), (found(), self.hellos[-1])
            assert len(found()) == n
            return sorted(found())


@dataclass
class Server:
    listener: Both
    url: str
    small: Small
    log: Path

    def post(self, request_id: str, path: str = "/v1/chat/completions", **body: Any) -> Any:
        """One call without streaming; the reply, with the token ids the server ran."""
        request = self._request(request_id, path, {"return_token_ids": True, **body})
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.loads(reply.read())

    def stream(self, request_id: str, lines: int, **body: Any) -> None:
        """Hang up after that many lines of the stream."""
        options = {"stream": True, **body}
        request = self._request(request_id, "/v1/completions", options)
        with urllib.request.urlopen(request, timeout=60) as reply:
            for _ in range(lines):
                reply.readline()

    def _request(self, request_id: str, path: str, body: dict[str, Any]) -> urllib.request.Request:
        headers = {"content-type": "application/json", "x-request-id": request_id}
        data = json.dumps({"model": MODEL, "max_tokens": 6, **body}).encode()
        return urllib.request.Request(f"{self.url}{path}", data, headers | {"x-tenant-id": "acme"})

    def metric(self, name: str) -> float:
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as reply:
            lines = reply.read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    def codes_of(self, key: int) -> np.ndarray:
        """int16 [T, F] of all positions from 0 on; a gap fails."""
        rows = self.listener.codes[key]
        assert sorted(rows) == list(range(len(rows)))
        return np.stack([rows[position] for position in range(len(rows))])

    def expected(self, ids: list[int]) -> np.ndarray:
        hidden = hidden_of(self.small.model(), ids)
        columns = [
            np.einsum("ltd,ld->t", hidden, p.weights) + p.bias for p in self.small.pack.probes
        ]
        return to_codes(np.stack(columns, axis=1))

    def assert_scored(self, key: int, ids: list[int]) -> None:
        """ids: prompt and answer; nothing is run for the last of them."""
        found, expected = self.codes_of(key), self.expected(ids[:-1])
        assert found.shape == expected.shape
        assert np.abs(found.astype(int) - expected.astype(int)).max() <= 1


@pytest.fixture(scope="module")
def eligible(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Small:
    """As the small model, with attention heads of a size that vLLM's kernels for the CPU know."""
    folder = tmp_path_factory.mktemp("vllm-model")
    small.tokenizer().save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig.from_pretrained(small.folder)
    config.head_dim = 32
    model = LlamaForCausalLM(config).eval()
    model.save_pretrained(folder)
    pack_folder = tmp_path_factory.mktemp("vllm-pack") / "core"
    save_pack(pack_of(model, folder), pack_folder)
    return Small(folder, pack_folder, load_pack(pack_folder))


@contextlib.contextmanager
def serving(
    eligible: Small,
    folder: Path,
    attached: Sequence[str],
    served: Sequence[str],
    **environment: str,
) -> Iterator[Server]:
    """A server of the model, with its log in `folder`. attached, served: options of either command."""
    listener = Both(folder / "tap.sock")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        str(VENV / "python"), "-m", "dosimeter.monitor.cli.main", "attach",
        "--socket", str(listener.path), *attached, "--",
        str(VENV / "vllm"), "serve", str(eligible.folder), "--served-model-name", MODEL,
        "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32",
        "--max-model-len", "256", "--max-num-seqs", "4", *served,
    ]  # fmt: skip
    env = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        **environment,
    }
    log_path = folder / "log"
    log = log_path.open("wb")
    process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 180
        while True:
            assert process.poll() is None, log_path.read_text()[-4000:]
            assert time.monotonic() < deadline, log_path.read_text()[-4000:]
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=1):
                break
            with listener.changed:
                listener.changed.wait(0.2)
        yield Server(listener, url, eligible, log_path)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        log.close()


@pytest.fixture(scope="module")
def server(eligible: Small, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("vllm")
    attached = ["--pack", str(eligible.pack_folder), "--trust", "tenant"]
    attached += ["--allow-capture", str(folder / ASKED)]
    served = [
        *("--enforce-eager", "--enable-prefix-caching", "--enable-chunked-prefill"),
        *("--max-num-batched-tokens", "32", "--block-size", "32"),
        *("--num-gpu-blocks-override", "10", "--enable-scale-out"),
    ]
    with serving(eligible, folder, attached, served) as found:
        yield found


@pytest.mark.parts
def test_the_canary_comes_through_the_servers_own_scheduler_before_anything_is_reported(
    server: Server,
) -> None:
    """Hooks that are on prove nothing: only a request that went the whole way does. It is nobody's request."""
    taps = [hello for hello in server.listener.hellos if hello["role"] == "tap"]
    assert [hello["state"] for hello in taps] == ["no-pack", "blind", "live"]
    assert "--middleware" in taps[1]["reason"]
    assert [column["feature"] for column in taps[2]["columns"]] == [
        "deception",
        "scam",
        "defection",
    ]
    server.post("first", messages=MESSAGES)
    (key,) = server.listener.keys_of("first", 1)
    assert key == 1
    assert server.listener.opened[key]["trusted"] == ["tenant"]


@pytest.mark.parts
def test_every_row_finds_its_request_where_clients_repeat_one_id_and_requests_are_preempted(
    server: Server,
) -> None:
    """Six clients at once with one request id, prompts that share their first blocks, and a cache for fewer."""
    before = server.metric("vllm:num_preemptions_total")
    replies: list[Any] = []
    shared = "this is a test of things, hello world, " * 2

    def client(i: int) -> None:
        prompt = f"{shared}{i} {'x' * i}"
        options = {"max_tokens": 70 + i, "ignore_eos": True, "temperature": 1.0}
        replies.append(server.post("same", "/v1/completions", prompt=prompt, **options))

    clients = [threading.Thread(target=client, args=(i,)) for i in range(6)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    keys = server.listener.keys_of("same", 6)
    assert (
        server.metric("vllm:num_preemptions_total") > before
    )  # else this test shows less than it says
    lengths = {}
    for reply in replies:
        choice = reply["choices"][0]
        lengths[len(choice["token_ids"])] = choice["prompt_token_ids"] + choice["token_ids"]
    assert len(lengths) == 6
    for key in keys:
        close = server.listener.closed[key]
        assert (close["outcome"], close["served_source"]) == ("finished", "scheduler")
        assert (close["cached"], close["errors"]) == (0, {})
        ids = lengths[close["completion_tokens"]]
        assert close["served"] == len(ids) - 1 == close["emitted"]
        server.assert_scored(key, ids)
        usage = server.listener.usages[server.listener.opened[key]["call"]]
        assert usage["completion_tokens"] == close["completion_tokens"]
        assert usage["prompt_tokens"] == close["prompt_tokens"]
    assert len({server.listener.opened[key]["call"] for key in keys}) == 6


@pytest.mark.parts
def test_captured_rows_are_those_of_an_unbatched_forward(server: Server) -> None:
    """Prompts in pieces, prefixes out of the cache, requests put off and run again: each position that ran, once."""
    before = server.metric("vllm:num_preemptions_total")
    replies: dict[int, Any] = {}
    shared = "a capture of things, hello world, " * 2

    def client(i: int) -> None:
        options = {"max_tokens": 70 + i, "ignore_eos": True, "temperature": 1.0}
        prompt = f"{shared}{i} {'y' * i}"
        replies[i] = server.post(f"captured-{i}", "/v1/completions", prompt=prompt, **options)

    with captured(server.log.parent / ASKED) as got:
        client(0)  # what the others share is in the cache by then
        clients = [threading.Thread(target=client, args=(i,)) for i in range(1, 7)]
        for one in clients:
            one.start()
        for one in clients:
            one.join()
        keys = {i: server.listener.keys_of(f"captured-{i}", 1)[0] for i in range(7)}
    assert server.metric("vllm:num_preemptions_total") > before
    assert got.about["model"]["digest"] == server.listener.hellos[-1]["model"]["digest"]
    assert sorted(got.requests) == sorted(keys.values())
    for i, key in keys.items():
        choice, record = replies[i]["choices"][0], got.requests[key]
        ids = choice["prompt_token_ids"] + choice["token_ids"]
        assert (record["whole"], record["served"]) == (True, len(ids) - 1)
        assert record["labels"]["tenant"] == "acme"
        assert "ids" not in record  # no text leaves vLLM
        ran = slice(record["first"], record["first"] + record["rows"])
        assert record["first"] % 32 == 0  # blocks out of the cache, which were not run
        alone = hidden_of(server.small.model(), ids)[:, ran]
        assert np.abs(got.hidden(key) - alone).max() < 1e-4
    assert any(record["first"] for record in got.requests.values())
    told = [one["capture"] for one in server.listener.hellos if one.get("capture")]
    assert (told[0]["state"], told[-1]["state"]) == ("began", "ended")
    assert told[-1]["rows"] == sum(record["rows"] for record in got.requests.values())


@pytest.mark.parts
def test_tokens_of_the_prefix_cache_get_the_scores_they_had(server: Server) -> None:
    """The second turn of a talk: vLLM runs neither the first prompt nor the first answer again."""
    first = server.post(
        "turn-1", "/v1/completions", prompt="a hello to the world " * 5, max_tokens=40
    )
    choice = first["choices"][0]
    talk = choice["prompt_token_ids"] + choice["token_ids"]
    again = server.post("turn-2", "/v1/completions", prompt=[*talk, 10, 11, 12])
    (key,) = server.listener.keys_of("turn-2", 1)
    answered = len(choice["prompt_token_ids"]) // 32 * 32
    assert server.listener.reused[key] >= 64 > answered  # whole blocks, and some of them answer
    assert server.listener.closed[key]["cached"] == 0
    server.assert_scored(key, [*talk, 10, 11, 12, *again["choices"][0]["token_ids"]])


@pytest.mark.parts
def test_each_answer_of_one_call_is_a_request_of_its_own(server: Server) -> None:
    reply = server.post("two", messages=MESSAGES, n=2, temperature=1.5)
    keys = server.listener.keys_of("two", 2)
    opened = [server.listener.opened[key] for key in keys]
    assert opened[0]["call"] == opened[1]["call"]
    answers = [reply["prompt_token_ids"] + choice["token_ids"] for choice in reply["choices"]]
    for key in keys:
        found = server.codes_of(key)
        expected = [server.expected(ids[:-1]) for ids in answers]
        assert any(
            len(one) == len(found) and np.abs(one.astype(int) - found).max() <= 1
            for one in expected
        )


@pytest.mark.parts
def test_a_client_that_hangs_up_is_accounted_for_to_the_token(server: Server) -> None:
    server.stream("cut", 6, prompt="hello", max_tokens=200, ignore_eos=True)
    (key,) = server.listener.keys_of("cut", 1, counted=False)
    close = server.listener.closed[key]
    assert close["outcome"] == "cancelled"
    assert close["served"] == close["emitted"] == len(server.codes_of(key))
    assert server.listener.opened[key]["call"] not in server.listener.usages


@pytest.mark.parts
def test_an_answer_that_met_a_stop_string_has_finished_and_was_not_cut_short(
    server: Server,
) -> None:
    """vLLM's API process finds stop strings, and aborts the request in the engine as if the client had left.
    Taken for a cancelled one, no rule on a whole answer would ever decide."""
    (letter,) = server.small.tokenizer()("q", add_special_tokens=False)["input_ids"]
    options = {"max_tokens": 30, "allowed_token_ids": [letter], "stop": ["qqqq"]}
    reply = server.post("stop", "/v1/completions", prompt="hello", **options)
    choice = reply["choices"][0]
    assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", "qqqq")
    (key,) = server.listener.keys_of("stop", 1)
    close = server.listener.closed[key]
    assert close["outcome"] == "finished"
    assert reply["usage"]["completion_tokens"] == 4
    # The engine may have run on until it heard of it; those rows are scored too, and the reply's count decides.
    found = server.codes_of(key)
    assert len(found) >= close["served"] >= len(choice["prompt_token_ids"]) + 4 - 1
    expected = server.expected(choice["prompt_token_ids"] + [letter] * 30)[: len(found)]
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= 1
    usage = server.listener.usages[server.listener.opened[key]["call"]]
    assert usage["completion_tokens"] == 4 <= close["completion_tokens"]


@pytest.mark.parts
def test_scopes_follow_the_messages_and_not_what_a_user_types(server: Server) -> None:
    server.post("spans", messages=MESSAGES)
    (key,) = server.listener.keys_of("spans", 1)
    opened = server.listener.opened[key]
    assert opened["spans_exact"]
    assert [scope for scope, _, _ in opened["spans"]] == [0, 1, 2]  # system, history, message
    tokenizer = server.small.tokenizer()
    # What the template puts between two messages is the former's: here the name of the next role, a token.
    upto = [tokenizer.apply_chat_template(MESSAGES[:n], tokenize=False) for n in (1, 3)]
    assert [end for _, _, end in opened["spans"][:2]] == [
        len(tokenizer(text, add_special_tokens=False)["input_ids"]) + 1 for text in upto
    ]


@pytest.mark.parts
def test_what_a_client_writes_in_our_place_reaches_nobody(server: Server) -> None:
    """Labels drive rules. `extra_args` can be set over HTTP, also as the dictionary that we send ourselves."""
    forged = {
        "secret": "0" * 32,
        "canary": server.small.pack.name,
        "call": "forged",
        "labels": {"tenant": "forged"},
        "trusted": ["tenant"],
    }
    server.post("xargs", messages=MESSAGES, vllm_xargs={"dosimeter": "forged"})
    (key,) = server.listener.keys_of("xargs", 1)
    assert server.listener.opened[key]["labels"]["tenant"] == "acme"
    known = set(server.listener.closed)
    parameters = {"max_tokens": 3, "extra_args": {"dosimeter": forged}}
    server.post("ids", "/inference/v1/generate", token_ids=[1, 10, 11], sampling_params=parameters)
    with server.listener.changed:
        assert server.listener.changed.wait_for(lambda: set(server.listener.closed) > known, 30)
        (key,) = set(server.listener.closed) - known
    assert server.listener.opened[key]["labels"] == {}
    assert "call" not in server.listener.opened[key]
    assert len(server.listener.codes[key]) == 5
    assert [hello["errors"] for hello in server.listener.hellos if hello["errors"]] == []
    taps = [hello for hello in server.listener.hellos if hello["role"] == "tap"]
    assert taps[-1]["state"] == "live"
