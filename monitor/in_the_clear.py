"""Where something may be said without TLS: to this machine, and to nobody else.

One rule for sinks, confirmers, the identity provider's keys and the pages' own names. It knows nothing of what is said.
"""

from __future__ import annotations

from urllib.parse import urlsplit

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def in_the_clear(url: str) -> bool:
    """Whether what is sent there can be read on its way."""
    parts = urlsplit(url)
    return parts.scheme != "https" and parts.hostname not in LOOPBACK
