"""How one confirmer is asked: over HTTP, or by calling a function of the operator's own installation.

Owns one question and the reading of its answer. It never learns how often, how many at a time, or what comes of it:
that is the desk's.
"""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Callable
from functools import cached_property
from typing import Any, Protocol

from dosimeter.monitor.confirm.answer import Answer, NoAnswer, parse_answer, read_answer
from dosimeter.monitor.confirm.config import ConfirmerConfig
from dosimeter.monitor.sinks.http import HttpClient, HttpError

MAX_REPLY = 1 << 16
OK = 200


class Confirmer(Protocol):
    """Asked from several threads at once."""

    @property
    def name(self) -> str: ...

    @property
    def timeout_s(self) -> float:
        """How long an answer is waited for."""
        ...

    def ask(self, core: bytes) -> Answer:
        """About one record, by its exact bytes. Whatever it raises, or no return in time, is no answer."""
        ...


def build_confirmer(config: ConfirmerConfig) -> Confirmer:
    """Not yet connected to anything, nothing imported."""
    return HttpConfirmer(config) if config.url else CallConfirmer(config)


class HttpConfirmer:
    """POSTs the record's bytes. Only 200 is an answer, and only from the URL itself."""

    def __init__(
        self, config: ConfirmerConfig, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.name, self.timeout_s = config.name, config.timeout_s
        self._config, self._monotonic = config, monotonic

    def ask(self, core: bytes) -> Answer:
        # One connection a question: several are asked at a time, and a client is for one thread.
        client = HttpClient.of(
            self._config, self._config.url, most=MAX_REPLY + 1, monotonic=self._monotonic
        )
        try:
            reply = client.post(core, {"Content-Type": "application/json"})
        except HttpError as error:
            raise NoAnswer(f"not reached: {error}") from None
        finally:
            client.close()
        if reply.status != OK:
            raise NoAnswer(f"answered {reply.status}")
        if len(reply.body) > MAX_REPLY:
            raise NoAnswer(f"answered with more than {MAX_REPLY} bytes")
        return parse_answer(reply.body)


class CallConfirmer:
    """Calls a function with the record as a dict, its own copy each time."""

    def __init__(self, config: ConfirmerConfig) -> None:
        self.name, self.timeout_s = config.name, config.timeout_s
        self._module, _, self._path = config.call.partition(":")

    @cached_property
    def _function(self) -> Callable[[dict[str, Any]], object]:
        found: Any = importlib.import_module(self._module)
        for name in self._path.split("."):
            found = getattr(found, name)
        function: Callable[[dict[str, Any]], object] = found
        return function

    def ask(self, core: bytes) -> Answer:
        return read_answer(self._function(json.loads(core)))
