"""`dosimeter detectors build`: a model's folder and labelled texts become a pack with a verdict, or a refusal."""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dosimeter.monitor.cli.arguments import volume
from dosimeter.monitor.cli.screen import Screen, plain, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dosimeter.detectors.examples import Example
    from dosimeter.detectors.registry import Feature
    from dosimeter.monitor.fitting.build import Learned
    from dosimeter.monitor.fitting.lesson import Lesson
    from dosimeter.monitor.fitting.subject import Subject
    from dosimeter.monitor.fitting.traffic import Traffic


CAPTURES = ".captures"
"""Activations, until the build is done: a run that was broken off finds them."""


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "build",
        help="fit, judge and calibrate a pack for your own model",
        description="Read texts with a model through the tap, fit a probe a feature, hold it against its nulls "
        "and calibrate it. A feature without evidence is refused, and no pack of it is written.",
        epilog="example: dosimeter detectors build --model ./model --feature scam --out ./scam-pack",
    )
    parser.add_argument("--model", required=True, metavar="FOLDER",
                        help="a decoder's folder, or `reader`, or `lab`")  # fmt: skip
    parser.add_argument("--feature", action="append", required=True, metavar="NAME",
                        help="one feature; repeat for a pack of several")  # fmt: skip
    parser.add_argument("--data", type=Path, metavar="DIR",
                        help="`<feature>_<set>.jsonl` and `benign_<set>.jsonl` (default: our own texts)")  # fmt: skip
    parser.add_argument("--capture", type=Path, metavar="DIR",
                        help="requests out of `dosimeter capture`, with --labels, instead of texts")  # fmt: skip
    parser.add_argument("--labels", type=Path, metavar="CSV",
                        help="`request,label` of requests of the capture; levels are placed on the others")  # fmt: skip
    parser.add_argument("--key-file", type=Path, metavar="FILE",
                        help="the capture's key (default: `key` in it)")  # fmt: skip
    parser.add_argument("--benign", action="append", default=[], type=Path, metavar="FILE",
                        help="benign texts to place levels on, JSON Lines; repeat for several")  # fmt: skip
    parser.add_argument("--unlabelled", action="store_true",
                        help="the texts of --benign are traffic that nobody has looked at")  # fmt: skip
    parser.add_argument(
        "--answers-per-day", type=volume, metavar="N", help="volume of that traffic"
    )
    parser.add_argument("--twin", metavar="FOLDER",
                        help="the same model without the behaviour: one null more")  # fmt: skip
    parser.add_argument("--out", required=True, type=Path, metavar="DIR",
                        help="for pack, calibration, evidence and report")  # fmt: skip
    parser.add_argument(
        "--name", metavar="NAME", help="the pack's name (default: own/<first feature>)"
    )
    parser.add_argument("--tier", choices=("T0", "T1", "T2"), default="T2",
                        help="planted, a small model trained for the purpose, or a real one (default)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="the evidence as one object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: every feature is in the pack. 1: one was refused. 4: the texts or the model cannot be used."""
    from dosimeter.detectors.findings import InputError, visible
    from dosimeter.detectors.pack import PACK_NAME, save_pack
    from dosimeter.detectors.registry import load_features
    from dosimeter.monitor.fitting.build import learn
    from dosimeter.monitor.fitting.calibrating import calibrate, requests_of
    from dosimeter.monitor.fitting.lesson import lesson_of
    from dosimeter.monitor.fitting.loading import open_subject
    from dosimeter.monitor.fitting.packing import make_pack
    from dosimeter.monitor.progress import Progress

    today = datetime.date.today().isoformat()
    features = load_features()
    asked = list(dict.fromkeys(args.feature))
    name = args.name or f"own/{asked[0]}".replace("_", "-")
    if not PACK_NAME.fullmatch(name):
        raise InputError.at("--name", f"`{visible(name)}`", f"it matches `{PACK_NAME.pattern}`")
    subject: Subject
    layers = None
    if args.capture is not None:
        traffic, lessons = _captured(args, [features[one] for one in asked])
        subject, layers = traffic, traffic.layers
    else:
        lessons = [lesson_of(features[one], features, args.data) for one in asked]
    for lesson in lessons:
        for finding in lesson.warnings:
            print(visible(str(finding), keep="\n"), file=sys.stderr)
    benign, corpus = _benign(args, lessons)
    if args.capture is None:
        subject = open_subject(args.model)
    requests = requests_of(subject, [lesson.feature for lesson in lessons], benign)
    twin = open_subject(args.twin) if args.twin else None
    _make_room(args.out)  # what was built before stays until all that was given can be used
    learned = learn(subject, lessons, args.out / CAPTURES, Progress, twin=twin, seed=args.seed,
                    layers=layers)  # fmt: skip
    pack = make_pack(subject, name, learned, args.tier)
    calibration = None
    if pack is not None:
        save_pack(pack, args.out / "pack")
        calibration = calibrate(
            subject, [pack], requests, Progress("calibrating"), corpus=corpus, date=today,
            labelled=not args.unlabelled, answers_per_day=args.answers_per_day,
        )  # fmt: skip
        calibration.save(args.out / "calibration")
    documents = [_document(subject, one, pack, calibration, args.tier, today) for one in learned]
    if args.capture is None:
        for one, document in zip(learned, documents, strict=True):
            document["examples"] = _examples(subject, pack, one)
    for one, document in zip(learned, documents, strict=True):
        _write(args.out, one.evidence["feature"], document)
    shutil.rmtree(args.out / CAPTURES)  # all of it is in the pack, or was refused
    if args.json:
        print(json.dumps(documents, indent=2, allow_nan=False))
    else:
        print(*lines(documents, args.out, Screen.of(sys.stdout)), sep="\n")
    return int(any(one.fit is None for one in learned))


def lines(documents: Sequence[dict[str, Any]], out: Path, screen: Screen) -> list[str]:
    """A verdict a feature with what decided it, failed checks first; then what can be placed."""
    said: list[str] = []
    for document in documents:
        best = min(document["sets"], key=lambda one: one["auroc"]["value"])
        said.append(screen.bold(f"{document['feature']}: {document['verdict']}"))
        checks = sorted(document["checks"], key=lambda check: check["passed"])
        said += [f"  {'✓' if c['passed'] else '✗'} {plain(c['sentence'])}" for c in checks]
        head = ("set", "AUROC", "95 %", "words", "length", "embedding", "random p95", "TPR at 1 %")
        rows = [
            (
                plain(one["name"]), f"{one['auroc']['value']:.3f}",
                f"[{one['auroc']['low']:.3f}, {one['auroc']['high']:.3f}]",
                *(f"{one['nulls'][null]:.3f}" for null in ("tfidf", "length", "embedding", "random_p95")),
                f"{one['tpr'][0]['value']:.2f}" if one["tpr"][0]["shown"] else "not shown",
            )
            for one in document["sets"]
        ]  # fmt: skip
        said += [f"  {line}" for line in table(head, rows, screen.width - 2)]
        worst = best["slices"][:3]
        if worst:
            told = [
                f"{plain(s['kind'])} " + (f"{s['auroc']:.2f}" if s["auroc"] is not None else f"{s['fires']:.0%} above")
                for s in worst
            ]  # fmt: skip
            said.append(f"  worst slices of {plain(best['name'])}: {', '.join(told)}")
        for level in document["levels"][:1]:
            said.append(f"  levels: {level['level']} ({level['shape']}); {plain(level['says'])}")
        if document["verdict"] == "refused":
            said.append("  no probe of it is in the pack")
        said.append(f"  report: {out / ('report-' + document['feature'] + '.html')}")
    if any(document["pack"] for document in documents):
        said += [f"pack: {out / 'pack'}", f"calibration: {out / 'calibration'}"]
    return said


def _document(
    subject: Any, one: Learned, pack: Any, calibration: Any, tier: str, today: str
) -> dict[str, Any]:
    from dosimeter.detectors.levels import Shape
    from dosimeter.monitor.fitting.calibrating import levels

    kept = pack is not None and one.fit is not None
    scope = one.lesson.feature.read.scope
    shape = Shape("average", 16) if subject.window is None else Shape("average_scope")
    return {
        **one.evidence,
        "tier": tier,
        "date": today,
        "pack": {"name": pack.name, "digest": pack.digest} if kept else None,
        "levels": levels(calibration, one.evidence["feature"], scope, shape) if kept else [],
        "examples": [],
        "ablation": None,
    }


def _examples(subject: Any, pack: Any, one: Learned) -> list[dict[str, Any]]:
    """For people to look at. What was captured is nobody's to read in a report, so there none is shown."""
    from dosimeter.monitor.fitting.shown import shaded

    return [] if pack is None or one.fit is None else shaded(subject, pack, one.lesson)


def _write(out: Path, feature: str, document: dict[str, Any]) -> None:
    from dosimeter.monitor.fitting.report import html

    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, indent=2, allow_nan=False) + "\n"
    (out / f"evidence-{feature}.json").write_text(text, encoding="utf-8")
    (out / f"report-{feature}.html").write_text(html(document), encoding="utf-8")


def _captured(
    args: argparse.Namespace, features: Sequence[Feature]
) -> tuple[Traffic, list[Lesson]]:
    """Requests of a capture instead of texts. Raises InputError."""
    from dosimeter.detectors.findings import InputError
    from dosimeter.monitor.capture.folder import Capture
    from dosimeter.monitor.cli.rules.backtest import read_labels
    from dosimeter.monitor.fitting.decoder import Decoder
    from dosimeter.monitor.fitting.loading import folder_of
    from dosimeter.monitor.fitting.traffic import Traffic, lesson_of

    if args.labels is None or args.data is not None or args.benign or args.twin:
        raise InputError.at(
            "--capture", "takes --labels, and neither --data nor --benign nor --twin"
        )
    if len(features) > 1:
        raise InputError.at(
            "--labels", f"say yes or no to one feature, {len(features)} are asked for",
            "build a pack of each, with labels of its own",
        )  # fmt: skip
    labels = read_labels(args.labels)
    traffic = Traffic(Decoder(folder_of(args.model)), Capture(args.capture, args.key_file))
    found = [lesson_of(feature, traffic, labels) for feature in features]
    for one in found:
        told = {
            "without tokens": one.unworded,
            "without one to read": one.unread,
            "not in it": one.unknown,
        }
        left = ", ".join(f"{n} {what}" for what, n in told.items() if n)
        if left:
            print(f"{one.lesson.feature.name}: labelled requests left out: {left}", file=sys.stderr)
        if one.fitted:
            print(
                f"{one.lesson.feature.name}: {one.fitted} requests of conversations that are fitted on left out "
                "of what levels are placed on",
                file=sys.stderr,
            )
    args.unlabelled = bool(found[0].lesson.benign)  # nobody has looked at the others
    return traffic, [one.lesson for one in found]


def _benign(args: argparse.Namespace, lessons: Sequence[Lesson]) -> tuple[list[Example], str]:
    """What levels are placed on, and what it is called: files that were given, sets of the folder, or our own."""
    from dosimeter.detectors.examples import leaks, load_examples
    from dosimeter.detectors.findings import InputError
    from dosimeter.monitor.fitting.lesson import benign_texts

    if args.unlabelled and not args.benign and args.capture is None:
        raise InputError.at(
            "--unlabelled", "says what the texts of --benign are", "give --benign FILE"
        )
    if args.benign:
        rows = [row for path in args.benign for row in load_examples(path)]
        if not args.unlabelled and (risky := [row for row in rows if row.label]):
            raise InputError.at(
                risky[0].place, "is labelled 1", "benign texts only, or --unlabelled"
            )
        corpus = ", ".join(path.name for path in args.benign)
    elif lessons[0].benign:
        rows = list(lessons[0].benign)
        corpus = "benign sets of the data folder" if args.capture is None else "captured requests"
    else:
        rows, corpus = benign_texts(), "our own ordinary texts"
    fitted = [row for lesson in lessons for row in (*lesson.own, *lesson.others)]
    if known := leaks(fitted, rows):
        said = {row.identity for row in known}
        print(
            f"{plain(str(known[0].place))}: warning: {len(known)} of {len(rows)} benign rows are fitted on, "
            "and left out: levels placed on them would be too low",
            file=sys.stderr,
        )
        rows = [row for row in rows if row.identity not in said]
    return rows, corpus


def _make_room(out: Path) -> None:
    """Old results of ours go, lest they stand beside a refusal; what is not ours stays. Raises InputError."""
    from dosimeter.detectors.findings import InputError

    ours = any(out.glob("evidence-*.json")) or (out / CAPTURES).is_dir()
    for part in ("pack", "calibration"):
        if (out / part).exists() and not ours:
            raise InputError.at(
                out / part, "is there already, and not from a build", "choose another --out"
            )
        shutil.rmtree(out / part, ignore_errors=True)
    for evidence in out.glob("evidence-*.json"):
        evidence.unlink()
        feature = evidence.stem.removeprefix("evidence-")
        (out / f"report-{feature}.html").unlink(missing_ok=True)
    (out / CAPTURES).mkdir(parents=True, exist_ok=True)
    (out / CAPTURES).chmod(0o700)  # they may be of what somebody said in private
