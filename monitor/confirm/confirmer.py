"""How one confirmer is asked: over HTTP, or by calling a function of the operator's own installation.

Owns one question and the reading of its answer. It never learns how often, how many at a time, or what comes of it:
that is the desk's.
"""

from __future__ import annotations

import importlib
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import cached_property
from http.client import HTTPException
from typing import Any, Protocol

from dosimeter.monitor.confirm.answer import Answer, NoAnswer, parse_answer, read_answer
from dosimeter.monitor.confirm.config import ConfirmerConfig

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


class _Here(urllib.request.HTTPRedirectHandler):
    """The headers may be credentials, and are for the one that was named."""

    def redirect_request(self, *_: Any) -> None:
        return None


class HttpConfirmer:
    """POSTs the record's bytes. Only 200 is an answer, and only from the URL itself."""

    def __init__(self, config: ConfirmerConfig) -> None:
        self.name, self.timeout_s = config.name, float(config.timeout_s)
        self._url = config.url
        self._headers = {**config.headers, "Content-Type": "application/json"}
        self._opener = urllib.request.build_opener(_Here)

    def ask(self, core: bytes) -> Answer:
        request = urllib.request.Request(self._url, core, self._headers, method="POST")
        try:
            with self._opener.open(request, timeout=self.timeout_s) as reply:
                status, body = reply.status, reply.read(MAX_REPLY + 1)
        except urllib.error.HTTPError as error:
            error.close()
            raise NoAnswer(f"answered {error.code}") from None
        except (OSError, HTTPException, ValueError) as error:
            raise NoAnswer(f"not reached: {error}") from None
        if status != OK:
            raise NoAnswer(f"answered {status}")
        if len(body) > MAX_REPLY:
            raise NoAnswer(f"answered with more than {MAX_REPLY} bytes")
        return parse_answer(body)


class CallConfirmer:
    """Calls a function with the record as a dict, its own copy each time."""

    def __init__(self, config: ConfirmerConfig) -> None:
        self.name, self.timeout_s = config.name, float(config.timeout_s)
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
