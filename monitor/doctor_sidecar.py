"""`dosimeter doctor --config`: what would keep a sidecar with this file from running, seeing rules, or being heard.

Each check looks at one thing of the machine as it is now and says what to do. It starts nothing, writes nothing and
sends nothing: a sink is reached for as far as a connection, credentials are for delivery itself to try.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

from dosimeter.detectors.findings import InputError
from dosimeter.monitor.config import Config, load_config
from dosimeter.monitor.config_shown import without_secrets
from dosimeter.monitor.doctor import OK, WRONG, Finding
from dosimeter.monitor.doctor_outward import examine_outward
from dosimeter.monitor.history.ledger import SCHEMA_VERSION, LedgerError
from dosimeter.monitor.history.reader import LedgerReader
from dosimeter.monitor.history.room import disk_of
from dosimeter.monitor.receive import PATH_LIMIT
from dosimeter.monitor.rulebook import Rulebook
from dosimeter.monitor.status_client import NotAnsweredError, address, ask
from dosimeter.rules import native

LEAST_FREE = 2_000_000_000
MIGRATION = 2
"""Times the ledger's size has to be free where it is brought up to date."""
WHOLE = "`dosimeter sidecar --print-config` shows a whole one"
NEEDS = {"archive": "pyarrow", "history": "duckdb"}


def examine_sidecar(path: Path) -> list[Finding]:
    """Every check, in the order in which a start would meet them."""
    try:
        config = load_config(path)
    except InputError as error:
        return [
            Finding("config", WRONG, f"{one.place}: {one.message}", one.hint or WHOLE)
            for one in error.findings
        ]
    except OSError as error:
        words = (error.strerror or str(error)).lower()
        return [
            Finding("config", WRONG, f"{path}: {words}", f"name a file that can be read; {WHOLE}")
        ]
    found = [Finding("config", OK, f"{path} is a configuration"), *_secrets(path, config)]
    found += [*_folder(config), *_ledger(config), *_tap_socket(config), *_http(config)]
    book = Rulebook(config.rules, config.calibrations)
    found += [*_extras(config), *_rules(config, book), *examine_outward(config, book.policies)]
    return found


def _secrets(path: Path, config: Config) -> Iterator[Finding]:
    """Whoever may read the file has what stands in it."""
    mode = path.stat().st_mode & 0o777
    if mode & 0o077 and without_secrets(config) != config:
        yield Finding(
            "secrets", WRONG, f"{path} has credentials, and its mode is {mode:04o}", f"chmod 0400 {path}"
        )  # fmt: skip


def _folder(config: Config) -> Iterator[Finding]:
    """data-dir, or where it will be made."""
    there = config.data_dir.absolute()
    # Not `exists`, here and below: it raises where a folder above may not be looked into.
    while not os.access(there, os.F_OK) and there != there.parent:
        there = there.parent
    if not there.is_dir():
        fix = "set `data-dir` to a folder, or move that file away"
        yield Finding("data-dir", WRONG, f"{there} is no folder", fix)
        return
    if not os.access(there, os.W_OK | os.X_OK):
        found = f"uid {os.geteuid()} may not write to {there}"
        fix = f"chown {os.geteuid()} {there}, or run doctor as the sidecar's user"
        yield Finding("data-dir", WRONG, found, fix)
        return
    free = disk_of(there).free
    if free < LEAST_FREE:
        fix = "make room, or set `data-dir` to a larger disk"
        yield Finding("data-dir", WRONG, f"{free / 1e9:.1f} GB are free at {there}", fix)
        return
    yield Finding("data-dir", OK, f"{config.data_dir}: writable, {free / 1e9:.0f} GB free")


def _ledger(config: Config) -> Iterator[Finding]:
    path = config.ledger_path
    if not os.access(path, os.F_OK):
        return
    try:
        with LedgerReader(path) as reader:
            version = reader.version
    except (LedgerError, OSError) as error:
        yield from _said("ledger", str(error))
        return
    if version == SCHEMA_VERSION:
        yield Finding("ledger", OK, f"{path}: version {version}")
        return
    size, free = path.stat().st_size, disk_of(path.parent).free
    found = f"{path}: is brought from version {version} to {SCHEMA_VERSION} at the start"
    if free < MIGRATION * size:
        fix = f"free {(MIGRATION * size - free) >> 20} MiB more before you start it"
        yield Finding("ledger", WRONG, f"{found}, and {free >> 20} MiB are free", fix)
    else:
        yield Finding("ledger", OK, f"{found}, which takes about {1 + (size >> 30)} min")


def _tap_socket(config: Config) -> Iterator[Finding]:
    path = config.socket_path
    size = len(os.fsencode(path))
    if size > PATH_LIMIT:
        fix = "set a shorter `socket`, such as /run/dosimeter/tap.sock"
        found = f"{path} has {size} bytes, a socket at most {PATH_LIMIT}"
        yield Finding("socket", WRONG, found, fix)
    elif os.access(path, os.F_OK) and not path.is_socket():
        yield Finding("socket", WRONG, f"{path} is there, and no socket", "set another `socket`")
    else:
        yield Finding("socket", OK, f"{path}: taps can connect there once the sidecar runs")


def _http(config: Config) -> Iterator[Finding]:
    host, port = config.http.host, config.http.port
    where = f"{host}:{port}"
    try:
        family, kind, proto, _, at = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, proto) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(at)
    except OSError as error:
        if error.errno == errno.EADDRINUSE and _is_sidecar(config):
            yield Finding("http", OK, f"a sidecar answers at {where}")
            return
        words = (error.strerror or str(error)).lower()
        fix = "set another `http: {port: …}`, or an address of this machine as `host`"
        yield Finding("http", WRONG, f"{where}: {words}", fix)
    else:
        yield Finding("http", OK, f"{where} is free")


def _is_sidecar(config: Config) -> bool:
    try:
        ask(address(config, None))
    except NotAnsweredError:
        return False
    return True


def _extras(config: Config) -> Iterator[Finding]:
    wanted: Mapping[str, bool] = {
        "archive": config.archive is not None,
        "history": config.history is not None and config.history.ship is None,
    }
    for name, is_wanted in wanted.items():
        if is_wanted and importlib.util.find_spec(NEEDS[name]) is None:
            fix = f"pip install 'dosimeter[history]', or take out `{name}`"
            yield Finding(name, WRONG, f"`{name}` needs {NEEDS[name]}", fix)
    if not native.found:
        fix = "install a C compiler and then dosimeter again, or the wheel that has it"
        yield Finding("kernel", WRONG, "rules decide without the kernel in C, slowly", fix)


def _rules(config: Config, book: Rulebook) -> Iterator[Finding]:
    if not config.rules:
        fix = "`dosimeter rules new` writes one; name its folder: `rules: [/etc/dosimeter/rules]`"
        yield Finding("rules", WRONG, "`rules` names none: nothing can be found", fix)
        return
    if book.error is not None:
        yield from _said("rules", book.error, "dosimeter rules lint")
        return
    running = len(book.policies)
    if not config.calibrations:
        fix = "`dosimeter detectors calibrate`, and name its folder: `calibrations: [FOLDER]`"
        found = f"{running} rules load, and no calibration: a probe without one may not alert"
        yield Finding("rules", WRONG, found, fix)
        return
    yield Finding("rules", OK, f"{running} rules load and pass their tests")


def _said(check: str, text: str, fix: str = "mend what it names") -> Iterator[Finding]:
    """What another part of us said, as it renders it: a line a fault, each with a hint below or without."""
    lines = text.splitlines()
    for at, line in enumerate(lines):
        if not line.startswith("  hint: "):
            below = lines[at + 1] if at + 1 < len(lines) else ""
            hint = below.removeprefix("  hint: ") if below.startswith("  hint: ") else fix
            yield Finding(check, WRONG, line, hint)
