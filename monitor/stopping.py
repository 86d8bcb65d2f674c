"""A process that is told to stop: signals set an event, without a lock in their way. It knows nothing of who waits."""

from __future__ import annotations

import signal
import threading


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set. SIGHUP does nothing: a terminal that goes is no reason to stop watching."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: set_from_handler(stop))
    return stop


def set_from_handler(event: threading.Event) -> None:
    """Set it soon, from a thread of its own.

    A handler runs in the main thread, between any two of its steps: also while that thread holds the event's lock, as
    in the middle of `wait`, and `set` would wait for that lock for ever.
    """
    threading.Thread(target=event.set, name="stop", daemon=True).start()
