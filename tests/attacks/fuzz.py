"""Coverage-guided fuzzing of one target, or of all in turn: `make fuzz`, `make fuzz TARGET=rules SECONDS=300`.

It starts from the committed corpus and writes what it finds new to a folder of the run, never to the
corpus: a finding is looked at, fixed, and then kept there by hand under a name that says what it is.
Progress goes to stderr; the last line on stdout is the tally, and the exit code is 1 after a finding.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
NAMES = tuple(sorted(path.name for path in (HERE / "corpus").iterdir()))
MAX_BYTES = 1024


def one(name: str, seconds: int, found: Path) -> None:
    """Fuzz in this process until the time is over or a promise is broken; never returns."""
    import atheris

    sys.path.insert(0, str(HERE))
    with atheris.instrument_imports(include=["dosimeter", "targets"]):
        from targets import TARGETS
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={MAX_BYTES}",
        "-timeout=30",
        "-rss_limit_mb=3000",
    ]
    options += [f"-artifact_prefix={found}/finding-", "-print_final_stats=1", "-verbosity=1"]
    atheris.Setup([sys.argv[0], *options, str(found), str(HERE / "corpus" / name)], TARGETS[name])
    atheris.Fuzz()


def each(names: list[str], seconds: int, folder: Path) -> int:
    """Every target in a process of its own. Returns the exit code."""
    tally = []
    for name in names:
        found = folder / name
        found.mkdir(parents=True, exist_ok=True)
        print(f"fuzz: {name} for {seconds} s", file=sys.stderr, flush=True)
        began = time.monotonic()
        log = found.with_suffix(".log")
        command = [
            sys.executable,
            __file__,
            name,
            "--here",
            "--seconds",
            str(seconds),
            "--out",
            str(folder),
        ]
        with log.open("w") as stream:
            code = subprocess.run(
                command, stdout=stream, stderr=subprocess.STDOUT, check=False
            ).returncode
        runs = [line.rsplit(" ", 1)[1] for line in log.read_text(errors="replace").splitlines()
                if line.startswith("stat::number_of_executed_units:")]  # fmt: skip
        tally.append({
            "target": name, "exit": code, "executions": int(runs[0]) if runs else None,
            "seconds": round(time.monotonic() - began), "findings": sorted(map(str, found.glob("finding-*"))),
            "log": str(log),
        })  # fmt: skip
        print(f"fuzz: {json.dumps(tally[-1])}", file=sys.stderr, flush=True)
    print(json.dumps(tally))
    return int(any(entry["exit"] for entry in tally))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", nargs="*", choices=NAMES, help="default: all")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument(
        "--out", type=Path, default=Path(".dosimeter/fuzz"), help="where findings go"
    )
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        one(args.target[0], args.seconds, args.out / args.target[0])
    return each(args.target or list(NAMES), args.seconds, args.out)


if __name__ == "__main__":
    sys.exit(main())
