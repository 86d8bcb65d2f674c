"""`dosimeter top`: the standing of the sidecar, drawn again every few seconds, with what moves a second.

It owns the loop and the rates between two looks. Where the output is no terminal it is `dosimeter status`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dosimeter.monitor.cli import status
from dosimeter.monitor.cli.screen import Screen, redraw

if TYPE_CHECKING:
    from dosimeter.monitor.config import Config

LEAST_S = 0.2


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "top",
        help="the same, drawn again every few seconds, with rates",
        description="Show how the sidecar stands until Ctrl-C; on no terminal one look, as `status`.",
        epilog="example: dosimeter top --config /etc/dosimeter/sidecar.yaml --every 5",
    )
    status.add_target(parser)
    parser.add_argument(
        "--every", type=_seconds, default=2.0, metavar="S", help="seconds between looks (default 2)"
    )
    parser.set_defaults(run=run, json=False)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not LEAST_S <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"`{text[:40]}` is not 0.2 to 3600 seconds")
    return seconds


def run(args: argparse.Namespace) -> int:
    """0: ended by Ctrl-C. 2: usage. Without a terminal those of `status`."""
    if not sys.stdout.isatty():
        return status.run(args)
    config = status.target(args)
    if config is None:
        return status.USAGE

    def draw(lines: list[str]) -> None:
        columns, rows = shutil.get_terminal_size((100, 24))
        redraw(sys.stdout, lines, columns, rows)

    watch(config, args.url, draw, lambda: time.sleep(args.every))
    return 0


def watch(
    config: Config, url: str | None, draw: Callable[[list[str]], None], wait: Callable[[], None]
) -> None:
    """Look, draw, wait, until interrupted. A sidecar that is away is waited for."""
    before: Mapping[str, Any] | None = None
    try:
        while True:
            lines, before = look(config, url, before)
            draw(lines)
            wait()
    except KeyboardInterrupt:
        return


def look(
    config: Config, url: str | None, before: Mapping[str, Any] | None
) -> tuple[list[str], Mapping[str, Any] | None]:
    """One picture, and what the next is compared with."""
    from dosimeter.monitor.cli.status_view import finding_lines, status_lines
    from dosimeter.monitor.status_client import NotAnsweredError, address, ask
    from dosimeter.monitor.status_findings import findings
    from dosimeter.monitor.stored import history_standing

    try:
        answer = ask(address(config, url))
    except NotAnsweredError as error:
        return str(error).splitlines(), None
    moved = None if before is None else rates(before, answer.body)
    try:
        lines = list(status_lines(answer, history_standing(config), moved))
        found = findings(answer.body, alive=answer.alive)
    except KeyError as error:
        return status.other_release(answer.body, error).splitlines(), None
    return [*lines, *finding_lines(found, Screen())], answer.body


def rates(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, float]:
    """What grew, a second of the sidecar's own clock; empty when it began anew in between.

    A count that shrank (a server is forgotten, a sink let go) has no rate.
    """
    seconds = after["uptime_s"] - before["uptime_s"]
    if seconds <= 0:
        return {}
    old = dict(_counts(before))
    return {
        name: (count - old[name]) / seconds
        for name, count in _counts(after)
        if name in old and count >= old[name]
    }


def _counts(body: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    yield "tokens scored", sum(tap["rows"] for tap in body["taps"])
    yield "requests ended", body["coverage"]["requests"]
    yield "notified", sum(o["count"] for o in body["alerts"] if o["decision"] == "notified")
    yield "committed", body["ledger"]["committed"]
    for name, sink in body["delivery"]["sinks"].items():
        yield f"delivered to {name}", sink["delivered"]
