"""`dosimeter pause`: the running sidecar looks away for a while, counts what it does not look at, and says who asked.

It owns the arguments and the waiting for an answer; what is asked for is `monitor/pause_file.py`'s.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dosimeter.monitor.cli.screen import plain
from dosimeter.monitor.cli.status import ENVIRONMENT, USAGE, add_target, target

if TYPE_CHECKING:
    from dosimeter.monitor.config import Config

SPAN = re.compile(r"([1-9][0-9]{0,5})(s|m|h)")
UNIT_S = {"s": 1, "m": 60, "h": 3600}
ANSWER_S = 3.0
"""The line looks twice a second."""
LOOK_S = 0.1


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "pause",
        help="do not look at what arrives for a while, with a reason",
        description="The sidecar does not look at what arrives: no rule fires, tokens are counted as `paused`. It ends "
        "by itself. The server's tap goes on; to be rid of that too, start the server without it.",
        epilog="example: dosimeter pause --config sidecar.yaml --for 15m --reason INC-441",
    )
    add_target(parser)
    parser.add_argument(
        "--for",
        dest="span_s",
        type=_span,
        required=True,
        metavar="TIME",
        help="`90s`, `15m` or `2h`; at most 24h",
    )
    parser.add_argument(
        "--reason",
        type=_reason,
        required=True,
        metavar="TEXT",
        help="kept in history for good: no names of people",
    )
    parser.set_defaults(run=run)


def _span(text: str) -> int:
    found = SPAN.fullmatch(text)
    seconds = int(found[1]) * UNIT_S[found[2]] if found is not None else 0
    if not 0 < seconds <= 24 * 3600:
        raise argparse.ArgumentTypeError(
            f"`{text[:40]}` is no time up to 24h: write `90s`, `15m` or `2h`"
        )
    return seconds


def _reason(text: str) -> str:
    from dosimeter.monitor.pause_file import MAX_REASON
    from dosimeter.rules.summary import printable

    shown = printable(text, len(text)).strip()
    if not 0 < len(shown) <= MAX_REASON:
        raise argparse.ArgumentTypeError(
            f"a reason has 1 to {MAX_REASON} characters, this has {len(shown)}"
        )
    return shown


def run(args: argparse.Namespace) -> int:
    """0: paused, as the sidecar says. 2: usage. 3: it may not be asked here, or nobody answers."""
    config = target(args)
    if config is None:
        return USAGE
    now_ns = time.time_ns()
    if not asked(config, args.reason, now_ns, now_ns + args.span_s * 10**9):
        return ENVIRONMENT
    found = answered(config, args.url, lambda paused: is_of(paused, args.reason, now_ns))
    if found is None:
        return ENVIRONMENT
    from dosimeter.monitor.status_findings import clock

    print(f"paused until {clock(found['paused']['until_ns'])}: {plain(args.reason)}")
    print("  `dosimeter resume` ends it sooner")
    return 0


def is_of(paused: Any, reason: str, asked_ns: int) -> bool:
    return bool(paused) and paused["since_ns"] == asked_ns and paused["reason"] == reason


def asked(config: Config, reason: str, now_ns: int, until_ns: int) -> bool:
    """Whether the file is written; why not is said."""
    from dosimeter.monitor import pause_file

    try:
        pause_file.ask(config.data_dir, reason, now_ns, until_ns)
    except OSError as error:
        words = (error.strerror or str(error)).lower()
        print(f"{config.data_dir}: cannot ask the sidecar here: {words}", file=sys.stderr)
        print(
            "  hint: run it where the sidecar runs, as a user who may write its data-dir; "
            "`--data-dir` or `--config` names it",
            file=sys.stderr,
        )
        return False
    return True


def answered(config: Config, url: str | None, done: Callable[[Any], bool]) -> dict[str, Any] | None:
    """The status as soon as what it says of a pause is what was asked for; None: said why not."""
    from dosimeter.monitor.status_client import NotAnsweredError, address, ask

    deadline = time.monotonic() + ANSWER_S
    while True:
        try:
            body = ask(address(config, url)).body
        except NotAnsweredError as error:
            print(error, file=sys.stderr)
            print(f"  it is written in {config.data_dir}, and holds as soon as a sidecar runs there",
                  file=sys.stderr)  # fmt: skip
            return None
        if "paused" in body and done(body["paused"]):
            return body
        if time.monotonic() >= deadline:
            print(
                "the sidecar that answers does not say that it took it over\n"
                f"  hint: is its data-dir {Path(config.data_dir).resolve()}? Its log names the reason",
                file=sys.stderr,
            )
            return None
        time.sleep(LOOK_S)
