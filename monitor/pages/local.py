"""The one person on this machine, admitted by a link that works once and is printed where history starts.

Owns the link and the sessions it was exchanged for; both live in memory, so a restart ends them. Loopback only. It
never learns what is shown.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import threading
import time
from collections.abc import Callable

from starlette.requests import Request

from dosimeter.monitor.pages.access import NotAdmitted, Person, Role

COOKIE = "dosimeter_session"
LASTS_S = 12 * 3600.0
MAX_SESSIONS = 32


class LocalLink:
    """Everything is allowed to its holder, and everything they read is recorded under `name`."""

    def __init__(self, name: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._name, self._monotonic = name, monotonic
        self._lock = threading.Lock()
        self._sessions: dict[str, float] = {}  # id -> end
        self._link = secrets.token_urlsafe(32)

    def path(self) -> str:
        """What to print behind the address; a new one after each use."""
        with self._lock:
            return f"/enter?token={self._link}"

    def enter(self, request: Request, token: str) -> str:
        """A session's id for a link's token, which holds no longer after that. Raises NotAdmitted."""
        _from_here(request)
        with self._lock:
            if not hmac.compare_digest(token.encode(), self._link.encode()):
                raise NotAdmitted(401, "this link was used before, or is not ours; take a new one")
            self._link = secrets.token_urlsafe(32)
            now = self._monotonic()
            held = {one: end for one, end in self._sessions.items() if end > now}
            while len(held) >= MAX_SESSIONS:
                del held[min(held, key=lambda one: held[one])]
            session = secrets.token_urlsafe(32)
            self._sessions = held | {session: now + LASTS_S}
            return session

    def person(self, request: Request) -> Person:
        _from_here(request)
        session = request.cookies.get(COOKIE, "")
        with self._lock:
            end = self._sessions.get(session)
        if end is None or end <= self._monotonic():
            said = "open the link that was printed where history was started"
            raise NotAdmitted(401, said)
        return Person(self._name, frozenset(Role), None, f"local:{session}", by_cookie=True)


def _from_here(request: Request) -> None:
    host = request.client.host if request.client else ""
    try:
        near = ipaddress.ip_address(host).is_loopback
    except ValueError:
        near = False
    if not near:
        raise NotAdmitted(403, "only from the machine on which history runs")
