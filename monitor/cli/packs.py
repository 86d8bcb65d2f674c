"""`dosimeter packs`: writes the list of packs that taps follow, so that running servers score with others.

It owns the arguments and the writing; the form of a list, and who may write one, is `taps/pack_list.py`'s.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from pathlib import Path
from typing import Any

DATA = 4


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "packs",
        help="say which packs running taps score with",
        description="Write the file that `dosimeter attach --pack-list FILE` follows: within a second or two the "
        "server scores with these packs, all of them and no others. `dosimeter status` says so, or why not.",
        epilog="example: dosimeter packs --list /etc/dosimeter/packs --pack packs/core",
    )
    parser.add_argument(
        "--list", type=Path, required=True, metavar="FILE", help="the file to write"
    )
    parser.add_argument(
        "--pack",
        action="append",
        required=True,
        type=Path,
        help="a probe pack, under the path that the server finds it by; repeat for several",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: written. 4: no such pack, two of one feature, or a list that no tap would follow."""
    try:
        written = write(args.list, args.pack)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return DATA
    print(*written, sep="\n")
    return 0


def write(path: Path, folders: list[Path]) -> list[str]:
    """The lines that are now in the list. Raises OSError, InputError, BankError; the list is then as it was."""
    from dosimeter.detectors.bank import ProbeBank
    from dosimeter.detectors.pack import load_pack
    from dosimeter.monitor.taps import pack_list

    packs = [load_pack(folder) for folder in folders]
    ProbeBank.from_packs(packs)
    lines = [pack_list.pinned(pack, folder) for pack, folder in zip(packs, folders, strict=True)]
    new = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        with new.open("x") as file:
            file.writelines(f"{line}\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
        new.chmod(0o644)  # whatever the mask: a list that others may write is followed by nobody
        pack_list.read(new)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    return lines
