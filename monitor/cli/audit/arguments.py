"""What the `audit` commands have in common: where history is, who asks, which alerts, in which time.

It owns these arguments and what they mean; no command's own. Nothing of history is imported until it is opened.
"""

from __future__ import annotations

import argparse
import os
import pwd
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from dosimeter.monitor.roles import ROLES
from dosimeter.rules.decide import Word

if TYPE_CHECKING:
    from dosimeter.monitor.audit.history import History
    from dosimeter.monitor.audit.people.access import Actor
    from dosimeter.monitor.audit.queries.times import Range

SEVERITIES = ("low", "medium", "high", "critical")
STATUSES = ("shadow", "live")
VERDICTS = ("true", "false", "unsure", "disputed", "none")
FILTERS = (
    "tenant", "user", "conversation", "rule", "feature", "severity", "status", "decision", "verdict",
)  # fmt: skip


class Usage(ValueError):
    """Arguments that do not go together; says what to write."""


def parser(
    commands: Any, name: str, line: str, example: str, *, role: str = "auditor", json: bool = True
) -> argparse.ArgumentParser:
    """A subcommand with what all of them take. role: whose this usually is."""
    made: argparse.ArgumentParser = commands.add_parser(
        name,
        help=line,
        description=f"{line[0].upper()}{line[1:]}.",
        epilog=f"example: {example}",
    )
    made.add_argument("--data-dir", type=Path, default=Path(".dosimeter"), metavar="DIR",
                      help="of the sidecar (default .dosimeter)")  # fmt: skip
    made.add_argument("--history", type=Path, metavar="DIR",
                      help="the folder of history (default: `history` in data-dir)")  # fmt: skip
    made.add_argument("--role", choices=ROLES, default=role, help=f"yours (default {role})")
    if json:
        made.add_argument("--json", action="store_true", help="one JSON object")
    return made


def add_filters(made: argparse.ArgumentParser) -> None:
    """Which alerts, in which time."""
    for name in ("tenant", "user", "conversation", "rule", "feature"):
        made.add_argument(f"--{name}", metavar="NAME")
    made.add_argument("--severity", choices=SEVERITIES)
    made.add_argument("--status", choices=STATUSES)
    made.add_argument("--decision", choices=get_args(Word))
    made.add_argument(
        "--verdict", choices=VERDICTS, help="the last word of its reviewers; none: not labelled"
    )
    add_times(made)  # fmt: skip


def add_times(made: argparse.ArgumentParser) -> None:
    when = made.add_mutually_exclusive_group()
    when.add_argument("--from", dest="from_", metavar="WHEN",
                      help="2026-03-01, 2026-03-01T09:00, with +02:00, or 7d, 36h; part of the range")  # fmt: skip
    when.add_argument("--since", metavar="WHEN", help="the same as --from")
    made.add_argument("--to", metavar="WHEN", help="no more part of the range (default: now)")
    made.add_argument("--tz", default="UTC", metavar="ZONE",
                      help="IANA name, such as Europe/Berlin (default UTC)")  # fmt: skip


def filters_of(args: argparse.Namespace) -> dict[str, str]:
    """As they were written, without those that were not. Raises Usage."""
    found = {name: str(getattr(args, name)) for name in FILTERS if getattr(args, name) is not None}
    for name in ("user", "conversation"):
        if name in found and "tenant" not in found:
            hint = f"add --tenant, or leave out --{name}"
            raise Usage(f"--{name}: the same name may be in several tenants\n  hint: {hint}")
    return found


def range_of(args: argparse.Namespace) -> Range:
    from dosimeter.monitor.audit.queries import times

    first = "--from" if args.since is None else "--since"
    written = args.from_ if args.since is None else args.since
    return times.range_of(written, args.to, args.tz, time.time_ns(), first=first)


def actor_of(args: argparse.Namespace) -> Actor:
    """The user of this machine, not what the environment says."""
    from dosimeter.monitor.audit.people.access import Actor

    return Actor(user_name(), args.role)


def user_name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without a name
        return f"uid-{os.getuid()}"


def folder_of(args: argparse.Namespace) -> Path:
    given: Path | None = args.history
    return args.data_dir / "history" if given is None else given


@contextmanager
def opened(args: argparse.Namespace) -> Iterator[History]:
    """History, whose log is written out at the end where nobody else does it."""
    from dosimeter.monitor.audit.history import History

    with History.open(folder_of(args)) as history:
        try:
            yield history
        finally:
            settled(history)


def settled(history: History) -> bool:
    """As `History.settle`; what keeps it from that is said and does not undo what was done."""
    from dosimeter.detectors.findings import visible
    from dosimeter.monitor.audit.store.hot import StoreError, StoreStalled
    from dosimeter.monitor.tlog.note import NoteError
    from dosimeter.monitor.tlog.writer import LogError

    try:
        return history.settle()
    except (StoreError, StoreStalled, LogError, NoteError, OSError) as error:
        said = visible(str(error), keep="\n")
        print(f"the log was not written out: {said}", file=sys.stderr)
        return False


def notes(lines: Sequence[str]) -> None:
    for line in lines:
        print(f"note: {line}", file=sys.stderr)


def said_filters(filters: Mapping[str, str]) -> str:
    """For a person: `tenant acme, rule scam-in-answer`."""
    from dosimeter.monitor.cli.screen import plain

    return ", ".join(f"{name} {plain(value)}" for name, value in filters.items()) or "all"
