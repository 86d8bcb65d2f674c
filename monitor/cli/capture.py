"""`dosimeter capture`: activations of some requests of a running server, for a while, into an encrypted folder.

It owns the arguments, the bounds and what is said; listening is `capture/asking`'s, the folder `capture/folder`'s. The
server must have been started with leave for it (`dosimeter attach --allow-capture`).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dosimeter.monitor.cli.pause import SPAN, UNIT_S
from dosimeter.monitor.cli.screen import plain
from dosimeter.monitor.stopping import set_from_handler
from dosimeter.monitor.taps.capture_wire import (
    MAX_LAYERS,
    MAX_PATH,
    MAX_REASON,
    MILLION,
    MOST_S,
    Order,
)

if TYPE_CHECKING:
    from dosimeter.monitor.capture.asking import Came

ENVIRONMENT, DATA = 3, 4
SIZE = re.compile(r"([1-9][0-9]{0,8})(kB|MB|GB|TB)")
UNIT_BYTES = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,4})?) ?%")
MOST_REQUESTS = 100_000


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "capture",
        help="copy activations of some requests out of a server, encrypted, on record",
        description="Ask the tap of a running server for the activations of chosen layers of some requests, until the "
        "first bound is met, for `detectors build --capture`. The server does not wait for it. What was asked, by "
        "whom and why goes into the ledger before anything leaves. Activations give away what was said: treat the "
        "folder as the conversations themselves.",
        epilog="example: dosimeter capture --socket /run/capture/c.sock --layers 4,8 --for 10m --sample 1% "
        "--max-bytes 1GB --reason 'INC-441: refit scam' --out ./captured",
    )
    parser.add_argument("--socket", type=Path, required=True, metavar="PATH",
                        help="where the server looks: `dosimeter attach --allow-capture PATH`")  # fmt: skip
    parser.add_argument("--layers", type=_layers, required=True, metavar="N,N",
                        help="blocks, counted from 0")  # fmt: skip
    parser.add_argument("--for", dest="for_s", type=_span, required=True, metavar="TIME",
                        help="`90s`, `15m` or `2h`; at most 24h")  # fmt: skip
    parser.add_argument("--sample", type=_share, required=True, metavar="SHARE",
                        help="of the requests that begin meanwhile, such as `1%%`")  # fmt: skip
    parser.add_argument("--max-bytes", type=_size, required=True, metavar="SIZE",
                        help="of activations: `500MB`, `1GB`")  # fmt: skip
    parser.add_argument("--max-requests", type=_count, default=MOST_REQUESTS, metavar="N",
                        help="at most so many (default: %(default)s)")  # fmt: skip
    parser.add_argument("--reason", type=_reason, required=True, metavar="TEXT",
                        help="kept in history for good: no names of people")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder")
    parser.add_argument("--key-file", type=Path, metavar="FILE",
                        help="encrypt under this key, 64 hex characters (default: a new one, DIR/key)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one object at the end")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: a bound ended it. 1: something else did, or no request is whole. 3: no tap gives any. 4: DIR is no use."""
    from dosimeter.detectors.findings import InputError
    from dosimeter.monitor.capture.asking import NotTaken
    from dosimeter.monitor.taps.capture_wire import CaptureError

    try:
        came, id_ = _captured(args)
    except InputError as error:
        print(error, file=sys.stderr)
        return DATA
    except (NotTaken, CaptureError, OSError) as error:
        print(f"capture: {error}", file=sys.stderr)
        return ENVIRONMENT
    if args.json:
        print(json.dumps({"id": id_, "out": str(args.out), "why": came.why, **came.as_json()}))
    else:
        print(*lines(came, id_, args.out), sep="\n")
    return int(not came.done or not came.whole)


def lines(came: Came, id_: str, out: Path) -> list[str]:
    lost = ", ".join(f"{n} {plain(why)}" for why, n in came.as_json()["lost"].items())
    return [
        f"capture {id_} is over: {plain(came.why or '')}",
        f"  {came.whole:,} whole requests of {came.requests:,}, {came.with_ids:,} with their tokens; "
        f"{came.rows:,} rows, {came.bytes / 1e6:,.1f} MB",
        *([f"  lost a row, and are left out: {lost}"] if lost else []),
        f"  in {plain(out)}; who destroys its key destroys it",
    ]


def _captured(args: argparse.Namespace) -> tuple[Came, str]:
    from dosimeter.detectors.findings import InputError
    from dosimeter.monitor.capture.asking import listening, take, tap_of

    try:
        from dosimeter.monitor.capture.folder import KEY, CaptureWriter, make_key, read_key
    except ModuleNotFoundError as error:
        raise InputError.at(
            "capture", f"needs `{error.name}`", "pip install 'dosimeter[history]'"
        ) from None
    out, socket = args.out.absolute(), args.socket.absolute()
    if not out.parent.is_dir():
        raise InputError.at(out.parent, "is no folder", "make it, or choose another --out")
    key = None if args.key_file is None else read_key(args.key_file)
    order = Order(
        secrets.token_hex(16), args.reason, args.layers, args.for_s, args.sample, args.max_bytes,
        args.max_requests, str(out)[-MAX_PATH:],
    )  # fmt: skip

    def opened(about: Mapping[str, Any]) -> CaptureWriter:
        return CaptureWriter(out, key or make_key(out / KEY), {**about, **order.as_json()})

    stop = threading.Event()
    with _ending(stop), _made(out), listening(socket) as listener:
        tap = tap_of(listener, socket, stop.is_set)
        with tap:
            return take(tap, order, opened, stop.is_set, _teller(order)), order.id


@contextlib.contextmanager
def _made(out: Path) -> Iterator[None]:
    """The folder, before anybody is asked; one that nothing came into goes again. Raises InputError."""
    from dosimeter.detectors.findings import InputError

    try:
        out.mkdir(mode=0o700)
    except OSError as error:
        there = isinstance(error, FileExistsError)
        what = "is there already" if there else f"cannot be made: {error.strerror}"
        raise InputError.at(out, what, "choose another --out") from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            out.rmdir()


@contextlib.contextmanager
def _ending(stop: threading.Event) -> Iterator[None]:
    """SIGINT and SIGTERM end it as a bound does, and are what they were afterwards."""
    before = {
        one: signal.signal(one, lambda *_: set_from_handler(stop))
        for one in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _teller(order: Order) -> Callable[[Came], None]:
    """Of the bounds, the one that is nearest to being met."""
    from dosimeter.monitor.progress import Progress

    progress, began = Progress("capturing, permille of a bound:"), time.monotonic()

    def tell(came: Came) -> None:
        nearest = max(
            (time.monotonic() - began) / order.for_s,
            came.bytes / order.max_bytes,
            came.requests / order.max_requests,
        )
        progress(min(999, int(1000 * nearest)), 1000)

    return tell


def _layers(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() and len(part) < 5 for part in parts):
        raise argparse.ArgumentTypeError(f"`{text[:40]}` are no layers: write `4,8`")
    found = tuple(sorted({int(part) for part in parts}))
    if len(found) > MAX_LAYERS:
        raise argparse.ArgumentTypeError(f"{len(found)} layers, at most {MAX_LAYERS} are captured")
    return found


def _span(text: str) -> int:
    found = SPAN.fullmatch(text)
    seconds = int(found[1]) * UNIT_S[found[2]] if found is not None else 0
    if not 0 < seconds <= MOST_S:
        raise argparse.ArgumentTypeError(
            f"`{text[:40]}` is no time up to 24h: write `90s`, `15m` or `2h`"
        )
    return seconds


def _share(text: str) -> int:
    """Requests in a million."""
    found = SHARE.fullmatch(text.strip())
    share = Fraction(found[1]) * (MILLION // 100) if found is not None else Fraction(0)
    if not 0 < share <= MILLION or share.denominator != 1:
        raise argparse.ArgumentTypeError(f"`{text[:40]}` is no share: write `1%` or `0.05%`")
    return int(share)


def _size(text: str) -> int:
    found = SIZE.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"`{text[:40]}` is no size: write `500MB` or `1GB`")
    return int(found[1]) * UNIT_BYTES[found[2]]


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= 10**9:
        raise argparse.ArgumentTypeError(f"`{text[:40]}` is no number of requests")
    return int(text)


def _reason(text: str) -> str:
    from dosimeter.rules.summary import printable

    shown = printable(text, len(text)).strip()
    if not 0 < len(shown) <= MAX_REASON:
        raise argparse.ArgumentTypeError(f"a reason has 1 to {MAX_REASON} characters")
    return shown
