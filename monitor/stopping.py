"""Telling an event from a signal handler, without a lock in its way. It knows nothing of who waits for it."""

from __future__ import annotations

import threading


def set_from_handler(event: threading.Event) -> None:
    """Set it soon, from a thread of its own.

    A handler runs in the main thread, between any two of its steps: also while that thread holds the event's lock, as
    in the middle of `wait`, and `set` would wait for that lock for ever.
    """
    threading.Thread(target=event.set, name="stop", daemon=True).start()
