"""A PostgreSQL of our own, in a folder of its own, that nobody reaches over a network; gone when the tests end."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OWNER = "keeps"
ROOT = "root_of_the_server"


def installed() -> Path | None:
    """The folder of its programs: on the path, or where Debian puts them."""
    path = shutil.which("postgres")
    found = [Path(path).parent] if path else []
    found += [p.parent for p in sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))]
    return found[-1] if found and shutil.which("psql") else None


@dataclass(frozen=True)
class Database:
    folder: Path
    name: str

    def environ(self, user: str = OWNER) -> dict[str, str]:
        rest = {n: v for n, v in os.environ.items() if not n.startswith("PG")}
        path = "-c search_path=dosimeter"
        mine = {
            "PGHOST": str(self.folder),
            "PGDATABASE": self.name,
            "PGUSER": user,
            "PGOPTIONS": path,
        }
        return rest | mine  # fmt: skip

    def psql(self, script: str, user: str = OWNER, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", *args],
            input=script,
            capture_output=True,
            text=True,
            env=self.environ(user),
            timeout=60,
        )

    def done(self, script: str, user: str = OWNER) -> str:
        found = self.psql(script, user)
        assert found.returncode == 0, found.stderr
        return found.stdout

    def refused(self, script: str, user: str = OWNER) -> str:
        found = self.psql(script, user)
        assert found.returncode != 0, f"not refused: {script}"
        return found.stderr


@contextmanager
def server() -> Iterator[Database]:
    """Its database `postgres`. Texts sort as in a dictionary there unless a table says otherwise."""
    programs = installed()
    assert programs is not None
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a socket's path may not be long
    as_whom: dict[str, Any] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(folder, "nobody")
        as_whom = {"user": "nobody"}

    def run(program: str, *args: str) -> None:
        done = subprocess.run(
            [str(programs / program), "-D", str(folder / "data"), *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=folder,
            timeout=120,
            **as_whom,
        )
        assert done.returncode == 0, done.stderr.decode()

    way = ("--auth=trust", f"--username={ROOT}", "--encoding=UTF8", "--no-sync")
    run("initdb", *way, "--locale=C", "--locale-provider=icu", "--icu-locale=de")
    alone = f"-c listen_addresses='' -c fsync=off -k {folder}"
    try:
        run("pg_ctl", "-w", "-l", str(folder / "log"), "-o", alone, "start")
        try:
            yield Database(folder, "postgres")
        finally:
            run("pg_ctl", "-w", "-m", "immediate", "stop")  # nothing of it is needed any more
    finally:
        shutil.rmtree(folder)
