"""A capture: the rows are the model's, of sampled requests alone, every bound ends it, the server is not held."""

from __future__ import annotations

import gc
import os
import socket
import struct
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from dosimeter.monitor.capture.asking import NotTaken
from dosimeter.monitor.taps import capture_steps, capture_wire, capturing
from dosimeter.monitor.taps.capture_steps import Taken, drawn, over
from dosimeter.monitor.taps.capture_wire import HEAD, CaptureError, Kind, Order, peer_uid, read
from dosimeter.monitor.taps.requests import End, Requests, Ticket

from .capture_scene import ORDER, Got, Scene, scene
from .conftest import Small, hidden_of
from .test_transformers import PROMPTS, SHARED, batched, compiling, generated

TOLERANCE = 1e-5


def check(it: Scene, got: Got, sequences: list[list[int]]) -> None:
    """Every sequence has its request, and each row of it is what a plain forward of it alone leaves."""
    it.model.set_attn_implementation("eager")
    left = [hidden_of(it.model, ids) for ids in sequences]
    assert len(got.requests) == len(sequences)
    for key, record in got.requests.items():
        assert record["whole"]
        found = got.hidden(key)
        served = record["served"]
        assert found.shape[1] == record["rows"] == served - record["first"]
        fits = [
            i
            for i, one in enumerate(left)
            if one.shape[1] == served + 1
            and np.abs(one[:, record["first"] : served] - found).max() < TOLERANCE
        ]
        assert fits, f"request {key} is of no sequence"
        left.pop(fits[0])


@pytest.mark.parametrize("go", [generated(), batched(PROMPTS)], ids=["generate", "continuous"])
def test_rows_are_those_of_an_unbatched_forward(small: Small, go) -> None:
    with scene(small) as it:
        with it.captured() as got:
            sequences = go(it.model)
        check(it, got, sequences)
        assert got.came is not None
        assert got.came.done
        assert got.came.why == "whoever asked has ended it"


def test_answers_and_scores_are_what_they_are_without(small: Small) -> None:
    with scene(small) as it:
        plain = generated()(it.model)
        before = dict(it.seen.scores)
        with it.captured():
            assert generated()(it.model) == plain
        after = [it.seen.scores[key] for key in sorted(it.seen.scores)[len(before) :]]
    for was, now in zip(before.values(), after, strict=True):
        assert was.keys() == now.keys()
        assert all((was[at] == now[at]).all() for at in was)


def test_unsampled_requests_leave_nothing(small: Small) -> None:
    with scene(small) as it, it.captured(sample_ppm=400_000) as got:
        for _ in range(6):
            generated()(it.model)
    order = replace(ORDER, sample_ppm=400_000)
    wanted = {key for key in it.seen.opened if drawn(order, key)}
    assert 0 < len(wanted) < 24
    assert set(got.requests) == set(got.rows_of) == wanted


def test_a_share_is_drawn_as_often_as_it_says() -> None:
    """1 % of 100,000: within five standard deviations of 1,000."""
    order = Order("cd" * 16, "x", (0,), 1, 10_000, 1, 1)
    assert abs(sum(drawn(order, key) for key in range(100_000)) - 1000) < 160


def test_a_request_that_was_under_way_is_not_taken(small: Small) -> None:
    """Its first rows have gone: half of it is of no use."""
    with scene(small) as it:
        streams = [0]

        class Begin:
            """Begins the capture in the middle of an answer."""

            def put(self, _tokens: torch.Tensor) -> None:
                streams[0] += 1
                if streams[0] == 3:
                    self.holds = it.captured()
                    self.got = self.holds.__enter__()

            def end(self) -> None:
                pass

        begin = Begin()
        it.model.generate(torch.tensor([PROMPTS[0]]), max_new_tokens=8, do_sample=False,
                          eos_token_id=None, pad_token_id=0, streamer=begin)  # fmt: skip
        begin.holds.__exit__(None, None, None)
    assert streams[0] > 3
    assert not begin.got.rows_of
    assert not begin.got.requests


def test_hooks_are_the_same_before_during_and_after_and_nothing_is_kept(small: Small) -> None:
    """A change of them would have a compiled server trace its graphs anew."""
    with scene(small) as it:
        before = [dict(block._forward_hooks) for block in it.model.model.layers]
        with it.captured():
            generated()(it.model)
            assert [dict(block._forward_hooks) for block in it.model.model.layers] == before
        generated()(it.model)  # it lets go of the capture between two steps
        assert [dict(block._forward_hooks) for block in it.model.model.layers] == before
        gc.collect()
        assert not [one for one in gc.get_objects() if isinstance(one, capture_steps.Job)]


def test_time_ends_it(small: Small) -> None:
    with scene(small) as it, it.captured(for_s=60) as got:
        generated()(it.model)
        it.seconds += 60
        generated()(it.model)
        assert got.ended.wait(60)
    assert len(got.requests) == 4
    assert got.why == it.said[-1]["why"] == "its time is up"


def test_a_number_of_requests_ends_it(small: Small) -> None:
    with scene(small) as it:
        with it.captured(max_requests=3) as got:
            sequences = generated()(it.model)
            generated()(it.model)
            assert got.ended.wait(60)
        check(it, got, sequences[:3])
    assert got.why == "as many requests as were asked for"


def test_a_number_of_bytes_ends_it_and_none_more_leave(small: Small) -> None:
    row = 2 * 64 * 4
    with scene(small) as it, it.captured(max_bytes=30 * row) as got:
        generated()(it.model)
        assert got.ended.wait(60)
    assert got.why == "as many bytes as were asked for"
    assert sum(map(len, got.rows_of.values())) * row == it.said[-1]["bytes"] <= 30 * row
    unfinished = [one for one in got.requests.values() if one["outcome"] == "unfinished"]
    assert not any(one["whole"] for one in unfinished)


def test_a_slow_reader_costs_rows_and_no_time(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader takes nothing until the server is through with everything: it was not waited for."""
    row = 2 * 64 * 4
    monkeypatch.setattr(capture_steps, "QUEUE_BYTES", 40 * row)
    through = threading.Event()
    got = Got(on_rows=lambda: through.wait(60))
    with scene(small) as it, it.captured(got) as got:
        plain = generated()(it.model)
        for _ in range(300):  # more than the socket's own buffers hold
            assert generated()(it.model) == plain
            if it.place._job is not None and it.place._job.lost:
                break
        through.set()
    lost = it.said[-1]["lost"]
    assert set(lost) == {"slow_reader"}
    marked = [record for record in got.requests.values() if record["lost"] == "slow_reader"]
    assert len(marked) == lost["slow_reader"]
    assert not any(one["whole"] for one in marked)


def test_a_slow_reader_that_has_had_enough_is_heard_and_told_of_every_request(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that waited had to go through first: who asked had left by then, with rows and without a request."""
    with scene(small) as it, it.captured(for_s=80_000) as got:
        taken: list[str] = []

        def slow(connection: socket.socket, data: bytes) -> None:
            connection.sendall(data)
            taken.append(wire_kind(data))
            it.seconds += 2.0 if taken[-1] == "ROWS" else 0.0

        monkeypatch.setattr(capturing, "send", slow)
        job = it.place.wanted
        assert job is not None
        it.place.wanted = None
        request = Requests(lambda kind, record: None, lambda: 1).open([5], None)
        one = Taken(request, 0, 5000)
        job.open[request.key], job.requests = one, 1
        job.queue.extend((one, at, np.zeros((1, 128), np.float32)) for at in range(5000))
    assert it.said[-1]["why"] == "whoever asked has ended it"
    assert it.said[-1]["lost"] == {"slow_reader": 1}
    assert 0 < taken.count("ROWS") < 5000
    assert taken[-2:] == ["REQUEST", "DONE"]
    assert got.came is not None
    assert got.came.done
    assert [record["whole"] for record in got.requests.values()] == [False]


def wire_kind(data: bytes) -> str:
    return Kind(HEAD.unpack_from(data)[2]).name


def test_an_asker_that_goes_ends_it(small: Small) -> None:
    def gone() -> None:
        raise OSError(28, "No space left on device")

    with scene(small) as it, it.captured(Got(on_rows=gone)) as got:
        generated()(it.model)
    assert got.came is not None
    assert got.came.why == "no space left on device"
    assert it.said[-1]["state"] == "ended"
    assert it.said[-1]["why"] in ("no space left on device", "whoever asked has gone")
    assert it.place.wanted is None


def test_an_asker_that_goes_ends_no_server_that_gave_sigpipe_back_its_meaning() -> None:
    """Python ignores the signal; a program or library that wants to end with its pipe restores it, and we wrote on."""
    script = (
        "import signal, socket\n"
        "from dosimeter.monitor.taps.capture_wire import send\n"
        "signal.signal(signal.SIGPIPE, signal.SIG_DFL)\n"
        "ours, theirs = socket.socketpair()\n"
        "theirs.close()\n"
        "try:\n    send(ours, b'rows')\nexcept OSError as error:\n    print(type(error).__name__)\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout) == (0, "BrokenPipeError\n")


def test_an_error_ends_the_capture_and_no_step(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a defect of ours")

    monkeypatch.setattr(capture_steps.CaptureOp, "take", broken)
    with scene(small) as it:
        plain = generated()(it.model)
        with it.captured() as got:
            assert generated()(it.model) == plain
            assert it.seen.tap is not None
            assert not it.seen.tap.breaker.failures
    assert not got.rows_of
    assert "a defect of ours" in it.said[-1]["why"]
    assert it.said[-1]["lost"] == {"not_read": 4}


@pytest.mark.parametrize("n", [1, 3])
def test_prompts_in_pieces_and_prefixes_out_of_a_cache(small: Small, n: int) -> None:
    """Continuous batching: several steps a prompt, pages shared, several answers of one prompt, requests put off."""
    prompts = [[*SHARED, 71], [*SHARED, 80, 81], [*SHARED, 90]]
    tight = {"allow_block_sharing": True, "max_batch_tokens": 16}
    with scene(small) as it:
        with it.captured() as got:
            sequences = batched(prompts, n=n, **tight)(it.model)
        check(it, got, sequences)
    assert sum(map(len, got.rows_of.values())) < sum(
        len(ids) - 1 for ids in sequences
    )  # some were never run


def test_drafts_are_not_captured_and_counted(small: Small) -> None:
    """What the server takes back never was its answer."""
    with scene(small) as it, it.captured() as got:
        it.model.generate(
            torch.tensor([PROMPTS[1]]), max_new_tokens=6, do_sample=False, eos_token_id=None,
            pad_token_id=0, prompt_lookup_num_tokens=3,
        )  # fmt: skip
    (record,) = got.requests.values()
    assert not record["whole"]
    assert it.said[-1]["lost"] == {"drafted": 1}


def test_a_step_that_the_server_could_not_finish_is_dropped(small: Small) -> None:
    def fails(*_: object) -> None:
        raise ValueError("the server's own")

    with scene(small) as it, it.captured() as got:
        hook = it.model.lm_head.register_forward_hook(fails)
        with pytest.raises(ValueError, match="the server's own"):
            generated()(it.model)
        hook.remove()
        sequences = generated()(it.model)
    assert it.said[-1]["lost"] == {"not_read": 4}
    whole = {key: record for key, record in got.requests.items() if record["whole"]}
    assert len(whole) == 4
    assert set(got.rows_of) == set(whole)
    assert {record["served"] for record in whole.values()} == {len(ids) - 1 for ids in sequences}


@pytest.mark.parts  # for its length: it imports the compiler
def test_a_graph_that_was_compiled_before_ends_it_and_answers_as_ever(small: Small) -> None:
    """Whether or not the tap knew beforehand: there is no row, and no graph is traced again for it."""
    options = {"cache_implementation": "static", "compile_config": compiling(fullgraph=True)}
    with scene(small) as it:
        plain = generated(**options)(it.model)
        assert it.seen.tap.op.compiled
        graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        with it.captured() as got:
            assert generated(**options)(it.model) == plain
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs
    assert "0 of 2 tapped blocks were seen" in it.said[-1]["why"]
    assert not any(record["whole"] for record in got.requests.values())


def test_what_was_asked_is_said_before_anything_leaves_and_what_came_afterwards(
    small: Small,
) -> None:
    with scene(small) as it:
        with it.captured() as got:
            (began,) = it.said
            assert began["state"] == "began"
            assert not got.rows_of
            assert began["reason"] == "INC-441"
            assert began["by_uid"] == os.geteuid()
            assert began["out"] == "/captured"
            assert began["until_ns"] - began["since_ns"] == 60 * 10**9
            generated()(it.model)
        ended = it.said[1]
    assert ended["id"] == began["id"]
    assert ended["state"] == "ended"
    rows = sum(map(len, got.rows_of.values()))
    assert (ended["requests"], ended["rows"], ended["bytes"]) == (4, rows, rows * 2 * 64 * 4)


@pytest.mark.parametrize(
    ("changed", "order", "why"),
    [
        ({"sidecar": False}, {}, "no sidecar"),
        ({"compiled": True}, {}, "compiled graphs"),
        ({}, {"layers": (0, 3)}, "the model has 3 blocks"),
        ({}, {"reason": " "}, "`reason`"),
        ({}, {"for_s": 10**6}, "`for_s`"),
    ],
)
def test_what_cannot_be_followed_is_refused_with_its_reason(
    small: Small, changed: dict, order: dict, why: str
) -> None:
    with scene(small) as it:
        for name, value in changed.items():
            setattr(it, name, value)
        with pytest.raises(NotTaken, match=why), it.captured(**order):
            generated()(it.model)
        assert it.place.wanted is None
        assert not it.said


def test_a_socket_in_a_folder_that_others_may_write_is_left_alone(
    small: Small, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever can put a socket there could have activations sent to themselves."""
    with scene(small) as it, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        it.path.parent.chmod(0o777)
        listener.bind(str(it.path))
        listener.listen(1)
        listener.setblocking(False)
        it.tap.look()
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert "others may write its folder" in caplog.text


def test_another_user_gets_nothing(
    small: Small, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who listens is asked of the kernel, for one who cannot be trusted says what they like."""
    monkeypatch.setattr(capturing, "peer_uid", lambda _: os.geteuid() + 1)
    with scene(small) as it:
        with pytest.raises(NotTaken, match="without a word"), it.captured():
            generated()(it.model)
        assert it.place.wanted is None
        assert not it.said
    assert f"user {os.geteuid() + 1} may not ask" in caplog.text


def test_an_order_is_checked_field_by_field() -> None:
    good = ORDER.as_json()
    assert Order.parse(good) == ORDER
    for name, bad in {
        "id": "zz", "layers": [2, 1], "reason": "", "for_s": 0, "sample_ppm": 10**6 + 1, "max_bytes": True,
        "max_requests": -1, "out": "x" * 401,
    }.items():  # fmt: skip
        with pytest.raises(CaptureError, match=name):
            Order.parse({**good, name: bad})


def test_ids_leave_only_where_all_that_ran_are_known() -> None:
    """Of an answer that was cut off the server tells no ids: a build had failed on rows without one."""
    requests = Requests(lambda kind, record: None, lambda: 1)
    for ids, known in (([], False), ([8, 9], True)):
        request = requests.open([5, 6, 7], Ticket({}, frozenset(), content=True))
        request.advance(0, 3)
        request.advance(3, 1)
        requests.tap_ended(request, End("cancelled", 3, len(ids), 4, "tap", ids))
        found = over(Taken(request, 0, 4))
        assert found["whole"]
        assert ("ids" in found) is known


def test_a_row_that_ran_beyond_the_end_costs_no_request_its_wholeness() -> None:
    """Where a server schedules ahead of its results every request has one, and none was whole."""
    requests = Requests(lambda kind, record: None, lambda: 1)
    request = requests.open([5, 6, 7], None)
    requests.tap_ended(request, End("finished", 3, 2, 4, "scheduler", [8, 9]))
    assert not over(Taken(request, 0, 3))["whole"]
    assert over(Taken(request, 0, 4))["whole"]
    assert over(Taken(request, 0, 5))["whole"]


def test_a_message_that_comes_byte_by_byte_keeps_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte had its own time-out: neither the bound on time nor Ctrl-C ended a capture meanwhile."""
    clock = [0.0]

    class Dripping:
        def gettimeout(self) -> float:
            return 5.0

        def recv(self, _: int) -> bytes:
            clock[0] += 4.0
            assert clock[0] < 100
            return b"D"

    monkeypatch.setattr(capture_wire.time, "monotonic", lambda: clock[0])
    with pytest.raises(TimeoutError, match="takes too long"):
        read(Dripping())


def test_a_user_of_a_large_number_is_that_user() -> None:
    """Numbers of users have 32 bits without a sign: one of the upper half was told that another had asked."""

    class Kernel:
        def getsockopt(self, *_: object) -> bytes:
            return struct.pack("=iII", 1, 3_000_000_000, 0)

    assert peer_uid(Kernel()) == 3_000_000_000
