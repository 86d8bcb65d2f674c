"""Who may speak for a server process: those that did first, as the kernel vouches for them.

An epoch is no secret, and whoever opens the socket could end other people's requests with it. So a tap's epoch
belongs to one process, and all that speak for it to one user. It knows nothing of what is said.
"""

from __future__ import annotations

from dosimeter.monitor.taps.wire import Kind, WireError

Peer = tuple[int, int, int]  # pid, uid, gid

FRONT_SAYS = frozenset({Kind.HELLO, Kind.USAGE, Kind.BEAT})


class Speakers:
    """Of one epoch. A front of its own may be several processes; one that came with the tap may not."""

    def __init__(self) -> None:
        self._tap: int | None = None  # its pid; 0 from a pid namespace that is not ours
        self._whole = False  # front and tap are one process
        self._uid: int | None = None

    @property
    def uid(self) -> int | None:
        """Of the user that speaks for it, as the kernel vouches; None: nobody has yet."""
        return self._uid

    def admit(self, role: str, peer: Peer) -> None:
        """Let `peer` speak for this epoch. Raises WireError: somebody else does."""
        pid, uid, _ = peer
        if self._uid not in (None, uid):
            raise WireError(f"user {uid} speaks for a server of user {self._uid}")
        alone = self._whole if role == "front" else self._tap is not None
        if alone and pid != self._tap:
            raise WireError(f"pid {pid} speaks for the server of pid {self._tap}")
        self._uid = uid
        if role != "front":
            self._tap, self._whole = pid, role == "tap+front"


def may_say(role: str, kind: Kind) -> bool:
    """A front knows what replies counted; rows and the ends of requests are the tap's."""
    return role != "front" or kind in FRONT_SAYS
