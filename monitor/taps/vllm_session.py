"""What the processes of one vLLM server share: an epoch, a secret, and the form in which a call reaches the worker.

Headers end in the API process and rows begin in the worker; between them goes one dictionary of ours in the
request's own `extra_args`. A client can write into those too, so the dictionary carries the secret. Nothing
of vLLM is imported here.
"""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dosimeter.monitor.taps.requests import Span, Ticket

ENV = "DOSIMETER_VLLM"
KEY = "dosimeter"
"""Our entry in a request's `extra_args`."""


@dataclass(frozen=True)
class Session:
    """Made by the first process of a server, inherited by the others. epoch: as on the wire."""

    epoch: int
    secret: str

    @classmethod
    def shared(cls) -> Session:
        """This server's; where there is none yet, a new one, left in the environment for its children."""
        found = cls.from_env()
        if found is None:
            found = cls(secrets.randbits(62) | 1, secrets.token_hex(16))
            os.environ[ENV] = f"{found.epoch:x}:{found.secret}"
        return found

    @classmethod
    def from_env(cls) -> Session | None:
        epoch, _, secret = os.environ.get(ENV, "").partition(":")
        return cls(int(epoch, 16), secret) if secret else None

    def sealed(self, **what: Any) -> dict[str, Any]:
        return {"secret": self.secret, **what}

    def opened(self, extra_args: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """What our API process put there; empty if it was nobody, or somebody else."""
        found = (extra_args or {}).get(KEY)
        if not isinstance(found, dict) or not isinstance(found.get("secret"), str):
            return {}
        theirs = found["secret"].encode(errors="replace")  # any text may stand there
        return found if hmac.compare_digest(theirs, self.secret.encode()) else {}


def without_ours(extra_args: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A client's own extras, less what it put in our place."""
    return {k: v for k, v in (extra_args or {}).items() if k != KEY} or None


def described(ticket: Ticket, prompt_ids: Sequence[int]) -> dict[str, Any]:
    """A call, for the worker: who asked, and whose tokens the prompt's are."""
    found: dict[str, Any] = {
        "call": ticket.call,
        "labels": dict(ticket.labels),
        "trusted": sorted(ticket.trusted),
    }
    if ticket.spans is not None:
        spans, exact = ticket.spans(prompt_ids)
        found |= {"spans": [list(span) for span in spans], "spans_exact": exact}
    return found


def ticket_of(found: Mapping[str, Any]) -> Ticket:
    """The call again, in the worker. Its reply is none of the worker's business: it has ended there."""
    spans = found.get("spans")
    return Ticket(
        labels=found["labels"],
        trusted=frozenset(found["trusted"]),
        call=found["call"],
        spans=None if spans is None else _fixed(spans, bool(found["spans_exact"])),
        ended=True,
    )


def _fixed(spans: Sequence[Any], exact: bool) -> Callable[[Sequence[int]], tuple[list[Span], bool]]:
    whole = [(int(scope), int(start), int(end)) for scope, start, end in spans]
    return lambda ids: (whole, exact)
