"""`dosimeter rules explain`: rules in plain English. The words are in `rules/language/explain`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from dosimeter.detectors.findings import hint_for, visible


def add(commands: Any) -> None:
    explain = commands.add_parser("explain", help="say in plain English what rules do")
    explain.add_argument("path", type=Path, metavar="PATH", help="a file or a folder")
    explain.add_argument("rule", nargs="?", metavar="RULE", help="one rule by its id; all of them without")  # fmt: skip
    explain.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: told. 2: no such rule. 4: rules that cannot be read."""
    from dosimeter.rules.language.explain import explain
    from dosimeter.rules.language.schema import Rule, load_rules
    from dosimeter.rules.language.second import SecondRule

    ruleset = load_rules([args.path])
    rules: dict[str, Rule | SecondRule] = {rule.id: rule for rule in ruleset.rules}
    rules |= {rule.id: rule for rule in ruleset.second}
    if args.rule is not None and args.rule not in rules:
        print(f"{args.path}: no rule `{visible(args.rule)}`", file=sys.stderr)
        print(f"  hint: {visible(hint_for(args.rule, rules))}", file=sys.stderr)
        return 2
    names = sorted(rules) if args.rule is None else [args.rule]
    print(visible("\n\n".join(explain(rules[name]) for name in names), keep="\n"))
    return 0
