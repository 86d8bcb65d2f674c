"""How a request of vLLM ended, by its scheduler's own count, told along with the scheduler's next output.

The scheduler lives in the engine's process and the runner perhaps in another: what is put on the output
travels with it. Nothing of vLLM is imported.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from dosimeter.monitor.taps.requests import End, Request

ATTRIBUTE = "dosimeter_ends"
"""On a scheduler: ends not told yet. On its output: those of the requests this output says are finished."""
STOPPED = "dosimeter_stopped"
"""On a scheduler: requests that its API process has stopped, told apart from those whose client left."""

Counted = tuple[str, int, int, int]  # status, prompt tokens, generated tokens, positions scheduled

OUTCOMES = {"FINISHED_ABORTED": "cancelled", "FINISHED_ERROR": "failed"}
"""All other states of a request that is over are ends of its own: stop, length, repetition."""


def stopping(secret: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`OutputProcessor.process_outputs`: an answer that met a stop string is aborted in the engine, as one whose
    client left is. Its id goes along once more, with the server's secret before it, which no request has."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def process_outputs(self: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(self, *args, **kwargs)
            with contextlib.suppress(Exception):  # then it reads as a client that left
                if result.reqs_to_abort:
                    result.reqs_to_abort += [f"{secret}:{name}" for name in result.reqs_to_abort]
            return result

        return process_outputs

    return make


def finishing(secret: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`Scheduler.finish_requests`: passes over ids that it does not know; here the marked ones are taken note of."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def finish_requests(self: Any, request_ids: Any, *args: Any, **kwargs: Any) -> Any:
            with contextlib.suppress(Exception):  # then it reads as a client that left
                if isinstance(request_ids, (list, set, tuple)):
                    marked = [
                        n for n in request_ids if isinstance(n, str) and n.startswith(f"{secret}:")
                    ]
                    self.__dict__.setdefault(STOPPED, set()).update(
                        n[len(secret) + 1 :] for n in marked
                    )
            try:
                return original(self, request_ids, *args, **kwargs)
            finally:
                with contextlib.suppress(Exception):
                    self.__dict__.pop(STOPPED, None)

        return finish_requests

    return make


def freeing(original: Callable[..., Any]) -> Callable[..., Any]:
    """`Scheduler._free_request`: every request that is over passes here, whatever ended it."""

    def _free_request(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            stopped = request.request_id in self.__dict__.get(STOPPED, ())
            self.__dict__.setdefault(ATTRIBUTE, {})[request.request_id] = (
                "FINISHED_STOPPED" if stopped else request.status.name,
                request.num_prompt_tokens,
                request.num_output_tokens,
                request.num_computed_tokens,
            )
        except Exception:  # then the runner counts for itself, and says so
            self.__dict__.pop(ATTRIBUTE, None)
        return original(self, request, *args, **kwargs)

    return _free_request


def scheduling(original: Callable[..., Any]) -> Callable[..., Any]:
    """`Scheduler.schedule`: its output names the requests that are over, and now also how they ended."""

    def schedule(self: Any, *args: Any, **kwargs: Any) -> Any:
        output = original(self, *args, **kwargs)
        ends = self.__dict__.get(ATTRIBUTE)
        if ends:
            with contextlib.suppress(Exception):  # then the runner counts for itself
                told = {name: ends.pop(name) for name in output.finished_req_ids if name in ends}
                setattr(output, ATTRIBUTE, told)
        return output

    return schedule


def served_of(counted: Counted) -> int | None:
    """Positions of an answer that came to its end: nothing is run for its last token. None: it was cut short."""
    status, prompt, generated, _ = counted
    return None if status in OUTCOMES or not generated else prompt + generated - 1


def end_of(request: Request, counted: Counted | None, ran: int | None = None) -> End:
    """Nothing is run for the last token of an answer; of a request cut short, all that was scheduled ran.

    The scheduler begins to count anew when it puts a request off, and that may be cut short before it runs again.
    ran: up to which position its last step counts, where that had drafts: a request that is given up while they run
    keeps them in the scheduler's count, also those that were then rejected.
    """
    if counted is None:
        return End("finished", request.prompt_len, 0, request.next_position, "tap")
    status, prompt, generated, scheduled = counted
    outcome = OUTCOMES.get(status, "finished")
    served = prompt + generated - 1 if generated else 0
    if outcome != "finished":
        scheduled = scheduled if ran is None else min(scheduled, ran)
        served = max(served, scheduled, request.next_position)
    return End(outcome, prompt, generated, served, "scheduler")
