"""`dosimeter features`: which features are defined, and the card of one.

It owns the arguments; what a card holds is gathered by `feature_card`, and drawn by `feature_view`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from dosimeter.detectors.findings import InputError, visible
from dosimeter.detectors.registry import RegistryError, UnknownFeature, load_features
from dosimeter.monitor.cli.feature_view import card_lines, list_lines
from dosimeter.monitor.cli.screen import Screen
from dosimeter.monitor.feature_card import (
    card_json,
    card_of,
    known_calibrations,
    known_packs,
    undefined,
)


def add_parser(subparsers: Any) -> None:
    features = subparsers.add_parser("features", help="list the defined features, show one's card")
    commands = features.add_subparsers(dest="features_command", required=True, metavar="COMMAND")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", help="one JSON object")
    shared.add_argument(
        "--packs", action="append", default=[], type=_folder, metavar="DIR",
        help="a folder of packs of your own, repeatable",
    )  # fmt: skip
    listing = commands.add_parser("list", parents=[shared], help="what is defined, and how mature")
    listing.set_defaults(run=run)
    show = commands.add_parser("show", parents=[shared], help="definition, examples and quality")
    show.add_argument("name", metavar="NAME")
    show.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: shown. 2: no such feature. 4: a pack, a calibration or data that cannot be read."""
    listed = args.features_command == "list"
    try:
        features = load_features()
        chosen = list(features.values()) if listed else [features[args.name]]
        packs = known_packs(args.packs)
        traffic = known_calibrations(args.packs)
        cards = [card_of(feature, packs, traffic) for feature in chosen]
    except (UnknownFeature, InputError, RegistryError) as error:
        print(visible(str(error), keep="\n"), file=sys.stderr)
        return 2 if isinstance(error, UnknownFeature) else 4
    screen = Screen.of(sys.stdout)
    if listed:
        strange = undefined(packs, features)
        whole = {
            "features": [card_json(card, examples=False) for card in cards],
            "undefined": strange,
        }
        lines = list_lines(cards, strange, screen)
    else:
        whole, lines = card_json(cards[0]), card_lines(cards[0], screen)
    print(json.dumps(whole, indent=2) if args.json else "\n".join(lines))
    return 0


def _folder(text: str) -> Path:
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"`{visible(text)}` is not a folder")
    return Path(text)
