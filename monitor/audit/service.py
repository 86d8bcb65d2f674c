"""The history process: takes in what feeds tell, writes the log out, seals what is old, answers over HTTP.

Owns the order of the day and what happens when something fails: the disk, the ledger, a broker. What each part does is
the part's own. The pages run in a thread with connections of their own; nothing here waits for them.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dosimeter.monitor.audit.erasure.erase import Eraser
from dosimeter.monitor.audit.feeds import IDLE_S, Feed, build_feed
from dosimeter.monitor.audit.store.anchoring import build_anchors
from dosimeter.monitor.audit.store.appending import Appender
from dosimeter.monitor.audit.store.entries import Entry, own_id
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import HotStore, StoreStalled
from dosimeter.monitor.audit.store.ingest import FEED, Ingest
from dosimeter.monitor.audit.store.keeper import Keeper
from dosimeter.monitor.audit.store.keys import KeysError
from dosimeter.monitor.audit.store.opening import open_keys
from dosimeter.monitor.audit.store.retention import Retention
from dosimeter.monitor.audit.store.tidying import Tidying
from dosimeter.monitor.clock import age_s
from dosimeter.monitor.config import Config
from dosimeter.monitor.config_history import HistoryConfig
from dosimeter.monitor.feed.items import Batch, FeedAway
from dosimeter.monitor.log_counts import LineCounts, count_lines

if TYPE_CHECKING:
    from dosimeter.monitor.answers.serve import Pages
    from dosimeter.monitor.telemetry import Telemetry

RETRY_S, REST_S = 5.0, 10.0
ONCE_S = 30.0
"""How long `once` goes on trying to write, and waits for its anchors."""
PAGES_AGAIN_S = 10.0
"""Before pages whose address is taken are tried again."""
LOOPING_NS = 600 * 10**9
"""A start so soon after one that nothing came after is the same trouble, and told once."""
log = logging.getLogger(__name__)


class History:
    """One history being written, by one thread."""

    def __init__(
        self, config: Config, settings: HistoryConfig, *, now_ns: Callable[[], int] = time.time_ns
    ) -> None:
        """Raises StoreError, StoreStalled, KeysError, AlreadyWriting, LogError, NoteError, OSError."""
        self._config, self._settings, self._now_ns = config, settings, now_ns
        self.pages_error: str | None = None
        self._stalled: str | None = None
        self._stalled_ns = 0
        self.folder = HistoryFolder(config.history_path).make()
        with ExitStack() as opened:  # nothing stays open of a history that cannot be
            self.hot = opened.enter_context(HotStore(self.folder.hot))
            self.keys = opened.enter_context(open_keys(self.folder, self.hot))
            anchors = build_anchors(settings.anchors, self.folder.root)
            self.keeper = Keeper(self.folder, self.hot, anchors, now_ns)
            opened.callback(self.keeper.writer.close)
            self.appender = Appender(self.hot, self.keys, now_ns=now_ns)
            self.ingest = Ingest(self.appender, now_ns())
            self.eraser = Eraser(
                self.folder, self.appender, ledgers=_ledgers(config, settings), now_ns=now_ns
            )
            self._begun()
            retention = Retention(
                self.hot,
                self.keys,
                self.folder,
                core_months=settings.core_months,
                evidence_days=settings.evidence_days,
            )
            self.tidying = Tidying(self.folder, self.appender, self.keeper, retention, now_ns)
            opened.pop_all()

    def _begun(self) -> None:
        """Time that nobody kept a log is itself in the log, and so are the settings that decide what is kept."""
        now_ns = self._now_ns()
        said = {
            "signed": self.keeper.signed,
            "unsigned": self.hot.size - self.keeper.signed,
            "keep": {
                "core_months": self._settings.core_months,
                "evidence_days": self._settings.evidence_days,
            },
            "anchors": sorted(self.keeper.anchored),
        }
        if not self._told_just_now(said, now_ns):
            self.appender.append([Entry("restart", own_id(now_ns), now_ns, fields=said)])
        for intent in self.eraser.unfinished():
            try:
                self.eraser.finish(intent)
            except (KeysError, OSError) as error:  # keys.db is being read, or a sealed file is cut
                log.error(
                    "erasure %s is not finished, and is tried at the next start: %s",
                    intent.id,
                    error,
                )

    def _told_just_now(self, said: Mapping[str, Any], now_ns: int) -> bool:
        """Whoever cannot stay up starts again and again: that is not to fill the log."""
        size = self.hot.size
        for _, leaf in self.hot.leaves(max(0, size - 1), size):
            last = json.loads(leaf)
            recent = 0 <= now_ns - int(last["time_ns"]) < LOOPING_NS
            return recent and last["kind"] == "restart" and last["keep"] == said["keep"]
        return False

    @property
    def cursor(self) -> Any:
        return self.hot.cursor(FEED)

    def take(self, batch: Batch) -> int:
        """Durable when this returns. Raises StoreStalled; what was given then must be given again."""
        try:
            return self.ingest.take(batch, self._now_ns())
        except StoreStalled:
            self.ingest = Ingest(self.appender, self._now_ns())
            raise

    def unheard(self) -> None:
        """The feed could not be read until now: that was our silence, and nobody's death."""
        self.ingest.watcher.unheard(self._now_ns())

    def stall(self, error: Exception) -> float:
        """Nothing can be written now, and why. Returns for how many seconds that has been so."""
        now_ns = self._now_ns()
        if self._stalled is None:
            self._stalled_ns = now_ns
        if self._stalled != str(error):
            log.error("history cannot be written, is tried again: %s", error)
        self._stalled = str(error)
        return (now_ns - self._stalled_ns) / 1e9

    @property
    def is_stalled(self) -> bool:
        return self._stalled is not None

    def go_on(self) -> None:
        """All could be written."""
        if self._stalled is not None:
            log.warning("history is written again")
        self._stalled, self._stalled_ns = None, 0

    def status(self) -> dict[str, Any]:
        return {
            "stalled": self._stalled,
            "stalled_ns": self._stalled_ns,
            "ingest": asdict(self.ingest.counts),
            "log": self.keeper.status(),
            "verified": self.tidying.status(),
            "pages": self.pages_error or "open",
        }

    def close(self) -> None:
        self.keeper.close()
        self.keys.close()
        self.hot.close()


def _ledgers(config: Config, settings: HistoryConfig) -> list[Path]:
    """Of sidecars on this machine: what is erased here is asked of them too."""
    return [config.data_dir] if settings.kafka is None else []


def run_history(
    config: Config,
    stop: threading.Event,
    *,
    once: bool = False,
    ready: Callable[[str], None] = lambda url: None,
) -> dict[str, Any]:
    """Until `stop` is set; with `once`, until all that is there is taken in and signed. Returns what was done.

    Raises what `History` does, and with `once` FeedAway: nobody can say then that it was all.
    """
    settings = config.history or HistoryConfig()
    lines = count_lines("history")
    history = History(config, settings)
    site = _Site(config, settings, history, ready) if not once else None
    telemetry = _telemetry(config, lines) if not once else None
    try:
        feed = build_feed(config, settings, lambda: history.cursor)
        with closing(feed):
            while not stop.is_set():
                if site is not None:
                    site.open()
                worked = _turn(history, feed, stop, wait=not once)
                if telemetry is not None:
                    _record(telemetry, history)
                if once and not worked and not feed.owes:
                    break
                if not worked:
                    stop.wait(IDLE_S)
            _rest(history, feed, stop)
        history.keeper.turn(now=True)
        if once:  # nobody comes after us who would give the anchors what they lack
            history.keeper.wait(ONCE_S)
        return history.status()
    finally:
        if site is not None:
            site.close()
        if telemetry is not None:
            telemetry.close()
        history.close()


def _telemetry(config: Config, lines: LineCounts) -> Telemetry | None:
    if config.telemetry is None:
        return None
    from dosimeter.monitor.telemetry import Telemetry, TelemetryConfig

    telemetry = Telemetry(TelemetryConfig(config.telemetry))
    lines.record_to(telemetry)
    return telemetry


def _record(telemetry: Telemetry, history: History) -> None:
    telemetry.record("dosimeter.history.stalled", float(history.is_stalled))
    if (checked := history.tidying.checked) is not None:
        telemetry.record("dosimeter.history.verify.failed", float(not checked.ok))
        telemetry.record("dosimeter.history.verify.age", age_s(checked.at_ns, time.time_ns()))


class _Site:
    """The pages, opened as soon as they can be: history is kept whether they are or not."""

    def __init__(
        self,
        config: Config,
        settings: HistoryConfig,
        history: History,
        ready: Callable[[str], None],
    ) -> None:
        self._config, self._settings = config, settings
        self._history, self._ready = history, ready
        self._pages: Pages | None = None
        self._next = 0.0

    def open(self) -> None:
        """Does nothing where they are open, or were tried just now."""
        from dosimeter.monitor.answers.serve import Pages
        from dosimeter.monitor.pages.serve import ServeError

        if self._pages is not None or time.monotonic() < self._next:
            return
        pages = Pages(self._config, self._settings, self._history.status)
        try:
            link = pages.start()
        except ServeError as error:
            pages.stop()
            if self._history.pages_error is None:
                log.error("history is kept, its pages are not shown: %s", error)
            self._history.pages_error = str(error)
            self._next = time.monotonic() + PAGES_AGAIN_S
            return
        self._pages, self._history.pages_error = pages, None
        self._ready(link)

    def close(self) -> None:
        if self._pages is not None:
            self._pages.stop()


def _rest(history: History, feed: Feed, stop: threading.Event) -> None:
    """What came last; the supervisor ends the line before it ends us."""
    deadline = time.monotonic() + REST_S
    with suppress(FeedAway):
        while _turn(history, feed, stop) and time.monotonic() < deadline:
            pass
        feed.end()
        while feed.owes and time.monotonic() < deadline:
            _turn(history, feed, stop)


def _turn(history: History, feed: Feed, stop: threading.Event, *, wait: bool = True) -> bool:
    """One look at the feed. Whether there was anything. Raises where that is not to be waited for."""
    try:
        batch = feed.read()
    except FeedAway as error:
        if not wait:
            raise
        log.warning("%s", error)
        stop.wait(RETRY_S)
        history.unheard()
        return False
    try:
        taken = history.take(batch)
        history.keeper.turn()
        worked = history.tidying.turn()
    except (StoreStalled, KeysError, OSError) as error:
        if history.stall(error) > ONCE_S and not wait:
            raise
        feed.rewind()
        stop.wait(RETRY_S)
        return True
    history.go_on()
    return bool(taken) or bool(batch.items) or worked
