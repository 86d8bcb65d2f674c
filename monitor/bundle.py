"""What a support ticket needs to know of one sidecar, in one archive, and nothing that was said or by whom.

Owns which files are in it. Everything passes `redacted.py` or is made of names and numbers of ours; no log and no
record is in it, because nobody can say what they hold.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import platform
import sqlite3
import sys
import tarfile
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from dosimeter.monitor import stored
from dosimeter.monitor.config import Config
from dosimeter.monitor.redacted import redacted_config, redacted_status, redacted_url
from dosimeter.monitor.status_client import Answer
from dosimeter.monitor.status_findings import findings

README = """\
For a support ticket about a Dosimeter sidecar. Read it before you send it.

config.yaml     the configuration; headers, logins, paths of URLs and names of tenants and routes are hidden
status.json     /status as it was, and the names of what is wrong in it
stored.json     how the files of data-dir stand: counts, sizes, schema versions
versions.json   Dosimeter and the packages it uses, Python, kernel
doctor.json     what `dosimeter doctor` finds for servers that are installed here

In it are names of rules, features, packs, models, hosts and folders. Not in it are alerts, labels, names of
tenants and users, prompts, evidence and logs. Words of errors are left out too, as they may quote any of these:
add those that `dosimeter status` shows, if you may.
"""
FOLDER = "dosimeter-bundle"


def contents(config: Config, answer: Answer | None, *, now_ns: int) -> dict[str, bytes]:
    """File name -> bytes. answer None: no sidecar answered."""
    status: dict[str, Any] = {"answered": answer is not None}
    if answer is not None:
        status |= {
            "url": redacted_url(answer.url),
            "alive": answer.alive,
            "findings": _named(answer),
            "status": redacted_status(answer.body),
        }
    standing = redacted_status(stored.standing(config, now_ns=now_ns))
    return {
        "README.txt": README.encode(),
        "config.yaml": redacted_config(config).encode(),
        "status.json": _json(status),
        "stored.json": _json({"now_ns": now_ns, **standing, **stored.sizes(config)}),
        "versions.json": _json(versions()),
        "doctor.json": _json(_doctor(config)),
    }


def write(path: Path, files: Mapping[str, bytes]) -> None:
    """For its owner alone. Raises FileExistsError, OSError."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as out, tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, body in files.items():
            entry = tarfile.TarInfo(f"{FOLDER}/{name}")  # made anew: no name of whoever runs this
            entry.size, entry.mode = len(body), 0o600
            archive.addfile(entry, io.BytesIO(body))


def versions() -> dict[str, Any]:
    """Of this package and of all that its extras name."""
    names = {_distribution(line) for line in requires("dosimeter") or ()} - {"dosimeter"}
    packages = {name: _version(name) for name in sorted({"dosimeter", "vllm", *names})}
    return {
        "python": sys.version.split()[0],
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "sqlite": sqlite3.sqlite_version,
        "packages": {name: found for name, found in packages.items() if found is not None},
    }


def _distribution(requirement: str) -> str:
    for mark in "[<>=!~; ":
        requirement = requirement.partition(mark)[0]
    return requirement


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _named(answer: Answer) -> list[str]:
    try:
        return [one.name for one in findings(answer.body, alive=answer.alive)]
    except KeyError as error:  # another release answers
        return [f"no field {error}"]


def _doctor(config: Config) -> dict[str, Any]:
    from dosimeter.monitor.doctor import SERVERS, examine

    return {
        name: [one.as_dict() for one in examine(name, None, (), config.socket_path)]
        for name, kind in SERVERS.items()
        if importlib.util.find_spec(kind.module) is not None
    }


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2).encode() + b"\n"
