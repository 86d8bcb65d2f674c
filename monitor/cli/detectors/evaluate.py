"""`dosimeter detectors evaluate`: a pack that exists, measured on sets of texts, each figure beside its nulls."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from dosimeter.monitor.cli.screen import Screen, plain, table


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="measure a pack on sets of labelled texts, beside their nulls",
        description="Score every text as in a server and say how well the pack separates them, by set and by slice.",
        epilog="example: dosimeter detectors evaluate --pack out/pack --model ./model --data ./sets",
    )
    parser.add_argument("--pack", required=True, type=Path, metavar="FOLDER")
    parser.add_argument("--model", required=True, metavar="FOLDER",
                        help="the pack's model: a folder, or `reader`, or `lab`")  # fmt: skip
    parser.add_argument("--data", required=True, type=Path, metavar="DIR",
                        help="`<feature>_<set>.jsonl` and `benign_<set>.jsonl`")  # fmt: skip
    parser.add_argument("--robust", action="store_true",
                        help="every set once more in capitals, in lower case, with typos, cut and doubled")  # fmt: skip
    parser.add_argument("--against", type=Path, metavar="FOLDER",
                        help="another pack of the same model: the paired difference too")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: measured. 4: the sets, the pack or the model cannot be used."""
    from dosimeter.detectors.findings import visible
    from dosimeter.detectors.pack import load_pack
    from dosimeter.monitor.fitting.evaluating import evaluate
    from dosimeter.monitor.fitting.loading import open_subject
    from dosimeter.monitor.progress import Progress

    packs = [load_pack(path) for path in (args.pack, args.against) if path is not None]
    with tempfile.TemporaryDirectory() as work:
        found = evaluate(
            open_subject(args.model), packs, args.data, Path(work), Progress, robust=args.robust
        )
    for warning in found["warnings"]:
        print(visible(warning, keep="\n"), file=sys.stderr)
    if args.json:
        print(json.dumps(found, indent=2, allow_nan=False))
    else:
        print(*lines(found, Screen.of(sys.stdout)), sep="\n")
    return 0


def lines(found: dict[str, Any], screen: Screen) -> list[str]:
    """A table a feature, the worst set first, and the slices of the worst."""
    said: list[str] = []
    for feature, sets in found["features"].items():
        said.append(screen.bold(feature))
        head = (
            "set",
            "risky",
            "other",
            "AUROC",
            "95 %",
            "TPR at 1 %",
            "words",
            "length",
            "random p95",
            "against",
        )
        rows = []
        for one in sorted(sets, key=lambda s: s["auroc"]["value"]):
            against = one.get("difference")
            rows.append(
                (
                    plain(one["name"]), str(one["positives"]), str(one["negatives"]),
                    f"{one['auroc']['value']:.3f}",
                    f"[{one['auroc']['low']:.3f}, {one['auroc']['high']:.3f}]",
                    f"{one['tpr'][0]['value']:.2f}" if one["tpr"][0]["shown"] else "not shown",
                    *(f"{one['nulls'][n]:.3f}" if n in one["nulls"] else "" for n in ("tfidf", "length", "random_p95")),
                    "" if against is None
                    else f"{against['value']:+.3f} [{against['low']:+.3f}, {against['high']:+.3f}]",
                )
            )  # fmt: skip
        said += [f"  {line}".rstrip() for line in table(head, rows, screen.width - 2)]
        for one in sets:
            said += [f"  {plain(one['name'])}: {plain(alarm)}" for alarm in one["alarms"]]
            if one["leaked"]:
                said.append(
                    f"  {plain(one['name'])}: {one['leaked']} of its rows are among our own texts"
                )
            cells = one.get("robustness", [])
            if cells:
                told = ", ".join(f"{cell['cell']} {cell['auroc']:.3f}" for cell in cells)
                said.append(f"  {plain(one['name'])}, changed, worst first: {told}")
    for name, fires in found["benign"].items():
        said.append(
            f"benign {plain(name)}: "
            + ", ".join(f"{plain(f)} mean {m:+.2f} sd" for f, m in fires.items())
        )
    return said
