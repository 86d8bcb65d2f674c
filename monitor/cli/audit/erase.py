"""`dosimeter audit erase`: the keys and names of somebody, destroyed for good.

It owns the arguments, the question before it and what is said after; the order is `monitor/audit/erasure/erase`.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dosimeter.monitor.cli.audit import arguments
from dosimeter.monitor.cli.audit.arguments import Usage
from dosimeter.monitor.cli.screen import plain

if TYPE_CHECKING:
    from dosimeter.monitor.audit.erasure.erase import Erased, Eraser

WHOM = ("user", "conversation", "request")
SELFTEST = 10_000


def add(commands: Any) -> None:
    parser = arguments.parser(
        commands,
        "erase",
        "destroy the keys and names of a user, conversation, request or tenant",
        'dosimeter audit erase --tenant acme --user u-1931 --reason "ticket 4411"',
        role="operator",
    )
    parser.add_argument("--tenant", metavar="NAME", help="alone: all of it")
    for name in WHOM:
        parser.add_argument(f"--{name}", metavar="NAME")
    parser.add_argument("--reason", help="it stands in the log for good, so without names")
    parser.add_argument("--approver", metavar="USER", help="a second person, who has agreed")
    parser.add_argument("--yes", action="store_true", help="do not ask to type the name")
    parser.add_argument("--dry-run", action="store_true", help="say what would go, and do nothing")
    parser.add_argument("--selftest", action="store_true",
                        help=f"plant {SELFTEST:,} alerts in a history of its own, erase, look for traces")  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: erased, or nothing was found by the self-test. 1: not, since the name was not typed. 4: traces were found."""
    if args.selftest:
        return _selftest(args)
    given = [name for name in WHOM if getattr(args, name) is not None]
    if len(given) > 1 or (not given and args.tenant is None):
        hint = "--tenant T with one of --user, --conversation, --request, or --tenant alone"
        raise Usage(f"erase: whom?\n  hint: {hint}")
    whom = given[0] if given else "tenant"
    value = str(getattr(args, whom))
    tenant = args.tenant if given else None
    if not args.dry_run and not (args.reason or "").strip():
        raise Usage('--reason: it is needed\n  hint: --reason "ticket 4411"')
    with arguments.opened(args) as history:
        from dosimeter.monitor.audit.erasure.erase import Eraser
        from dosimeter.monitor.audit.people.access import Actor, require

        actor = arguments.actor_of(args)
        require(actor, "erase")
        ledgers = [args.data_dir] if (args.data_dir / "ledger.db").exists() else []
        eraser = Eraser(history.folder, history.appender, ledgers=ledgers)
        if args.dry_run:
            return _would(args, eraser, whom, tenant, value)
        if not args.yes and not _typed(whom, value):
            print("nothing was erased: the name was not typed as it is", file=sys.stderr)
            return 1
        approver = Actor(args.approver, "approver") if args.approver else None
        done = eraser.erase(whom, tenant, value, actor=actor, reason=args.reason, approver=approver)  # type: ignore[arg-type]
    _say(args, done)
    return 0


def _would(
    args: argparse.Namespace, eraser: Eraser, whom: Any, tenant: str | None, value: str
) -> int:
    scope = eraser.preview(whom, tenant, value)
    if args.json:
        print(json.dumps(scope, indent=2))
    else:
        print(f"would erase {whom} {plain(value)}:")
        words = {"exports": "exports made before, out of reach"}
        print(
            *(f"  {words.get(name, name)}: {plain(what)}" for name, what in scope.items()), sep="\n"
        )
    return 0


def _typed(whom: str, value: str) -> bool:
    """Whether the person has typed the name itself. Raises Usage where nobody can."""
    if not sys.stdin.isatty():
        hint = "add --yes where no person is at the keyboard"
        raise Usage(f"erase: this cannot be undone and nobody can be asked\n  hint: {hint}")
    print(f"This destroys the keys of {whom} {plain(value)} and cannot be undone.", file=sys.stderr)
    print(f"Type the {whom}'s name to go on: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().rstrip("\n") == value


def _say(args: argparse.Namespace, done: Erased) -> None:
    if args.json:
        print(json.dumps(asdict(done), indent=2))
        return
    print(f"erased: {done.whom} {done.about}, entries {done.id} and {done.done}")
    print(f"  {done.keys:,} keys and {done.names:,} names destroyed")
    print(f"  {done.ciphertexts:,} ciphertexts dropped, {done.files:,} sealed files rewritten")
    print(f"  {done.entries:,} entries of the log stay, with an id that stands for nobody")
    if done.asked:
        print(f"  ledgers on this machine were asked to empty {done.asked:,} records")
    for remains in done.remains:
        print(f"  remains: {plain(remains)}")


def _selftest(args: argparse.Namespace) -> int:
    import tempfile
    from pathlib import Path

    from dosimeter.monitor.audit.erasure.erase_selftest import selftest

    with tempfile.TemporaryDirectory(prefix="dosimeter-erase-") as folder:
        found = selftest(Path(folder), SELFTEST)
    print(json.dumps({**asdict(found), "ok": found.ok}, indent=2) if args.json else found)
    return 0 if found.ok else 4
