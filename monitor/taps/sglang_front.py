"""The front for SGLang: who asks goes into a request's `custom_params`, and the canary through the server's own API.

As `vllm_front`, whose middleware it is; what is SGLang's is here. Its requests cross to the scheduler as messages whose
values are plain, so ours is one text.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from typing import Any

from dosimeter.monitor.taps import pack_list, vllm_front
from dosimeter.monitor.taps.front import Scope
from dosimeter.monitor.taps.settings import TapSettings
from dosimeter.monitor.taps.vllm_session import KEY, Session, without_ours


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

    async def prove(self, engine: Any) -> None:
        from sglang.srt.managers.io_struct import GenerateReqInput

        for named in self.settings.packs:
            try:
                pack = pack_list.load(named)
                vllm_front.current_canary.set(pack.name)
                request = GenerateReqInput(
                    input_ids=list(pack.fingerprint.token_ids),
                    sampling_params={"max_new_tokens": 1, "temperature": 0.0},
                    cache_salt=secrets.token_hex(16),  # all of it must run
                )
                async for _ in engine.generate_request(request, None):
                    pass
            except Exception as error:  # the tap stays blind, and says that the canary is missing
                self.failed(error)


_desk: Desk | None = None


def desk() -> Desk | None:
    """This process's, made at the first call; None where no tap is wanted, or none could be made."""
    global _desk
    if _desk is None:
        with contextlib.suppress(Exception):
            settings, session = TapSettings.from_env(), Session.from_env()
            if settings is not None and session is not None:
                import sglang

                _desk = Desk(settings, session, sglang.__version__)
    return _desk


class Front(vllm_front.Front):
    """Put around SGLang's app before it starts, outside of all but its keys."""

    def __init__(self, app: Any) -> None:
        super().__init__(app, desk())

    def _engine(self, scope: Scope) -> Any:
        from sglang.srt.entrypoints import http_server

        state = http_server.get_global_state()
        return None if state is None else state.tokenizer_manager
