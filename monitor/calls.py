"""A call's two halves, where front and tap are processes of their own: requests that closed, and a count.

The tap closes a request with what it, or the server's scheduler, says was served; the front says what the
reply to the call counted. They meet here, in either order, and the request's account is settled once more
against the reply's count. Nothing waits: until the other half comes, the tap's count stands.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from dosimeter.monitor.coverage import Account
from dosimeter.monitor.records import Usage

REMEMBERED = 4096
"""Calls kept until their other half comes; the oldest give way and keep the count they have."""
MAX_REQUESTS = 256
"""Requests of one call that wait for its count; a call with more keeps the tap's."""


class Settled(Protocol):
    """The account of one request, for another count."""

    def __call__(self, *, served: int, source: str) -> Account: ...


@dataclass(slots=True)
class _Call:
    closed: list[tuple[Account, Settled]] = field(default_factory=list)
    usage: Usage | None = None


class Calls:
    """Methods return what changes: (account as it was added, account as it should have been)."""

    def __init__(self) -> None:
        self._calls: OrderedDict[str, _Call] = OrderedDict()

    def closed(
        self, call: str, account: Account, settled: Settled
    ) -> Sequence[tuple[Account, Account]]:
        found = self._of(call)
        found.closed.append((account, settled))
        if len(found.closed) > MAX_REQUESTS:
            del self._calls[call]
            return ()
        return self._meet(call, found)

    def counted(self, usage: Usage) -> Sequence[tuple[Account, Account]]:
        found = self._of(usage.call)
        found.usage = usage
        return self._meet(usage.call, found)

    def _of(self, call: str) -> _Call:
        found = self._calls.setdefault(call, _Call())
        if len(self._calls) > REMEMBERED:
            self._calls.popitem(last=False)
        return found

    def _meet(self, call: str, found: _Call) -> Sequence[tuple[Account, Account]]:
        """Both halves are there: a prompt was served to each of its answers, nothing is run for a last token.

        Of several requests the reply counts only the sum; a difference is charged to the last. A sum for
        requests that have not all closed here, or that closed before this process began, says nothing.
        """
        if found.usage is None or len(found.closed) != found.usage.requests:
            return ()
        self._calls.pop(call, None)
        prompt, completion = found.usage.prompt_tokens, found.usage.completion_tokens
        if prompt is None or completion is None:
            return ()
        n = len(found.closed)
        counted = round(n / found.usage.prompts * prompt) + completion - n
        difference = max(0, counted) - sum(account.served for account, _ in found.closed)
        changes = []
        for index, (account, settled) in enumerate(found.closed):
            served = account.served + (difference if index == n - 1 else 0)
            changes.append((account, settled(served=max(0, served), source="usage")))
        return changes
