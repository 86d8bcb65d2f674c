"""`dosimeter`: finds the command and hands over. It owns the list of commands and the exit codes.

Only the module of the command that was asked for is imported, so that `dosimeter rules lint` runs
where neither torch nor Kafka is installed.

Exit codes: 0 done · 1 findings or a goal not met · 2 usage · 3 environment · 4 data.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from dosimeter.detectors.findings import visible

COMMANDS = {
    "attach": "start a model server with our tap and front in it",
    "packs": "say which packs running taps score with",
    "sidecar": "watch the model servers of this machine",
    "rules": "write, check and try rules",
    "detectors": "fit, evaluate, calibrate and compare probe packs",
    "capture": "copy activations of some requests out of a server, encrypted, on record",
    "read": "score texts with the reader, where no activations can be had",
    "features": "list the defined features, show one's card",
    "alerts": "list stored alerts, show one",
    "deliver": "send stored alerts to Kafka, OTLP, stdout",
    "audit": "query, verify, export and erase the history of all alerts",
    "history": "keep the history that auditors query, and show it",
    "fleet": "count the hits of all sidecars together",
    "archive": "keep scores of past requests, as the sidecar's file says",
    "kafka": "prepare a Kafka cluster for alerts",
    "demo": "a server, traffic and alerts on this machine",
    "bench": "measure the figures we state",
    "chaos": "attack a stage of its own and see whether the monitor notices",
    "conformance": "prove on a server that every row finds its request",
    "status": "how the sidecar stands, what is wrong, what to do",
    "top": "the same, drawn again every few seconds, with rates",
    "pause": "do not look at what arrives for a while, with a reason",
    "resume": "look again before a pause is over",
    "bundle": "write one file for a support ticket, redacted",
    "doctor": "check that a model server here can be watched, and a sidecar run",
    "completion": "print a completion script for bash or zsh",
}
ENVIRONMENT = 3
SHOWN = 400
"""Of what somebody wrote, in an error."""


class Parser(argparse.ArgumentParser):
    """Its errors quote what was written."""

    def error(self, message: str) -> NoReturn:
        super().error(shown(message))


def shown(text: str) -> str:
    """Harmless for a terminal, and not all of it."""
    said = visible(text, keep="\n")
    return said if len(said) <= SHOWN else f"{said[:SHOWN]}…"


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    wanted = next((word for word in arguments if not word.startswith("-")), None)
    parser = build_parser([wanted] if wanted in COMMANDS else [])
    for one in arguments:
        if any("\ud800" <= letter <= "\udfff" for letter in one):
            parser.error(f"`{one}` is not UTF-8")
    try:
        parsed = parser.parse_args(arguments)
        code: int = parsed.run(parsed)
        return code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        return 0
    except (
        OSError
    ) as error:  # a path that is too long, a disk that fails: no command looks for all of them
        said = shown(f"{wanted}: {error}")
        print(f"dosimeter {said}", file=sys.stderr)
        return ENVIRONMENT
    finally:
        _flush()


def _flush() -> None:
    """What was printed goes out here: at the interpreter's end what fails is a traceback and exit code 120."""
    if sys.stdout is None:  # closed by whoever started us
        return
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:  # a full disk
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"dosimeter: not all of it could be printed: {error.strerror}", file=sys.stderr)
        raise SystemExit(ENVIRONMENT) from None


def build_parser(load: Sequence[str]) -> argparse.ArgumentParser:
    """The parser, with the commands in `load` in full and the others as a name and a line."""
    parser = Parser(
        prog="dosimeter",
        description="Watches what a language model's activations say, token by token.",
        epilog="exit codes: 0 done, 1 findings, 2 usage, 3 environment, 4 data",
    )
    parser.add_argument("--version", action="version", version=f"dosimeter {_version()}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, line in COMMANDS.items():
        if name not in load:
            commands.add_parser(name, help=line)
            continue
        module = importlib.import_module(f"dosimeter.monitor.cli.{name}")
        module.add_parser(commands)
        commands.choices[name].set_defaults(run=module.run)
    return parser


def _version() -> str:
    from importlib.metadata import version

    return version("dosimeter")


if __name__ == "__main__":
    sys.exit(main())
