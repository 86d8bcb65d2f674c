"""The canary of vLLM: each pack's known tokens, sent through the server's own scheduler by our front.

It knows what must come back and compares; nothing of a server is known here. Until every pack that fits the
model has come through, the path is not proven.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.bank import ProbeBank
from dosimeter.detectors.frames import CODES_PER_SD, Codes, to_codes
from dosimeter.detectors.pack import Pack
from dosimeter.monitor.taps.binding import agree
from dosimeter.monitor.taps.probe_op import HookError
from dosimeter.monitor.taps.requests import Request

CANARY_KEY = 0
"""No request has it: the tap counts from 1."""

WAITING = (
    "the start-up canary has not come through the server: was it started with "
    "`--middleware dosimeter.monitor.taps.vllm_front.Front`?"
)


class Canary:
    """One pack at a time. packs: those that fit the model; bank: their columns."""

    def __init__(self, bank: ProbeBank, packs: Sequence[Pack]) -> None:
        self._bank = bank
        self._missing = {pack.name: pack for pack in packs}
        self._pack: Pack | None = None
        self._codes: Codes = np.zeros((0, 0), np.int16)  # [T, F]
        self._seen: npt.NDArray[np.bool_] = np.zeros(0, bool)  # [T]

    @property
    def passed(self) -> bool:
        return not self._missing

    def begin(self, pack_name: str, tokens: int) -> Request:
        """A canary of this pack was scheduled. Its request is in no register: nobody is told of it."""
        self._pack = self._missing.get(pack_name)
        self._codes = np.zeros((tokens, len(self._bank.columns)), np.int16)
        self._seen = np.zeros(tokens, bool)
        return Request(CANARY_KEY, tokens, None, [], False, time.time_ns(), None)

    def take(self, rows: npt.NDArray[np.void], codes: Codes) -> None:
        at = 0
        for _, start, n, _, _ in rows.tolist():
            stop = min(start + n, len(self._seen))
            self._codes[start:stop] = codes[at : at + stop - start]
            self._seen[start:stop] = True
            at += n

    def verdict(self) -> str | None:
        """The canary has ended: what is wrong, or None, and then its pack is proven."""
        pack, self._pack = self._pack, None
        if pack is None:
            return None
        if not self._seen.all():
            return (
                f"pack `{pack.name}`: {self._seen.sum()} of {len(self._seen)} positions were read"
            )
        columns = [self._bank.features.index(feature) for feature in pack.features]
        # Codes are what leaves the server, so codes are compared: a score on the edge may round either way.
        found = self._codes[:, columns].astype(np.float32) / np.float32(CODES_PER_SD)
        known = to_codes(pack.fingerprint.scores).astype(np.float32) / np.float32(CODES_PER_SD)
        allowed = pack.fingerprint.tolerance + 1 / CODES_PER_SD
        try:
            agree(found, known, allowed, f"pack `{pack.name}`")
        except HookError as error:
            return str(error)
        del self._missing[pack.name]
        return None
