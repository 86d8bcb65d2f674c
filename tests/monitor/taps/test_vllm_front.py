"""The front for vLLM: who asks goes into the request, what was counted goes to the sidecar, nothing is changed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI

from dosimeter.monitor.taps import vllm_front
from dosimeter.monitor.taps.requests import Ticket
from dosimeter.monitor.taps.settings import TapSettings
from dosimeter.monitor.taps.vllm_front import Desk, Front
from dosimeter.monitor.taps.vllm_session import KEY, Session

from .conftest import Small

SESSION = Session(77, "5e" * 16)
REPLY = b'{"usage": {"prompt_tokens": 7, "completion_tokens": 3}}'


@pytest.fixture
def desk(small: Small, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """This process's desk, with the records it says in `said`."""
    settings = TapSettings("none.sock", (str(small.pack_folder),), trusted=("tenant",))
    found = Desk(settings, SESSION, "0.32.0")
    found.sender.close()
    said: list[tuple[str, dict[str, Any]]] = []
    found.sender = SimpleNamespace(  # type: ignore[assignment]
        control=lambda kind, record: said.append((kind.name, record))
    )
    monkeypatch.setattr(vllm_front, "_desks", {Desk: found})
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(SamplingParams=SimpleNamespace))
    found.said = said  # type: ignore[attr-defined]
    return found


def request(
    extra_args: Any = None, ids: tuple[int, ...] = (1, 2, 3), salt: str | None = None
) -> SimpleNamespace:
    params = SimpleNamespace(extra_args=extra_args, n=2)
    return SimpleNamespace(sampling_params=params, prompt_token_ids=list(ids), cache_salt=salt)


class Server:
    """An app that hands one request to the engine and answers. left: the client does not wait for the end."""

    def __init__(self, desk: Desk | None, status: int = 200, left: bool = False) -> None:
        self.desk, self.status, self.left = desk, status, left
        self.carried: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self.desk is not None and self.status == 200:
            one = request()
            self.desk.carry(one)
            self.carried.append(one.sampling_params.extra_args)
        await send({"type": "http.response.start", "status": self.status})
        if self.left:
            await receive()
            return
        await send({"type": "http.response.body", "body": REPLY})


def call(front: Front, path: str = "/v1/chat/completions", **more: str) -> list[Any]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    headers = [(b"x-tenant-id", b"acme"), (b"x-request-id", b"r1")]
    scope = {"type": "http", "path": path, "headers": headers, "query_string": b"", **more}
    asyncio.run(front(scope, receive, send))
    return sent


def test_who_asked_goes_into_the_request_and_the_reply_s_count_to_the_sidecar(desk: Desk) -> None:
    server = Server(desk)
    sent = call(Front(server))
    assert sent[-1]["body"] == REPLY
    carried = SESSION.opened(server.carried[0])
    assert carried["labels"] == {"tenant": "acme", "request_id": "r1"}
    assert carried["trusted"] == ["tenant"]
    assert desk.said == [  # type: ignore[attr-defined]
        (
            "USAGE",
            {
                "call": carried["call"],
                "prompts": 1,
                "requests": 2,
                "prompt_tokens": 7,
                "completion_tokens": 3,
            },
        )
    ]


def test_an_api_process_alone_is_no_live_server(desk: Desk) -> None:
    """The sidecar takes the first greeting for the server's: a worker that never came was once called live."""
    assert desk.hello()["state"] == "blind"
    assert "worker" in desk.hello()["reason"]


def test_the_engine_s_cache_salt_goes_along_for_our_cache_of_scores(desk: Desk) -> None:
    """The engine shares a cached prefix only under the same salt, also for requests no front has seen."""
    salted, plain = request(salt="tenant 7"), request()
    desk.carry(salted)
    desk.carry(plain)
    assert SESSION.opened(salted.sampling_params.extra_args)["salt"] == "tenant 7"
    assert plain.sampling_params.extra_args is None


def test_two_calls_are_two_whatever_the_client_calls_them(desk: Desk) -> None:
    server = Server(desk)
    front = Front(server)
    call(front), call(front)
    assert server.carried[0][KEY]["call"] != server.carried[1][KEY]["call"]


@pytest.mark.parametrize("change", [{"left": True}, {"status": 400}])
def test_a_reply_without_a_count_says_none(desk: Desk, change: dict[str, Any]) -> None:
    """A client that hung up, a call that was refused: the scheduler's own count stands alone."""
    call(Front(Server(desk, **change)))
    assert desk.said == []  # type: ignore[attr-defined]


def test_other_paths_get_nothing_but_lose_what_is_not_theirs(desk: Desk) -> None:
    server = Server(desk)
    call(Front(server), "/v1/embeddings")
    assert server.carried == [None]
    forged = request({KEY: {"secret": "guess", "call": "x"}, "mine": 1})
    desk.carry(forged)
    assert forged.sampling_params.extra_args == {"mine": 1}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/llm/v1/chat/completions"])
def test_a_server_behind_a_path_of_its_proxy_knows_who_asked_by_either_path(
    desk: Desk, path: str
) -> None:
    """`vllm serve --root-path /llm` answers both; who asked was known by the short one alone, and a client could
    choose. `sglang serve --fastapi-root-path /llm` has its web server put it before every path."""
    server = FastAPI()
    server.root_path = "/llm"
    tickets: list[Ticket | None] = []

    @server.post("/v1/chat/completions")
    async def chat() -> dict[str, int]:
        tickets.append(vllm_front.current_ticket.get())
        return {}

    server.add_middleware(Front)
    sent = call(server, path, method="POST")  # type: ignore[arg-type]
    assert sent[0]["status"] == 200
    assert [one and one.labels["tenant"] for one in tickets] == ["acme"]


def test_a_clients_own_extras_are_left_alone(desk: Desk) -> None:
    """They are arguments of somebody's logits processor; ours stands beside them."""
    token = vllm_front.current_ticket.set(Ticket({}, frozenset(), call="c"))
    one = request({"mine": 1})
    desk.carry(one)
    vllm_front.current_ticket.reset(token)
    assert one.sampling_params.extra_args["mine"] == 1
    assert SESSION.opened(one.sampling_params.extra_args)["call"] == "c"


def test_spans_are_those_of_the_prompt_that_the_engine_runs(desk: Desk) -> None:
    ticket = Ticket({}, frozenset(), call="c", spans=lambda ids: ([(2, 0, len(ids))], True))
    token = vllm_front.current_ticket.set(ticket)
    one = request(ids=(5, 6, 7, 8))
    desk.carry(one)
    vllm_front.current_ticket.reset(token)
    assert one.sampling_params.extra_args[KEY]["spans"] == [[2, 0, 4]]
    assert one.sampling_params.extra_args[KEY]["spans_exact"] is True


class Engine:
    """Takes a canary as vLLM's client does, and says what became of it."""

    def __init__(self, desk: Desk, fails: bool = False) -> None:
        self.desk, self.fails = desk, fails
        self.sent: list[tuple[dict[str, Any], Any]] = []

    async def generate(self, prompt: Any, params: Any, name: str) -> Any:
        if self.fails:
            raise ValueError("token out of vocabulary")
        params.extra_args = None
        self.desk.carry(
            SimpleNamespace(sampling_params=params, prompt_token_ids=[], cache_salt=None)
        )
        self.sent.append((prompt, params))
        yield "output"


def start(front: Front, engine: Any) -> list[str]:
    """The lifespan of a server: what was sent, in order, with the canaries that had gone by then."""
    events: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "lifespan.startup.complete"})

    async def send(message: Any) -> None:
        events.append(f"{message['type']} after {len(engine.sent)}")

    front._app = app
    state = SimpleNamespace(engine_client=engine)
    scope = {"type": "lifespan", "app": SimpleNamespace(state=state)}
    asyncio.run(front(scope, None, send))  # type: ignore[arg-type]
    return events


def test_the_canary_goes_before_the_server_opens_its_port(desk: Desk, small: Small) -> None:
    engine = Engine(desk)
    assert start(Front(None), engine) == ["lifespan.startup.complete after 1"]
    ((prompt, params),) = engine.sent
    assert prompt["prompt_token_ids"] == list(small.pack.fingerprint.token_ids)
    assert prompt["cache_salt"]  # nothing of it may come out of the prefix cache
    assert params.max_tokens == 1
    assert SESSION.opened(params.extra_args)["canary"] == small.pack.name


def test_a_canary_that_cannot_be_sent_never_stops_the_server(desk: Desk) -> None:
    engine = Engine(desk, fails=True)
    assert start(Front(None), engine) == ["lifespan.startup.complete after 0"]
    assert "out of vocabulary" in str(desk.last_error)


def test_without_settings_the_middleware_is_as_if_it_were_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vllm_front, "_desks", {})
    monkeypatch.delenv("DOSIMETER_TAP", raising=False)
    server = Server(None)
    sent = call(Front(server))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
