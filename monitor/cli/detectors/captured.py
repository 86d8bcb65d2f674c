"""`dosimeter detectors captured`: the requests of a capture as a table for somebody to label."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

HEAD = ("request", "label", "request_id", "tenant", "route", "prompt_tokens", "rows", "text")


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "captured",
        help="list the requests of a capture, as a CSV to write labels into",
        description="One line a whole request. With --model and its tenant's consent the text stands beside it: then "
        "the table is as confidential as the conversation.",
        epilog="example: dosimeter detectors captured ./captured --model ./model > label-me.csv",
    )
    parser.add_argument("capture", type=Path, metavar="DIR", help="what `dosimeter capture` wrote")
    parser.add_argument("--key-file", type=Path, metavar="FILE",
                        help="the capture's key (default: `key` in it)")  # fmt: skip
    parser.add_argument(
        "--model", metavar="FOLDER", help="the model that was served, for its tokenizer"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: there is a request. 1: none is whole. 4: the capture cannot be read."""
    from dosimeter.monitor.audit.exports.tables import write_csv
    from dosimeter.monitor.capture.folder import Capture

    found = Capture(args.capture, args.key_file)
    words = _words(args.model)
    rows = [
        (
            one.name, None, one.labels.get("request_id"), one.labels.get("tenant"),
            one.labels.get("route"), one.prompt_len, one.rows, words(one.ids),
        )
        for one in found.requests.values()
    ]  # fmt: skip
    write_csv(HEAD, rows, sys.stdout)
    if found.left_out:
        print(f"{found.left_out} requests left out: they lack a row", file=sys.stderr)
    return int(not rows)


def _words(model: str | None) -> Any:
    """Token ids -> what they say; None without a model, or without ids."""
    if model is None:
        return lambda ids: None
    from transformers import AutoTokenizer

    from dosimeter.monitor.fitting.loading import folder_of

    tokenizer = AutoTokenizer.from_pretrained(folder_of(model), trust_remote_code=False)
    return lambda ids: str(tokenizer.decode(list(ids))) if ids else None
