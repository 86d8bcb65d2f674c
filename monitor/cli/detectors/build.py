"""`dosimeter detectors build`: a model's folder and labelled texts become a pack with a verdict, or a refusal."""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dosimeter.monitor.cli.screen import Screen, plain, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dosimeter.monitor.fitting.build import Learned


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
    parser.add_argument("--benign", action="append", default=[], type=Path, metavar="FILE",
                        help="benign texts to place levels on, JSON Lines; repeat for several")  # fmt: skip
    parser.add_argument("--unlabelled", action="store_true",
                        help="the texts of --benign are traffic that nobody has looked at")  # fmt: skip
    parser.add_argument("--answers-per-day", type=int, metavar="N", help="volume of that traffic")
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
    from dosimeter.detectors.examples import load_examples
    from dosimeter.detectors.pack import save_pack
    from dosimeter.detectors.registry import load_features
    from dosimeter.monitor.fitting.build import learn
    from dosimeter.monitor.fitting.calibrating import calibrate
    from dosimeter.monitor.fitting.captures import Progress
    from dosimeter.monitor.fitting.lesson import benign_texts, lesson_of
    from dosimeter.monitor.fitting.loading import open_subject
    from dosimeter.monitor.fitting.packing import make_pack

    today = datetime.date.today().isoformat()
    features = load_features()
    lessons = [lesson_of(features[name], features, args.data) for name in args.feature]
    for lesson in lessons:
        for finding in lesson.warnings:
            print(finding, file=sys.stderr)
    benign = [row for path in args.benign for row in load_examples(path)]
    benign = benign or [*lessons[0].benign] or benign_texts()
    subject = open_subject(args.model)
    twin = open_subject(args.twin) if args.twin else None
    work = args.out / "captures"
    learned = learn(subject, lessons, work, Progress, twin=twin, seed=args.seed)
    name = args.name or f"own/{args.feature[0]}".replace("_", "-")
    pack = make_pack(subject, name, learned, args.tier)
    calibration = None
    if pack is not None:
        shutil.rmtree(args.out / "pack", ignore_errors=True)
        save_pack(pack, args.out / "pack")
        calibration = calibrate(
            subject, [pack], benign, Progress("calibrating"),
            corpus=_corpus(args), date=today, labelled=not args.unlabelled,
            answers_per_day=args.answers_per_day,
        )  # fmt: skip
        calibration.save(args.out / "calibration")
    documents = [_document(subject, one, pack, calibration, args.tier, today) for one in learned]
    for one, document in zip(learned, documents, strict=True):
        _write(args.out, one.evidence["feature"], document)
    shutil.rmtree(work)  # all of it is in the pack, or was refused
    if args.json:
        print(json.dumps(documents, indent=2, allow_nan=False))
    else:
        print(*lines(documents, args.out, Screen.of(sys.stdout)), sep="\n")
    return int(any(one.fit is None for one in learned))


def lines(documents: Sequence[dict[str, Any]], out: Path, screen: Screen) -> list[str]:
    """A verdict a feature with what decided it, failed checks first; then what can be placed."""
    said: list[str] = []
    for document in documents:
        best = document["sets"][-1 if len(document["sets"]) > 1 else 0]
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
    from dosimeter.monitor.fitting.shown import shaded

    kept = pack is not None and one.fit is not None
    scope = one.lesson.feature.read.scope
    shape = Shape("average", 16) if subject.window is None else Shape("average_scope")
    return {
        **one.evidence,
        "tier": tier,
        "date": today,
        "pack": {"name": pack.name, "digest": pack.digest} if kept else None,
        "levels": levels(calibration, one.evidence["feature"], scope, shape) if kept else [],
        "examples": shaded(subject, pack, one.lesson) if kept else [],
        "ablation": None,
    }


def _write(out: Path, feature: str, document: dict[str, Any]) -> None:
    from dosimeter.monitor.fitting.report import html

    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, indent=2, allow_nan=False) + "\n"
    (out / f"evidence-{feature}.json").write_text(text, encoding="utf-8")
    (out / f"report-{feature}.html").write_text(html(document), encoding="utf-8")


def _corpus(args: argparse.Namespace) -> str:
    if args.benign:
        return ", ".join(path.name for path in args.benign)
    return "benign sets of the data folder" if args.data else "our own ordinary texts"
