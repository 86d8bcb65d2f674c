"""A tap with leave to capture and somebody who asks, in one process; the order is followed for real."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from dosimeter.monitor.capture.asking import Came, Writer, listening, take, tap_of
from dosimeter.monitor.taps import transformers as server
from dosimeter.monitor.taps.attach import Seen, attach
from dosimeter.monitor.taps.capture_steps import Place
from dosimeter.monitor.taps.capture_wire import Order
from dosimeter.monitor.taps.capturing import Capturing

from .conftest import LAYERS, Small

ORDER = Order("ab" * 16, "INC-441", LAYERS, 60, 1_000_000, 1 << 40, 1000, "/captured")


@dataclass
class Got:
    """What the asker was sent. rows[key][position] -> float32 [L, D]."""

    about: Mapping[str, Any] = field(default_factory=dict)
    rows_of: dict[int, dict[int, np.ndarray]] = field(default_factory=dict)
    requests: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    why: str | None = None
    came: Came | None = None
    error: Exception | None = None
    on_rows: Callable[[], object] = lambda: None
    ended: threading.Event = field(default_factory=threading.Event)

    def rows(self, key: int, start: int, values: np.ndarray) -> None:
        self.on_rows()
        mine = self.rows_of.setdefault(key, {})
        for at, row in enumerate(values.reshape(len(values), len(self.about["layers"]), -1)):
            assert start + at not in mine  # each position once
            mine[start + at] = row

    def request(self, record: Mapping[str, Any]) -> None:
        self.requests[record["key"]] = record

    def close(self, why: str, counts: Mapping[str, Any]) -> None:
        self.why = why
        self.ended.set()

    def hidden(self, key: int) -> np.ndarray:
        """float32 [L, rows, D]."""
        mine = self.rows_of[key]
        return np.stack([mine[at] for at in sorted(mine)], axis=1)


@dataclass
class Scene:
    model: Any
    seen: Seen
    path: Path
    place: Place
    about: Mapping[str, Any]
    said: list[dict[str, Any]] = field(default_factory=list)  # what the greeting says
    sidecar: bool = True
    compiled: bool = False
    seconds: float = 100.0  # the tap's monotonic clock

    def __post_init__(self) -> None:
        self.tap = Capturing(
            self.path, self.place, self.model,
            lambda: self.about, self._say, lambda: self.compiled, monotonic=lambda: self.seconds,
        )  # fmt: skip

    def _say(self, said: Mapping[str, Any]) -> bool:
        if self.sidecar:
            self.said.append(dict(said))
        return self.sidecar

    @contextmanager
    def captured(
        self,
        got: Got | None = None,
        into: Callable[[Mapping[str, Any]], Writer] | None = None,
        **order: Any,
    ) -> Iterator[Got]:
        """As `captured`, of this tap."""
        with captured(self.path, got, into, self.tap.look, **order) as found:
            yield found


@contextmanager
def captured(
    path: Path,
    got: Got | None = None,
    into: Callable[[Mapping[str, Any]], Writer] | None = None,
    meanwhile: Callable[[], None] = lambda: None,
    **order: Any,
) -> Iterator[Got]:
    """Traffic goes inside; the asker says that it has had enough afterwards, unless a bound has ended it.

    into: told what a manifest says, gives where it is written instead. meanwhile: runs beside the asker.
    """
    got, stop, ready = got or Got(), threading.Event(), threading.Event()
    wanted = replace(ORDER, **order)

    def opened(about: Mapping[str, Any]) -> Writer:
        got.about = {**about, **wanted.as_json()}
        ready.set()
        return got if into is None else into(got.about)

    def ask() -> None:
        try:
            with listening(path) as listener:
                beside = threading.Thread(target=meanwhile)
                beside.start()
                with tap_of(listener, path, stop.is_set) as tap:
                    got.came = take(tap, wanted, opened, stop.is_set)
                beside.join(60)
                assert not beside.is_alive()
        except Exception as error:
            got.error = error
        finally:
            ready.set()

    asks = threading.Thread(target=ask)
    asks.start()
    assert ready.wait(60)
    try:
        yield got
    finally:
        stop.set()
        asks.join(60)
    assert not asks.is_alive()
    if got.error is not None:
        raise got.error


@contextmanager
def scene(small: Small) -> Iterator[Scene]:
    model = small.model()
    with scene_of(model, attach(model, [small.pack]), {"width": 64, "blocks": 3}) as it:
        yield it


@contextmanager
def scene_of(
    model: Any, watched: AbstractContextManager[Seen], about: Mapping[str, Any]
) -> Iterator[Scene]:
    """watched: puts a tap on the model. about: what the asker is told of it."""
    said = {"epoch": "0" * 15 + "7", "model": {}, **about}
    with (
        tempfile.TemporaryDirectory(prefix="d-") as folder,  # short: a socket's path is
        watched as seen,
    ):
        assert seen.tap is not None
        seen.tap.captures = Place(server.blocks(model))
        yield Scene(model, seen, Path(folder) / "c.sock", seen.tap.captures, said)
