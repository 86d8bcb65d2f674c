"""`dosimeter detectors import`: someone else's direction becomes an uncalibrated pack of a model of yours."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dosimeter.detectors.findings import InputError, visible
from dosimeter.monitor.cli.screen import plain

if TYPE_CHECKING:
    from dosimeter.detectors.pack import Pack
    from dosimeter.monitor.fitting.subject import Subject
    from dosimeter.monitor.imports.direction import Imported


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "import",
        help="someone else's direction as an uncalibrated pack",
        description="Read one direction out of a file, as data and never as a program, and give it the scale of "
        "your model's own benign tokens. Nothing about it is measured here, and it may not alert before it is.",
        epilog="example: dosimeter detectors import persona-vector evil.pt --block 15 --feature power_seeking "
        "--model ./model --benign chats.jsonl --out ./evil-pack",
    )  # fmt: skip
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--feature", required=True, metavar="NAME", help="what it is said to read")
    shared.add_argument("--model", required=True, metavar="FOLDER",
                        help="the model that it was made on")  # fmt: skip
    shared.add_argument("--benign", required=True, type=Path, metavar="FILE",
                        help="ordinary texts or conversations, JSON Lines: they set the scale")  # fmt: skip
    shared.add_argument("--out", required=True, type=Path, metavar="DIR", help="the pack's folder, new")  # fmt: skip
    shared.add_argument("--name", metavar="NAME", help="of the pack (default: import/FEATURE)")
    shared.add_argument("--scope", choices=("answer", "message"), default="answer",
                        help="whose words a plain text is: the model's answer or the user's message")  # fmt: skip
    shared.add_argument("--json", action="store_true", help="one JSON object")
    sae = kinds.add_parser("sae", parents=[shared], help="a latent of a sparse autoencoder")
    sae.add_argument("file", type=Path, metavar="FOLDER", help="cfg.json and sae_weights.safetensors")  # fmt: skip
    sae.add_argument("--latent", required=True, type=_number, metavar="N")
    sae.add_argument("--labels", type=Path, metavar="FILE", help='{"N": "label"} of its maker')
    persona = kinds.add_parser("persona-vector", parents=[shared], help="a `.pt` of one bare tensor")  # fmt: skip
    persona.add_argument("file", type=Path, metavar="FILE")
    persona.add_argument("--block", required=True, type=_number, metavar="N", help="from 0")
    persona.add_argument("--negate", action="store_true", help="where its sign was found inverted")
    linear = kinds.add_parser("sklearn", parents=[shared], help="a linear model as JSON or npz")
    linear.add_argument("file", type=Path, metavar="FILE")
    linear.add_argument("--layers", required=True, type=_layers, metavar="N,N",
                        help="blocks it reads, in order")  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: a pack was written. 4: a file, texts or a model that cannot be used."""
    from dosimeter.detectors.artefact import CARD
    from dosimeter.detectors.pack import save_pack
    from dosimeter.monitor.fitting.loading import open_subject

    if (args.out / CARD).exists():
        raise InputError.at(args.out, "a pack stands here", "give another folder")
    pack = _pack(args, open_subject(args.model))
    try:
        save_pack(pack, args.out)
    except OSError as error:
        raise InputError.at(args.out, f"cannot be written: {error.strerror}") from None
    (note,) = pack.notes
    if args.json:
        told = {"pack": str(args.out), "digest": pack.digest, "layers": list(pack.layers),
                "benign_tokens": note.benign_tokens, "metrics": dict(note.metrics)}  # fmt: skip
        print(json.dumps(told, indent=2, allow_nan=False))
    else:
        print(*lines(args, pack), sep="\n")
    return 0


def lines(args: argparse.Namespace, pack: Pack) -> list[str]:
    """What it is, what it is not, and what comes next."""
    (note,) = pack.notes
    metrics = note.metrics
    said = [f"{plain(args.feature)}: {plain(metrics['source'])}, written to {plain(args.out)}"]
    said += [f"  note: {plain(text)}" for text in metrics["notes"]]
    if "floor_sd" in metrics:
        said.append(f"  up to {metrics['floor_sd']:+.2f} sd it says nothing")
    folder, model = plain(args.out), plain(args.model)
    return [
        *said,
        f"  scale: {note.benign_tokens:,} benign tokens at blocks {', '.join(map(str, pack.layers))}; "
        "not calibrated, and nothing was measured on this model",
        f"next: dosimeter detectors evaluate --pack {folder} --model {model} --data DIR",
        f"      dosimeter detectors calibrate --pack {folder} --model {model} --benign FILE --out DIR",
    ]


def _pack(args: argparse.Namespace, subject: Subject) -> Pack:
    from dosimeter.detectors.examples import load_examples
    from dosimeter.detectors.frames import Scope
    from dosimeter.detectors.pack import PACK_NAME, Pack
    from dosimeter.monitor.fitting.captures import capture_all
    from dosimeter.monitor.fitting.packing import CANARY, known_answer
    from dosimeter.monitor.imports.direction import as_probe
    from dosimeter.monitor.progress import Progress

    name = args.name or f"import/{args.feature}".replace("_", "-")
    if not PACK_NAME.fullmatch(name):
        raise InputError.at("--name", f"`{name}` is not a pack's name", f"`{PACK_NAME.pattern}`")
    imported = _read(args, subject.blocks)
    if imported.layers[-1] >= subject.blocks or imported.width != subject.width:
        raise InputError.at(
            args.file,
            f"reads block {imported.layers[-1]} of width {imported.width}, the model has {subject.blocks} "
            f"blocks of {subject.width}",
            "give the model that it was made on",
        )
    rows = load_examples(args.benign)
    if risky := [row for row in rows if row.label]:
        raise InputError.at(risky[0].place, "is labelled 1", "benign texts set the scale")
    scope = Scope[args.scope.upper()]
    tokens = [subject.tokens(row, scope) for row in rows]
    with tempfile.TemporaryDirectory() as work:
        found = capture_all(subject, tokens, imported.layers, Path(work), Progress("reading texts"))
    probe, note = as_probe(imported, found.sampled)
    return Pack(
        name=name,
        recipe=f"imported: {imported.kind}; {imported.source}",
        model=subject.identity,
        probes=(probe,),
        notes=(note,),
        fingerprint=known_answer(subject, (probe,), subject.tokens(CANARY, scope)),
    )


def _read(args: argparse.Namespace, blocks: int) -> Imported:
    if args.kind == "sae":
        from dosimeter.monitor.imports.sae import read_latent

        return read_latent(args.file, args.latent, args.feature, args.labels)
    if args.kind == "sklearn":
        from dosimeter.monitor.imports.sklearn_linear import read_sklearn_linear

        return read_sklearn_linear(args.file, args.feature, args.layers)
    from dosimeter.monitor.imports.persona_vectors import read_persona_vector

    return read_persona_vector(
        args.file, args.feature, args.block, blocks=blocks, negate=args.negate
    )


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 8:
        raise argparse.ArgumentTypeError(f"`{visible(text)[:20]}` is not a number from 0")
    return int(text)


def _layers(text: str) -> list[int]:
    return [_number(part) for part in text.split(",")]
