"""`dosimeter read`: texts through the small reader, scored by its packs, each with what its score means."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dosimeter.monitor.cli.screen import Screen, plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dosimeter.monitor.sources.reading import Reading


MARKED = 2.0
"""Without colour a token is marked from so many sd on."""


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "read",
        help="score texts with the reader, where no activations can be had",
        description="A small encoder reads each text; its packs score every token. It sees words, not the model "
        "that wrote them: what it flags resembles its examples.",
        epilog="example: dosimeter read mail.txt --explain",
    )
    parser.add_argument("file", nargs="+", metavar="FILE",
                        help="a text, or .jsonl with a `text` or `messages` a line; - for standard input")  # fmt: skip
    parser.add_argument("--explain", action="store_true", help="shade the tokens of what fires")
    parser.add_argument("--feature", action="append", metavar="NAME", help="only this; repeatable")
    parser.add_argument("--level", default="1 in 50 answers", metavar="LEVEL",
                        help="what counts as a hit (default: %(default)s of our ordinary texts)")  # fmt: skip
    parser.add_argument("--average", type=int, metavar="N",
                        help="judge by the highest mean of N tokens: 32 finds a few lines in a long text")  # fmt: skip
    parser.add_argument("--pack", type=Path, metavar="FOLDER", help="another pack of the reader")
    parser.add_argument("--calibration", type=Path, metavar="FOLDER",
                        help="its calibration, on your own texts")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one object a text")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: nothing reaches the level. 1: something does. 2: the level. 3: no reader here. 4: the texts."""
    from dosimeter.detectors.findings import InputError, visible
    from dosimeter.detectors.levels import LevelError
    from dosimeter.detectors.placement import NotEnough

    try:
        from dosimeter.monitor.sources.reader import NoReader
        from dosimeter.monitor.sources.reading import read_texts
    except ImportError as error:
        print(f"read: {error}\n  hint: pip install 'dosimeter[reader]'", file=sys.stderr)
        return 3
    try:
        found = read_texts(
            _texts(args.file),
            args.level,
            args.pack,
            args.calibration,
            args.feature or (),
            args.average,
        )
        hit = False
        screen = Screen.of(sys.stdout)
        for one in found:
            hit |= any(score.fires for score in one.scores)
            if args.json:
                print(json.dumps(one.as_json(args.explain), allow_nan=False))
            else:
                print(*lines(one, args.explain, screen), sep="\n")
    except NoReader as error:
        print(f"read: {error}", file=sys.stderr)
        return 3
    except (LevelError, NotEnough) as error:
        print(f"read: {error}", file=sys.stderr)
        return 2
    except InputError as error:
        print(visible(str(error), keep="\n"), file=sys.stderr)
        return 4
    return int(hit)


def lines(one: Reading, explain: bool, screen: Screen) -> list[str]:
    """The text's name, a line a feature, highest first; with `explain` the tokens of what fires, or of the first."""
    said = [screen.bold(f"{plain(one.name)}  ({one.tokens} tokens, read as {one.shape})")]
    for score in one.scores:
        mark = "▲" if score.fires else " "
        beyond = (
            "higher than every ordinary text"
            if score.rank == 0
            else f"1 in {1 / score.rank:,.0f} ordinary texts"
        )
        said.append(
            f" {mark} {score.feature:<16} {score.value:+.2f} sd, fires above {score.threshold:+.2f}; "
            f"{beyond} [{plain(score.verdict)}, reader]"
        )
        if explain and (score.fires or score is one.scores[0]):
            said.append("   " + "".join(_shaded(one, score.feature, screen)))
    if one.cut:
        said.append(f"   read up to token {one.tokens} only")
    return said


def _shaded(one: Reading, feature: str, screen: Screen) -> Iterator[str]:
    for piece, value in one.pieces[feature]:
        text = plain(" ".join(piece.split("\n")))
        if screen.color:
            yield screen.shade(text, value / 4)
        elif value >= MARKED:
            kept = text.lstrip()
            yield f"{text[: len(text) - len(kept)]}[{kept} {value:+.1f}]"
        else:
            yield text


def _texts(files: list[str]) -> list[tuple[str, Any]]:
    """(name, Example) of every text. Raises InputError."""
    from dosimeter.detectors.examples import MAX_CHARACTERS, Example, load_examples
    from dosimeter.detectors.files import read_file
    from dosimeter.detectors.findings import InputError

    found: list[tuple[str, Any]] = []
    for name in files:
        if name.endswith(".jsonl"):
            rows = load_examples(Path(name))
            found += [(f"{name}:{row.place.line}", row) for row in rows]
            continue
        raw = (
            sys.stdin.buffer.read(4 * MAX_CHARACTERS + 4)
            if name == "-"
            else read_file(Path(name), 4 * MAX_CHARACTERS, follow=True)
        )
        text = raw.decode(errors="replace")
        if not text.strip():
            raise InputError.at(name, "holds no text")
        if len(text) > MAX_CHARACTERS:
            raise InputError.at(
                name, f"has more than {MAX_CHARACTERS} characters", "cut it into parts"
            )
        found.append((name, Example(None, name, text=text)))
    return found
