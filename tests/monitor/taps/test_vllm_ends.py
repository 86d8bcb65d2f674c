"""How a request of vLLM ended: the scheduler's own numbers reach the runner's process with its next output."""

from __future__ import annotations

import enum
import pickle
from types import SimpleNamespace
from typing import Any

from dosimeter.monitor.taps.requests import Request
from dosimeter.monitor.taps.vllm_ends import (
    ATTRIBUTE,
    end_of,
    finishing,
    freeing,
    scheduling,
    served_of,
    stopping,
)


class Status(enum.IntEnum):
    RUNNING = 5
    FINISHED_STOPPED = 7
    FINISHED_ABORTED = 9


class Scheduler:
    """As vLLM's, as far as ends go: who is over is named in the output after that."""

    def __init__(self) -> None:
        self.finished_req_ids: set[str] = set()
        self.alive = {"a", "b"}

    def _free_request(self, request: Any, delay_free_blocks: bool = False) -> str:
        self.finished_req_ids.add(request.request_id)
        return "freed"

    def schedule(self) -> SimpleNamespace:
        output = SimpleNamespace(finished_req_ids=self.finished_req_ids)
        self.finished_req_ids = set()
        return output

    def finish_requests(self, request_ids: Any, finished_status: Status) -> None:
        for name in request_ids:
            if name in self.alive:  # vLLM's, too, passes over ids that it does not know
                self._free_request(over(name, finished_status, 3, 12))


class Patched(Scheduler):
    _free_request = freeing(Scheduler._free_request)
    schedule = scheduling(Scheduler.schedule)
    finish_requests = finishing("5ec2e7")(Scheduler.finish_requests)


def over(name: str, status: Status, generated: int, computed: int) -> SimpleNamespace:
    return SimpleNamespace(
        request_id=name,
        status=status,
        num_prompt_tokens=10,
        num_output_tokens=generated,
        num_computed_tokens=computed,
    )


def request(ran: int = 13) -> Request:
    return Request(1, 10, None, [], False, 0, None, next_position=ran)


def test_ends_travel_with_the_output_that_names_them_also_to_another_process() -> None:
    scheduler = Patched()
    assert scheduler._free_request(over("a", Status.FINISHED_STOPPED, 3, 12)) == "freed"
    first = pickle.loads(pickle.dumps(scheduler.schedule()))
    assert getattr(first, ATTRIBUTE) == {"a": ("FINISHED_STOPPED", 10, 3, 12)}
    assert not hasattr(scheduler.schedule(), ATTRIBUTE)  # once, and nothing is kept


def test_a_prompt_that_was_put_off_and_then_given_up_was_served_as_far_as_it_ran() -> None:
    """The scheduler's count is 0 again by then: its rows were scored and alerted on, and served to nobody."""
    assert end_of(request(ran=8), ("FINISHED_ABORTED", 10, 0, 0)).served == 8


def test_nothing_is_run_for_the_last_token_of_an_answer() -> None:
    end = end_of(request(), ("FINISHED_STOPPED", 10, 3, 13))  # one more was scheduled ahead
    assert (end.outcome, end.prompt_tokens, end.completion_tokens) == ("finished", 10, 3)
    assert (end.served, end.source) == (12, "scheduler")


def test_a_request_cut_short_was_served_what_was_scheduled_for_it() -> None:
    """Also in the middle of its prompt; a preempted one has nothing scheduled, but an answer to count by."""
    assert end_of(request(ran=6), ("FINISHED_ABORTED", 10, 0, 6)).served == 6
    assert end_of(request(ran=13), ("FINISHED_ABORTED", 10, 3, 13)).served == 13
    assert end_of(request(ran=0), ("FINISHED_ABORTED", 10, 3, 0)).served == 12  # a tap that is off
    assert end_of(request(ran=6), ("FINISHED_ABORTED", 10, 0, 6)).outcome == "cancelled"
    assert end_of(request(ran=6), ("FINISHED_ERROR", 10, 0, 6)).outcome == "failed"


def test_rejected_drafts_that_the_scheduler_still_counts_were_served_to_nobody() -> None:
    """Given up in the middle of a step: 13 ran, 12 of them a prompt and an answer of three, and 4 drafts."""
    told = ("FINISHED_ABORTED", 10, 3, 17)
    assert end_of(request(ran=14), told, ran=14).served == 14
    assert end_of(request(ran=14), told).served == 17
    assert end_of(request(ran=14), ("FINISHED_ABORTED", 10, 5, 14), ran=14).served == 14


def test_only_an_answer_that_came_to_its_end_says_where_that_is() -> None:
    assert served_of(("FINISHED_LENGTH_CAPPED", 10, 3, 13)) == 12
    assert served_of(("FINISHED_ABORTED", 10, 3, 13)) is None
    assert served_of(("FINISHED_STOPPED", 10, 0, 4)) is None


def test_without_the_schedulers_word_the_tap_says_that_it_counted_itself() -> None:
    end = end_of(request(), None)
    assert (end.served, end.source) == (13, "tap")


def test_a_scheduler_with_other_names_goes_on() -> None:
    scheduler = Patched()
    scheduler._free_request(SimpleNamespace(request_id="a"))
    assert not hasattr(scheduler.schedule(), ATTRIBUTE)


class Outputs:
    """The API process's end: answers that met a stop string are aborted in the engine."""

    def process_outputs(self, met: list[str]) -> SimpleNamespace:
        return SimpleNamespace(reqs_to_abort=list(met))


def test_an_answer_that_met_a_stop_string_is_no_client_that_left() -> None:
    """vLLM aborts both in the engine with one call, and tells it of no difference."""
    process = stopping("5ec2e7")(Outputs.process_outputs)
    assert process(Outputs(), []).reqs_to_abort == []
    scheduler = Patched()
    scheduler.finish_requests(process(Outputs(), ["a"]).reqs_to_abort, Status.FINISHED_ABORTED)
    scheduler.finish_requests(["b"], Status.FINISHED_ABORTED)
    ends = getattr(scheduler.schedule(), ATTRIBUTE)
    assert ends == {"a": ("FINISHED_STOPPED", 10, 3, 12), "b": ("FINISHED_ABORTED", 10, 3, 12)}


def test_all_requests_at_once_are_finished_as_ever() -> None:
    """At a reset the engine names none of them."""
    told: list[Any] = []
    finishing("5ec2e7")(lambda self, names, status: told.append(names))(Patched(), None, 9)
    assert told == [None]


def test_a_scheduler_that_cannot_be_noted_on_finishes_its_requests_all_the_same() -> None:
    class Closed:
        __slots__ = ()

    told: list[Any] = []
    finishing("5ec2e7")(lambda self, names: told.append(names))(Closed(), ["5ec2e7:a"])
    assert told == [["5ec2e7:a"]]
