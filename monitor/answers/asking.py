"""Who asks, as history knows them, and what belongs to every answer: one opened history and its lock.

Owns the way from a reader of the pages to an actor with a role, and that connections are used by one thread at a time.
It never learns what is asked.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dosimeter.monitor.audit.history import Found, History, dicts
from dosimeter.monitor.audit.people import access
from dosimeter.monitor.audit.people.access import Actor
from dosimeter.monitor.audit.queries.watched import Watched
from dosimeter.monitor.config import Config
from dosimeter.monitor.config_history import HistoryConfig
from dosimeter.monitor.pages.source import AccessRefused, NotPossible, Reader
from dosimeter.monitor.roles import ROLES, Right

Status = Callable[[], Mapping[str, Any]]
"""Of the history process: how far it has read and signed."""


@dataclass(frozen=True)
class Asked:
    """What all answers are made of. status: of the process that writes this history."""

    history: History
    config: Config
    settings: HistoryConfig
    status: Status
    now_ns: Callable[[], int]
    lock: threading.RLock = field(default_factory=threading.RLock)
    lately: dict[int, tuple[int, Watched]] = field(
        default_factory=dict
    )  # by span: the minute, and what was watched
    found: dict[str, Found] = field(default_factory=dict)  # the entry asked for last, by its id

    @property
    def archive(self) -> Path:
        return self.config.archive_path

    @property
    def rules(self) -> Sequence[Path]:
        return self.config.rules

    @contextmanager
    def alone(self) -> Iterator[History]:
        """The connections that one thread at a time may use."""
        with self.lock:
            yield self.history

    def rows(self, name: str, **params: Any) -> list[dict[str, Any]]:
        """Of a named query; ids as hex. Several threads may ask at once."""
        return dicts(self.history.queries.run(name, **params))

    def own(self, reader: Reader) -> dict[str, Any]:
        """The condition that holds for every query of this reader."""
        if reader.tenants is None:
            return {}
        with self.alone() as history:
            ids = (history.keys.find("tenant", b"", name) for name in reader.tenants)
            return {"tenants": sorted(id_.hex() for id_ in ids if id_ is not None)}

    def name(self, id_: str | None) -> str:
        """What a random id stands for; empty where there is none, or it was erased."""
        if not id_:
            return ""
        with self.alone() as history:
            return history.name_of(id_) or ""

    def sees(self, tenant: str | None, reader: Reader) -> bool:
        """Whether what belongs to this tenant (an id) exists for the reader."""
        own = self.own(reader).get("tenants")
        return own is None or tenant in own


def actor(reader: Reader, right: Right) -> Actor:
    """The reader in the first of their roles that may do this. Raises AccessRefused."""
    for role, of in ROLES.items():
        if role in reader.roles and right in of.may:
            return Actor(reader.name, role, reader.tenants)
    raise AccessRefused(f"none of your roles ({', '.join(sorted(reader.roles))}) may {right}")


@contextmanager
def refused() -> Iterator[None]:
    """A refusal of history is one of the pages'. Raises AccessRefused, NotPossible."""
    try:
        yield
    except access.ReasonRefused as error:
        raise NotPossible(str(error)) from error
    except access.AccessRefused as error:
        raise AccessRefused(str(error)) from error
