"""`dosimeter rules new`: a rule to begin from, with its tests, out of a template (`rules/language/template`)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from dosimeter.detectors.findings import visible
from dosimeter.detectors.registry import UnknownFeature, load_features
from dosimeter.rules.language.condition import SCOPES
from dosimeter.rules.language.template import (
    TemplateError,
    fill,
    left_open,
    noun,
    source,
    templates,
)
from dosimeter.rules.language.written import is_name

LASTS_DAYS = 90
BEGIN = "sustained"


def add(commands: Any) -> None:
    new = commands.add_parser("new", help="a rule to begin from, with its tests")
    new.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help="the rule's id; without it, the templates are listed",
    )
    new.add_argument(
        "--from", dest="template", metavar="TEMPLATE", help=f"one of the list (default {BEGIN})"
    )
    new.add_argument("--feature", metavar="FEATURE")
    new.add_argument(
        "--other", metavar="FEATURE", help="the second feature, where the template has two"
    )
    new.add_argument(
        "--of", metavar="RULE,...", help="the rules that are counted, where the template counts"
    )
    new.add_argument("--in", dest="scope", choices=sorted(SCOPES), default="answer")
    new.add_argument("--owner", default="trust-and-safety")
    new.add_argument(
        "--out", type=Path, metavar="FILE", help="written there, if it is new; else shown"
    )
    new.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: written or shown. 2: a name that is none, an unknown template or feature, a file that is there."""
    if args.name is None:
        if any((args.template, args.feature, args.other, args.of, args.out)):
            hint = "`dosimeter rules new NAME ...`; without anything, the templates are listed"
            print(f"a new rule needs a name\n  hint: {hint}", file=sys.stderr)
            return 2
        known = templates()
        width = max(map(len, known))
        print("\n".join(f"{name:<{width}}  {line}" for name, line in known.items()))
        return 0
    try:
        text = _filled(args)
        if args.out is None:
            print(text, end="")
            return 0
        with args.out.open("x", encoding="utf-8") as file:
            file.write(text)
    except TemplateError as error:
        print(error, file=sys.stderr)
        return 2
    except FileExistsError:
        print(f"{args.out} exists\n  hint: name another file", file=sys.stderr)
        return 2
    print(f"wrote {args.out}; next: dosimeter rules test {args.out}")
    return 0


def _filled(args: argparse.Namespace) -> str:
    if not is_name(args.name):
        raise TemplateError(
            f"`{args.name[:80]}` is not a rule id\n  hint: lower-case letters, digits and `-`"
        )
    text = source(args.template or BEGIN)
    words = {
        "NAME": args.name,
        "SCOPE": args.scope,
        "NOUN": noun(SCOPES[args.scope]),
        "OWNER": args.owner,
        "UNTIL": (datetime.now(UTC) + timedelta(days=LASTS_DAYS)).date().isoformat(),
    }
    needed = left_open(text)
    for word, value in (("FEATURE", args.feature), ("OTHER", args.other), ("OF", args.of)):
        if word in needed and value is not None:
            words[word] = value
    if "FEATURE" in needed and args.feature is None:
        known = ", ".join(sorted(load_features()))
        raise TemplateError(f"which feature?\n  hint: `--feature`, for example one of {known}")
    if "OTHER" in words and words["OTHER"] == words.get("FEATURE"):
        raise TemplateError(
            f"template `{args.template}` needs two different features\n"
            "  hint: name another one with `--other`"
        )
    filled = fill(text, words)
    _doubt(words[word] for word in ("FEATURE", "OTHER") if word in words)
    return filled


def _doubt(features: Iterable[str]) -> None:
    """Said, not refused: a pack of your own may have it."""
    known = load_features()
    for name in features:
        if name not in known:
            print(f"{visible(str(UnknownFeature(name, known)), keep=chr(10))}\n"
                  "  a pack of your own may have it: then lint with `--pack DIR`", file=sys.stderr)  # fmt: skip
