"""`dosimeter status`: how the sidecar stands, what is wrong, and what to do about it.

It owns the arguments and the exit code; asking is `status_client.py`'s, judging `status_findings.py`'s.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dosimeter.monitor.cli.screen import Screen, fit

if TYPE_CHECKING:
    from dosimeter.monitor.config import Config
    from dosimeter.monitor.status_client import Answer
    from dosimeter.monitor.status_findings import StatusFinding

USAGE, ENVIRONMENT, DATA = 2, 3, 4


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "status",
        help="how the sidecar stands, what is wrong, what to do",
        description="Ask the running sidecar how it stands. Exit code 1: something is wrong, "
        "3: nothing answers, and the files alone are read.",
        epilog="example: dosimeter status --config /etc/dosimeter/sidecar.yaml",
    )
    add_target(parser)
    parser.add_argument("--json", action="store_true", help="the whole status, with the findings")
    parser.set_defaults(run=run)


def add_target(parser: argparse.ArgumentParser) -> None:
    """Which sidecar; `top` and `bundle` ask the same."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="the sidecar's own file")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="instead of the file's")
    parser.add_argument(
        "--url", type=_url, metavar="URL", help="where it answers, instead of the file's `http`"
    )


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError(f"`{text[:80]}` is no URL: http://127.0.0.1:9464")
    return text


def target(args: argparse.Namespace) -> Config | None:
    """The configuration that was named; None: it cannot be read, as was said."""
    from dosimeter.monitor.config import Config, load_config

    try:
        config = load_config(args.config) if args.config else Config()
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return None
    return config.under(args.data_dir) if args.data_dir else config


def run(args: argparse.Namespace) -> int:
    """0: all is well. 1: findings. 2, 3, 4: usage, nothing answers, the status of another release."""
    from dosimeter.monitor.status_client import MigratingError, NotAnsweredError, address, ask
    from dosimeter.monitor.status_findings import findings
    from dosimeter.monitor.stored import history_standing

    config = target(args)
    if config is None:
        return USAGE
    try:
        answer = ask(address(config, args.url))
    except MigratingError as error:
        return _migrating(error, as_json=args.json)
    except NotAnsweredError as error:
        return _files_alone(config, error, as_json=args.json)
    try:
        found = findings(answer.body, alive=answer.alive)
        if args.json:
            told = [one.as_dict() for one in found]
            shown = {"url": answer.url, "alive": answer.alive, "findings": told}
            print(json.dumps(shown | {"status": answer.body}, indent=2))
        else:
            _print(answer, history_standing(config), found)
    except KeyError as error:
        print(other_release(answer.body, error), file=sys.stderr)
        return DATA
    return int(bool(found))


def other_release(body: Mapping[str, Any], missing: KeyError) -> str:
    return (
        f"status of version {body['version']}: no field {missing}\n"
        "  hint: ask with the release that runs there"
    )


def _print(
    answer: Answer, history: Mapping[str, Any] | None, found: Sequence[StatusFinding]
) -> None:
    from dosimeter.monitor.cli.status_view import finding_lines, status_lines

    screen = Screen.of(sys.stdout)
    for line in status_lines(answer, history):
        print(fit(line, screen.width).rstrip())
    print(*finding_lines(found, screen), sep="\n")


def _migrating(error: Exception, *, as_json: bool) -> int:
    """Its files are another's to touch now, and half of one release and half of the next."""
    if as_json:
        print(json.dumps({"error": str(error), "status": None, "findings": []}, indent=2))
    else:
        print(error, file=sys.stderr)
    return ENVIRONMENT


def _files_alone(config: Config, error: Exception, *, as_json: bool) -> int:
    from dosimeter.monitor.cli.status_view import file_lines, finding_lines
    from dosimeter.monitor.status_findings import sink_findings
    from dosimeter.monitor.stored import standing

    now_ns = time.time_ns()
    files = standing(config, now_ns=now_ns)
    delivery = files["delivery"]
    found = [] if "error" in delivery else list(sink_findings(delivery))
    if as_json:
        told = [one.as_dict() for one in found]
        shown = {"error": str(error), "status": None, "files": files, "findings": told}
        print(json.dumps(shown, indent=2))
        return ENVIRONMENT
    print(error, file=sys.stderr)
    print(f"files in {config.data_dir}, without the sidecar:")
    print(*file_lines(files, now_ns), sep="\n")
    if found:
        print(*finding_lines(found, Screen.of(sys.stdout)), sep="\n")
    return ENVIRONMENT
