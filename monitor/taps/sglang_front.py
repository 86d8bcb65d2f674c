"""The front for SGLang: who asks goes into a request's `custom_params`, and the canary through the server's own API.

As `vllm_front`, whose middleware it is; what is SGLang's is here. Its requests cross to the scheduler as messages whose
values are plain, so ours is one text.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from dosimeter.monitor.taps import vllm_front
from dosimeter.monitor.taps.front import Scope
from dosimeter.monitor.taps.vllm_session import KEY, without_ours


class Desk(vllm_front.Desk):
    kind = "sglang"

    def carry(self, request: Any) -> None:
        """`TokenizedGenerateReqInput`, on its way to the scheduler; requests for vectors have no such parameters."""
        params = getattr(request, "sampling_params", None)
        if params is None or not hasattr(params, "custom_params"):
            return
        theirs = without_ours(params.custom_params)
        what = self.for_worker(request.input_ids or (), params)
        ours = {KEY: json.dumps(self.session.sealed(**what))} if what else {}
        params.custom_params = {**(theirs or {}), **ours} or None

    def answers(self, engine: Any, token_ids: list[int], salt: str) -> AsyncIterator[Any]:
        from sglang.srt.managers.io_struct import GenerateReqInput

        request = GenerateReqInput(
            input_ids=token_ids,
            sampling_params={"max_new_tokens": 1, "temperature": 0.0},
            cache_salt=salt,
        )
        found: AsyncIterator[Any] = engine.generate_request(request, None)
        return found


class Front(vllm_front.Front):
    """Put around SGLang's app before it starts, outside of all but its keys."""

    _of = Desk

    def _engine(self, scope: Scope) -> Any:
        from sglang.srt.entrypoints import http_server

        state = http_server.get_global_state()
        return None if state is None else state.tokenizer_manager
