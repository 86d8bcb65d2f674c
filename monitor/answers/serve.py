"""The pages of one history on a socket. It owns how the parts are put together, and nothing that is shown."""

from __future__ import annotations

import getpass
import time
from collections.abc import Callable

from dosimeter.monitor.answers.asking import Asked, Status
from dosimeter.monitor.answers.source import HistorySource
from dosimeter.monitor.answers.warming import Warming
from dosimeter.monitor.audit.history import History
from dosimeter.monitor.config import Config
from dosimeter.monitor.config_history import HistoryConfig
from dosimeter.monitor.pages.access import Who
from dosimeter.monitor.pages.app import make_app
from dosimeter.monitor.pages.local import LocalLink
from dosimeter.monitor.pages.serve import Served
from dosimeter.monitor.pages.tokens import OidcTokens


class Pages:
    """Serving from `start` to `stop`."""

    def __init__(
        self,
        config: Config,
        settings: HistoryConfig,
        status: Status,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Raises StoreError, StoreStalled, KeysError."""
        self._history = History.open(config.history_path)
        asked = Asked(self._history, config, settings, status, now_ns)
        who: Who = (
            LocalLink(_user()) if settings.pages.oidc is None else OidcTokens(settings.pages.oidc)
        )
        app = make_app(HistorySource(asked), who, settings.pages, now_ns)
        self._served = Served(app, settings.host, settings.port)
        self._who = who
        self._warming: Warming | None = None

    def start(self) -> str:
        """Where a browser begins. Raises ServeError."""
        self._served.start()
        self._warming = Warming(self._history.queries)
        base = self._served.url
        return base + self._who.path() if isinstance(self._who, LocalLink) else base + "/"

    def stop(self) -> None:
        self._served.stop()
        if self._warming is not None:
            self._warming.stop()
        self._history.close()


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user that this machine has no name for
        return "local"
