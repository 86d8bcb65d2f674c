"""`dosimeter detectors persona`: a trait's direction from replies under opposite system prompts, as a pack."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dosimeter.detectors.findings import InputError, visible
from dosimeter.monitor.cli.arguments import seed, up_to
from dosimeter.monitor.cli.screen import plain

if TYPE_CHECKING:
    from dosimeter.monitor.fitting.contrast import Said

TIERS = ("T0", "T1", "T2")


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "persona",
        help="a trait's direction from opposite system prompts, as an uncalibrated pack",
        description="Ask a model the same questions under opposite system prompts and keep the mean difference "
        "of its reply activations as a probe. Read the replies: without labels it is a contrast of prompts, "
        "not of behaviour.",
        epilog="the file: {trait: name, for: [prompts], against: [prompts], questions: [..]} as YAML",
    )  # fmt: skip
    parser.add_argument("contrast", type=Path, metavar="FILE", help="trait, prompts and questions")
    parser.add_argument(
        "--model", required=True, metavar="FOLDER", help="a decoder's folder, or `lab`"
    )
    parser.add_argument(
        "--to", required=True, type=Path, metavar="DIR", help="the pack's folder, new"
    )
    parser.add_argument("--name", metavar="NAME", help="of the pack (default: persona/TRAIT)")
    parser.add_argument(
        "--tier", choices=TIERS, default="T0", help="what the evidence is worth (T0)"
    )
    parser.add_argument("--layer", type=int, metavar="BLOCK", help="default: the most consistent one")  # fmt: skip
    parser.add_argument("--samples", type=up_to(10_000), default=1, metavar="N",
                        help="replies to a question under a prompt (1)")  # fmt: skip
    parser.add_argument("--tokens", type=up_to(10_000), default=64, metavar="N",
                        help="of a reply at most (64)")  # fmt: skip
    parser.add_argument("--temperature", type=_temperature, default=1.0, help="0 is greedy (1)")
    parser.add_argument("--seed", type=seed, default=0)
    parser.add_argument("--replies", type=Path, metavar="FILE",
                        help="write the replies here, to be labelled")  # fmt: skip
    parser.add_argument("--judged", type=Path, metavar="FILE", help="that file with its labels filled in")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: a pack was written. 1: one that random directions equal. 4: data or a model that cannot be used."""
    from dosimeter.detectors.artefact import CARD
    from dosimeter.detectors.pack import PACK_NAME, save_pack
    from dosimeter.monitor.fitting.contrast import load_contrast, load_judged
    from dosimeter.monitor.fitting.decoder import Decoder
    from dosimeter.monitor.fitting.loading import folder_of
    from dosimeter.monitor.fitting.persona import extract, persona_pack
    from dosimeter.monitor.progress import Progress

    if (args.to / CARD).exists():
        raise InputError.at(args.to, "a pack stands here", "give another folder")
    if args.name is not None and not PACK_NAME.fullmatch(args.name):
        raise InputError.at(
            "--name", f"`{visible(args.name)}`", f"it matches `{PACK_NAME.pattern}`"
        )
    contrast = load_contrast(args.contrast)
    judged = load_judged(args.judged) if args.judged else None
    subject = Decoder(folder_of(args.model))
    with tempfile.TemporaryDirectory() as work:
        persona = extract(
            subject, contrast, Path(work), samples=args.samples, reply_tokens=args.tokens,
            temperature=args.temperature, seed=args.seed, layer=args.layer, judged=judged, tell=Progress,
        )  # fmt: skip
    try:
        if args.replies:  # first: they took longest
            _write(args.replies, persona.said)
        pack = persona_pack(subject, args.name or f"persona/{contrast.trait}", persona, args.tier)
        save_pack(pack, args.to)
    except OSError as error:
        raise InputError.at(str(error.filename), f"cannot be written: {error.strerror}") from None
    metrics = pack.card()["probes"][0]["metrics"]
    alike = metrics["consistency"]
    if args.json:
        told = {"pack": str(args.to), "digest": pack.digest, "layer": pack.layers[0], "metrics": metrics,
                "nulls": persona.nulls}  # fmt: skip
        print(json.dumps(told, indent=2, allow_nan=False))
        return int(not alike["beats_random"])
    print(
        f"{plain(contrast.trait)}: block {pack.layers[0]}, written to {plain(args.to)}, not calibrated"
    )
    print(
        f"  left-out questions agree with the others: cosine {alike['cosine']:.2f} (least "
        f"{alike['cosine_least']:.2f}), AUROC {alike['auroc']:.2f}, mean over sd {alike['steadiness']:.2f}"
    )
    print(
        f"  95 % of random directions stay below AUROC {persona.nulls['random_p95']:.2f}, mean over sd "
        f"{persona.nulls['random_steadiness_p95']:.2f}; length reaches AUROC {persona.nulls['length']:.2f}"
    )
    print(f"  in sd of the model's own replies: {metrics['for_sd']:+.2f} under prompts for it, "
          f"{metrics['against_sd']:+.2f} under prompts against it")  # fmt: skip
    print(f"  {plain(metrics['caveat'])}")
    if not alike["beats_random"]:
        print(
            "  random directions do as well on left-out questions: it is not shown to be more than one of them"
        )
    return int(not alike["beats_random"])


def _write(path: Path, said: Sequence[Said]) -> None:
    """One reply a line; those under no prompt need no label and are not there."""
    rows = [one.as_json() for one in said if one.key[0] != "neither"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _temperature(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 10:
        raise argparse.ArgumentTypeError(f"`{visible(text)[:20]}` is not a temperature, 0 to 10")
    return value
