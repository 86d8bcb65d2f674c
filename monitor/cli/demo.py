"""`dosimeter demo`: the product at its main job, on this machine, with nothing left behind."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "demo",
        help="watch a real server on this machine, live or once through",
        description="Start a model server, broker, viewer and sidecar; send traffic; show what is seen.",
    )
    parser.add_argument(
        "--once",
        action="store_true",
        help="a fixed set of conversations, then a report; exit 0 only if all is right",
    )
    parser.add_argument("--json", action="store_true", help="with --once: the report as JSON")
    parser.add_argument("--keep", type=Path, metavar="DIR",
                        help="with --once: leave alerts and scores there, to look into")  # fmt: skip
    parser.add_argument(
        "--model",
        type=Path,
        help="a model folder of your own; nothing is fitted to it, so it may not alert",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    for option in ("json", "keep"):
        if getattr(args, option) and not args.once:
            print(f"demo: --{option} goes with --once", file=sys.stderr)
            return 2
    if args.keep is not None and args.keep.exists() and any(args.keep.iterdir()):
        print(f"demo: `{args.keep}` is not empty\n  hint: name a new folder", file=sys.stderr)
        return 2
    if args.keep is not None and importlib.util.find_spec("pyarrow") is None:
        print("demo: keeping scores needs pyarrow\n  hint: pip install 'dosimeter[history]'",
              file=sys.stderr)  # fmt: skip
        return 3
    try:
        from dosimeter.monitor.lab.broker import BrokerError
        from dosimeter.monitor.lab.demo import Cast, once
        from dosimeter.monitor.lab.interrupting import interruptible
        from dosimeter.monitor.lab.stage import StageError
    except ImportError as error:
        print(f"demo: {error}\n  hint: pip install 'dosimeter[demo]'", file=sys.stderr)
        return 3
    if args.model is not None and not (args.model / "config.json").is_file():
        print(f"demo: `{args.model}` is no model folder: it has no config.json", file=sys.stderr)
        return 2
    cast = Cast.lab() if args.model is None else Cast.own(args.model.absolute())
    if args.model is not None:
        print(UNCALIBRATED, file=sys.stderr)
    try:
        with interruptible():
            if not args.once:
                return live(cast)
            report = once(cast, _say, args.keep and args.keep.absolute())
            print(json.dumps(report, indent=2) if args.json else as_text(report))
            return 0 if report["ok"] else 1
    except (StageError, BrokerError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        return 130


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


UNCALIBRATED = """your own model: uncalibrated: may not alert
  its tokens are counted and named `no_pack`; the lab's probes are bound to the lab's model and refuse it
  next: fit and calibrate a pack on this model (see docs/packs.md), then `dosimeter attach --pack FOLDER`"""


def live(cast: Any) -> int:
    """Until Ctrl-C, which is how it ends well; before the screen is up it is an interruption."""
    from rich.console import Console

    from dosimeter.monitor.lab.live import watch

    watch(cast, Console())
    return 0


def as_text(report: dict[str, Any]) -> str:
    """The report for people: one line a fact, the verdict last."""
    rows = [f"{name:<28} {value}" for name, value in report.items() if name != "ok"]
    return "\n".join([*rows, "all as it must be" if report["ok"] else "NOT as it must be"])
