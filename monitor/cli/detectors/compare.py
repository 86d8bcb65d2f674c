"""`dosimeter detectors compare`: how far each feature moved from one version of a model to the next."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dosimeter.monitor.cli.arguments import seed, up_to
from dosimeter.monitor.cli.screen import Screen, plain, table

if TYPE_CHECKING:
    from dosimeter.monitor.fitting.compare import Comparison

REPLY_TOKENS = 64


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "compare",
        help="two versions of a model on one suite: which features moved",
        description="Read the same texts with two versions of a model, by the old one's packs. A shift counts "
        "where its interval excludes 0 and random directions through the same layers do not move as far.",
        epilog="example: dosimeter detectors compare ./model-v1 ./model-v2 --pack packs/core --suite texts.jsonl",
    )  # fmt: skip
    parser.add_argument(
        "old", metavar="OLD", help="folder of the model that the packs were made on"
    )
    parser.add_argument("new", metavar="NEW", help="folder of the version to compare with it")
    parser.add_argument("--pack", action="append", required=True, type=Path, metavar="FOLDER",
                        help="a probe pack of OLD, repeatable")  # fmt: skip
    parser.add_argument("--suite", action="append", required=True, type=Path, metavar="FILE",
                        help="texts or conversations, JSON Lines, repeatable")  # fmt: skip
    parser.add_argument("--scope", choices=("answer", "message"), default="answer",
                        help="whose words a plain text is: the model's answer or the user's message")  # fmt: skip
    parser.add_argument("--replies", nargs="?", type=up_to(100_000), const=REPLY_TOKENS, metavar="TOKENS",
                        help=f"read each model's own replies to the suite, {REPLY_TOKENS} tokens")  # fmt: skip
    parser.add_argument("--directions", type=up_to(100_000), default=200, metavar="N",
                        help="random directions in the control (200)")  # fmt: skip
    parser.add_argument("--seed", type=seed, default=0)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: no feature is shown to have moved. 1: one has. 4: data that cannot be used."""
    from dosimeter.detectors.examples import load_examples
    from dosimeter.detectors.frames import Scope
    from dosimeter.detectors.pack import load_pack
    from dosimeter.monitor.fitting.compare import compare
    from dosimeter.monitor.fitting.loading import open_subject
    from dosimeter.monitor.progress import Progress

    packs = [load_pack(folder) for folder in args.pack]
    examples = [row for path in args.suite for row in load_examples(path)]
    found = compare(
        open_subject(args.old), open_subject(args.new), packs, examples, args.directions, args.seed,
        scope=Scope[args.scope.upper()], reply_tokens=args.replies, tell=Progress,
    )  # fmt: skip
    if args.json:
        print(json.dumps(found.as_json(), indent=2, allow_nan=False))
    else:
        print(*lines(found, Screen.of(sys.stdout)), sep="\n")
    return int(found.shifted)


def lines(found: Comparison, screen: Screen) -> list[str]:
    """Worst first."""
    said = [
        f"{plain(found.new['name'])} against {plain(found.old['name'])}, {found.texts} {found.on} "
        f"of {found.groups} groups, beside {found.directions} random directions",
        "",
    ]
    rows = [
        (
            plain(one.feature),
            one.part,
            f"{one.shift.value:+.2f}",
            f"[{one.shift.low:+.2f}, {one.shift.high:+.2f}]",
            f"±{one.control:.2f}",
            f"{one.holm:.3f}",
            one.outcome,
        )
        for one in found.shifts
    ]
    head, *body = table(
        ("feature", "texts", "shift", "95 % interval", "control", "p, joint", "what it shows"), rows, screen.width
    )  # fmt: skip
    said += [screen.bold(head), *body, ""]
    said.append(
        "shift: new minus old, in benign sd of the old model · control: 95 % of random directions stay within"
    )
    if found.silent:
        said.append(f"{found.silent} prompts were left out: one of the two models says nothing")
    return [*said, *(f"note: {plain(note)}" for note in found.notes)]
