"""`dosimeter detectors calibrate`: what levels mean on your traffic, and what is missing to promise one."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dosimeter.monitor.cli.arguments import volume
from dosimeter.monitor.cli.screen import Screen, plain, table

if TYPE_CHECKING:
    from dosimeter.detectors.calibrate import Calibration
    from dosimeter.detectors.levels import Shape

Named = Callable[[int], dict[str, Any]]
"""What a request of the calibration is called in the list of those to label."""

FIRST = 200


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "calibrate",
        help="place levels on benign texts, or on traffic nobody has looked at",
        description="Score texts with the pack as in a server, keep the scores as a calibration, and say which "
        "levels can be placed and promised on them, by route (the `kind` or `route` of a row).",
        epilog="example: dosimeter detectors calibrate --pack out/pack --model ./model --benign mail.jsonl --out cal",
    )
    parser.add_argument("--pack", action="append", default=[], type=Path, metavar="FOLDER")
    parser.add_argument("--model", metavar="FOLDER",
                        help="the packs' model: a folder, or `reader`, or `lab`")  # fmt: skip
    parser.add_argument("--benign", action="append", default=[], type=Path, metavar="FILE",
                        help="JSON Lines of `{text | messages}`; rows labelled 1 are an error")  # fmt: skip
    parser.add_argument("--archive", type=Path, metavar="DIR",
                        help="traffic as it came, out of a score archive, instead of the three above")  # fmt: skip
    parser.add_argument("--capture", type=Path, metavar="DIR",
                        help="traffic out of `dosimeter capture`, instead of --benign")  # fmt: skip
    parser.add_argument("--key-file", type=Path, metavar="FILE",
                        help="the capture's key (default: `key` in it)")  # fmt: skip
    parser.add_argument("--labels", type=Path, metavar="CSV",
                        help="`request,label` of requests of either: those labelled yes are left out")  # fmt: skip
    parser.add_argument("--unlabelled", action="store_true",
                        help="traffic that nobody has looked at: levels are shares of alerts")  # fmt: skip
    parser.add_argument("--answers-per-day", type=volume, metavar="N")
    parser.add_argument("--average", type=volume, metavar="N",
                        help="the shape shown: average of N tokens (default: of the whole text)")  # fmt: skip
    parser.add_argument("--out", required=True, type=Path, metavar="DIR")
    parser.add_argument("--json", action="store_true", help="one object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: some level can be placed for every feature. 1: for one none can. 2: usage. 4: what was given is no use."""
    from dosimeter.detectors.findings import InputError
    from dosimeter.detectors.levels import Shape
    from dosimeter.detectors.pack import WEIGHTS

    through_model = bool(args.pack or args.model or args.benign or args.capture)
    read = bool(args.benign) is not bool(args.capture)
    if bool(args.archive) is through_model or (
        through_model and not (args.pack and args.model and read)
    ):
        print(
            "calibrate on `--pack`, `--model` and one of `--benign` and `--capture`, or on an `--archive`",
            file=sys.stderr,
        )
        return 2
    if args.labels and args.benign:
        print("`--labels` name requests of an `--archive` or a `--capture`", file=sys.stderr)
        return 2
    try:
        shape = Shape("average", args.average) if args.average else Shape("average_scope")
    except ValueError as error:
        raise InputError.at("--average", str(error)) from None
    if (args.out / WEIGHTS).exists():  # a card of ours would take the place of its card
        raise InputError.at(args.out, "a pack stands here", "give another folder")
    if args.archive:
        made, named = _of_archive(args)
    else:
        made, named = _of_capture(args) if args.capture else _of_texts(args)
    args.out.mkdir(parents=True, exist_ok=True)
    made.save(args.out)
    return _show(args, made, shape, named)


def _of_archive(args: argparse.Namespace) -> tuple[Calibration, Named]:
    from dosimeter.monitor.cli.rules.backtest import read_labels
    from dosimeter.monitor.history.archive_calibration import from_archive
    from dosimeter.monitor.progress import Progress

    args.unlabelled = True
    today = datetime.date.today().isoformat()
    said = read_labels(args.labels) if args.labels else {}
    risky = {request for request, right in said.items() if right}
    tell = Progress("calibrating")
    taken = from_archive(args.archive, date=today, risky=risky, tell=tell)
    if taken.broken:
        print(f"{taken.broken} requests left out: tokens of theirs were lost", file=sys.stderr)
    if said:
        print(f"{taken.risky} requests left out: labelled yes", file=sys.stderr)
    made = taken.calibration
    if args.answers_per_day:
        made = replace(made, answers_per_day=args.answers_per_day)
    return made, lambda request: {"request": taken.requests[request]}


def _of_capture(args: argparse.Namespace) -> tuple[Calibration, Named]:
    """What the packs say of requests as they came. No token ids are needed for it."""
    from dosimeter.detectors.findings import InputError
    from dosimeter.detectors.frames import Scope
    from dosimeter.detectors.pack import bind, load_pack
    from dosimeter.monitor.capture.folder import Capture
    from dosimeter.monitor.cli.rules.backtest import read_labels
    from dosimeter.monitor.fitting.calibrating import calibrate, requests_of
    from dosimeter.monitor.fitting.decoder import Decoder
    from dosimeter.monitor.fitting.loading import folder_of
    from dosimeter.monitor.fitting.traffic import Traffic, number
    from dosimeter.monitor.progress import Progress

    args.unlabelled = True
    packs = [load_pack(path) for path in args.pack]
    traffic = Traffic(Decoder(folder_of(args.model)), Capture(args.capture, args.key_file))
    for pack in packs:
        if wrong := bind(pack, traffic.identity):
            raise InputError.at(f"pack {pack.name}", "; ".join(wrong))
    said = read_labels(args.labels) if args.labels else {}
    whole = list(traffic.capture.requests.values())
    benign = [one for one in whole if not said.get(number(one))]
    if said:
        print(f"{len(whole) - len(benign)} requests left out: labelled yes", file=sys.stderr)
    rows = [row for one in benign if (row := traffic.example(one, Scope.ANSWER, False))]
    if not rows:
        raise InputError.at(args.capture, "holds no request with an answer")
    made = calibrate(
        traffic, packs, requests_of(traffic, packs, rows), Progress("calibrating"),
        corpus=f"capture {traffic.capture.manifest['id'][:12]}, {len(rows)} requests",
        date=datetime.date.today().isoformat(), labelled=False,
        answers_per_day=args.answers_per_day,
    )  # fmt: skip
    return made, lambda request: {"request": rows[request].place.name}


def _of_texts(args: argparse.Namespace) -> tuple[Calibration, Named]:
    from dosimeter.detectors.examples import load_examples
    from dosimeter.detectors.findings import InputError
    from dosimeter.detectors.pack import bind, load_pack
    from dosimeter.monitor.fitting.calibrating import calibrate, requests_of
    from dosimeter.monitor.fitting.loading import open_subject
    from dosimeter.monitor.progress import Progress

    packs = [load_pack(path) for path in args.pack]
    rows = [row for path in args.benign for row in load_examples(path)]
    if (risky := [row for row in rows if row.label]) and not args.unlabelled:
        raise InputError.at(risky[0].place, "is labelled 1", "benign texts only, or --unlabelled")
    subject = open_subject(args.model)
    for pack in packs:
        if wrong := bind(pack, subject.identity):
            raise InputError.at(f"pack {pack.name}", "; ".join(wrong))
    requests = requests_of(subject, packs, rows)
    made = calibrate(
        subject, packs, requests, Progress("calibrating"),
        corpus=", ".join(path.name for path in args.benign),
        date=datetime.date.today().isoformat(), labelled=not args.unlabelled,
        answers_per_day=args.answers_per_day,
    )  # fmt: skip
    places = [request.row.place for request in requests]
    return made, lambda request: {"file": places[request].name, "line": places[request].line}


def _show(args: argparse.Namespace, made: Calibration, shape: Shape, named: Named) -> int:
    from dosimeter.detectors.frames import CODES_PER_SD, Scope
    from dosimeter.detectors.registry import load_features
    from dosimeter.monitor.fitting.calibrating import levels

    features = load_features()
    found: dict[str, Any] = {}
    for name in made.features:
        scope = features[name].read.scope if name in features else Scope.ANSWER
        first = [
            named(request) | {"score_sd": round(value / CODES_PER_SD, 3)}
            for request, value in made.label_first(name, scope, shape, FIRST)
        ]
        found[name] = {"levels": levels(made, name, scope, shape), "label_first": first}
        path = args.out / f"label-first-{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in first), encoding="utf-8")
    if args.json:
        print(json.dumps({"digest": made.digest, "features": found}, indent=2, allow_nan=False))
    else:
        print(*lines(found, args.out, args.unlabelled, Screen.of(sys.stdout)), sep="\n")
    return int(any(one["levels"][0]["level"] == "none" for one in found.values()))


def lines(found: dict[str, Any], out: Path, unlabelled: bool, screen: Screen) -> list[str]:
    """A table a feature, then what to label first."""
    said: list[str] = []
    for name, one in found.items():
        said.append(
            screen.bold(f"{name}, {one['levels'][0]['scope']}, {one['levels'][0]['shape']}")
        )
        head = ("route", "level", "above, sd", "texts", "fire", "95 % at most", "")
        rows = [
            (
                plain(row["route"]), row["level"],
                "" if row["threshold_sd"] is None else f"{row['threshold_sd']:.2f}",
                f"{row['units']:,}",
                "" if row["exceedances"] is None else str(row["exceedances"]),
                "" if row["bound95"] is None else f"1 in {1 / row['bound95']:,.0f}",
                plain(row["says"]),
            )
            for row in one["levels"]
        ]  # fmt: skip
        said += [f"  {line}".rstrip() for line in table(head, rows, screen.width - 2)]
        said.append(
            f"  label first: {out / f'label-first-{name}.jsonl'}, the {len(one['label_first'])} highest"
        )
    if unlabelled:
        said.append(
            "unlabelled: of benign requests at most the level / (1 - share of risky ones) fire"
        )
    return said
