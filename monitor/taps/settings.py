"""What `dosimeter attach` tells the tap inside the server, in one environment variable.

The server's own configuration is never read or written. Without the variable nothing of ours is imported.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

ENV = "DOSIMETER_TAP"

DEFAULT_LABELS = {
    "request_id": "x-request-id",
    "traceparent": "traceparent",
    "tenant": "x-tenant-id",
    "user": "x-user-id",
    "conversation": "x-conversation-id",
    "route": "x-route",
}


@dataclass(frozen=True)
class TapSettings:
    socket: str
    packs: tuple[str, ...] = ()
    """folders, or lines of a list"""
    pack_list: str = ""
    """a file that names the packs instead, and is followed while the server runs"""
    capture: str = ""
    """a socket at which somebody may ask for activations; empty: nobody may"""
    labels: Mapping[str, str] = field(default_factory=lambda: dict(DEFAULT_LABELS))
    """label -> HTTP header, lower case"""
    trusted: tuple[str, ...] = ()
    """labels whose header only your gateway can set; the rest are the client's word"""
    content_tenants: tuple[str, ...] = ()
    """tenants that chose to let text leave the server; takes effect only if `tenant` is trusted"""

    def to_env(self) -> dict[str, str]:
        """What nobody asked for is not in it: a manifest shows what is."""
        said = asdict(self)
        for name in ("pack_list", "capture"):
            if not said[name]:
                del said[name]
        return {ENV: json.dumps(said)}

    @classmethod
    def from_env(cls) -> TapSettings | None:
        text = os.environ.get(ENV)
        if not text:
            return None
        found = json.loads(text)
        return cls(
            socket=found["socket"],
            packs=tuple(found["packs"]),
            pack_list=found.get("pack_list", ""),
            capture=found.get("capture", ""),
            labels=found["labels"],
            trusted=tuple(found["trusted"]),
            content_tenants=tuple(found["content_tenants"]),
        )
