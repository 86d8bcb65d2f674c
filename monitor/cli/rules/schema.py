"""`dosimeter rules schema`: the JSON Schema of rule files, for editors, out of `rules/language/json_schema`."""

from __future__ import annotations

import argparse
import json
from typing import Any


def add(commands: Any) -> None:
    schema = commands.add_parser("schema", help="print the JSON Schema of rule files, for editors")
    schema.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from dosimeter.rules.language.json_schema import json_schema

    print(json.dumps(json_schema(), indent=2))
    return 0
