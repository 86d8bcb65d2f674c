"""`dosimeter attach -- transformers serve …`, `… -- vllm serve …`: start a model server with tap and front in it.

The command is found on PATH and replaces this process, so its pid, signals, output and exit code stay the
server's own. All that is added is one environment variable and one folder on PYTHONPATH; for vLLM and SGLang, which
have plugin systems, the variable, and for vLLM one option.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from dosimeter.monitor.taps import pack_list
from dosimeter.monitor.taps.capture_wire import untrusted
from dosimeter.monitor.taps.settings import DEFAULT_LABELS, TapSettings

FRONT = "dosimeter.monitor.taps.vllm_front.Front"
SERVER = "vllm.entrypoints.openai.api_server"  # what `vllm serve` is called elsewhere
PLUGIN = "dosimeter"
HEADER = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
SITE = Path(__file__).resolve().parent.parent / "taps" / "site"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "attach",
        help="start a model server with our tap and front in it",
        description="Start a model server with tap and front attached. Nothing of the server is changed.",
        epilog="example: dosimeter attach --pack packs/core -- transformers serve ./model --continuous-batching",
    )
    parser.add_argument(
        "--socket",
        default=".dosimeter/tap.sock",
        help="the sidecar's socket (default: %(default)s)",
    )
    parser.add_argument(
        "--pack", action="append", default=[], type=Path, help="a probe pack; repeat for several"
    )
    parser.add_argument(
        "--pack-list",
        type=Path,
        metavar="FILE",
        help="instead: a file that names the packs and is followed while the server runs; `dosimeter packs` writes one",
    )
    parser.add_argument(
        "--allow-capture",
        type=Path,
        metavar="SOCKET",
        help="let `dosimeter capture` ask for activations at this path, in a folder that only this user may write",
    )
    parser.add_argument(
        "--label",
        action="append",
        default=[],
        metavar="LABEL=HEADER",
        help="read a label from another header, for example tenant=x-org",
    )
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="LABEL",
        help="this label's header is set by your gateway, never by a client; repeat for several",
    )
    parser.add_argument(
        "--content-tenant",
        action="append",
        default=[],
        metavar="TENANT",
        help="a tenant that chose to let text leave the server; needs --trust tenant",
    )
    parser.add_argument(
        "--print-env",
        type=Path,
        metavar="TREE",
        help="start nothing: print, as an env file, what a server in another container needs; TREE is the "
        "folder there in which this wheel lies unpacked, and all other paths are that container's too",
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- and the server's own command")
    parser.set_defaults(run=run)


def settings_of(args: argparse.Namespace) -> TapSettings:
    """Raises ValueError naming the option that is wrong."""
    labels = dict(DEFAULT_LABELS)
    for entry in args.label:
        name, separator, header = entry.partition("=")
        if not separator or name not in labels:
            raise ValueError(
                f"--label `{entry}`: write LABEL=HEADER, LABEL one of {', '.join(labels)}"
            )
        if not HEADER.fullmatch(header):
            raise ValueError(f"--label `{entry}`: `{header}` is no name of a header")
        labels[name] = header.lower()
    for name in args.trust:
        if name not in labels:
            raise ValueError(f"--trust `{name}`: not one of {', '.join(labels)}")
    if args.content_tenant and "tenant" not in args.trust:
        raise ValueError(
            "--content-tenant needs --trust tenant: else any client could name itself in"
        )
    if args.allow_capture is not None and args.print_env is None:
        wrong = untrusted(args.allow_capture.absolute())
        if wrong is not None:
            raise ValueError(f"--allow-capture `{args.allow_capture}`: {wrong}")
    asked_at = [] if args.allow_capture is None else [args.allow_capture]
    listed = [] if args.pack_list is None else [args.pack_list]
    if listed and args.pack:
        raise ValueError("--pack-list: it names the packs; leave --pack out")
    if args.print_env is not None:
        for path in (args.print_env, Path(args.socket), *args.pack, *listed, *asked_at):
            if not path.is_absolute():
                raise ValueError(
                    f"--print-env: `{path}` is not absolute: paths are the other container's"
                )
    for pack in args.pack:
        if args.print_env is None and not (pack / "card.yaml").is_file():
            raise ValueError(f"--pack `{pack}`: no card.yaml in it")
    for path in listed if args.print_env is None else ():
        pack_list.read(path)
    return TapSettings(
        socket=str(Path(args.socket).absolute()),
        packs=tuple(str(pack.absolute()) for pack in args.pack),
        pack_list="".join(str(path.absolute()) for path in listed),
        capture="".join(str(path.absolute()) for path in asked_at),
        labels=labels,
        trusted=tuple(args.trust),
        content_tenants=tuple(args.content_tenant),
    )


def elsewhere(settings: TapSettings, tree: Path) -> dict[str, str]:
    """What a server that we do not start must find in its environment; tree: the unpacked wheel, there."""
    site = tree / "dosimeter" / "monitor" / "taps" / "site"
    return {"PYTHONPATH": f"{site}{os.pathsep}{tree}", **settings.to_env()}


ENGINES = {"vllm": ("vLLM", "VLLM_PLUGINS"), "sglang": ("SGLang", "SGLANG_PLUGINS")}
"""Servers that find our plugin themselves: what they are called, and the variable that names which ones to load."""


def engine(command: list[str]) -> str | None:
    """Which of ENGINES it starts: `vllm …`, or `python -m vllm…`."""
    module = command[2] if command[1:2] == ["-m"] and len(command) > 2 else ""
    names = {Path(command[0]).name, module.split(".")[0]}
    return next((name for name in ENGINES if name in names), None)


def with_front(command: list[str]) -> list[str]:
    """A vLLM server's with our middleware as its last, and so outermost; another command as it is."""
    named = any(word in (FRONT, f"--middleware={FRONT}") for word in command)
    serves = "serve" in command or SERVER in command
    return command if named or not serves else [*command, "--middleware", FRONT]


def engine_environment(name: str, settings: TapSettings, base: dict[str, str]) -> dict[str, str]:
    """What an engine is started with. It finds our plugin itself, unless told which ones to load."""
    env, variable = {**base, **settings.to_env()}, ENGINES[name][1]
    if left_out(name, base):
        env[variable] = ",".join([*filter(None, [base[variable]]), PLUGIN])
    return env


def left_out(name: str, environment: Mapping[str, str]) -> bool:
    """Whether an engine is told which plugins to load, and not ours. None named: vLLM loads none, SGLang all."""
    named = environment.get(ENGINES[name][1])
    if named is None or (name == "sglang" and not named):
        return False
    return PLUGIN not in (one.strip() for one in named.split(","))


def environment(settings: TapSettings, base: dict[str, str]) -> dict[str, str]:
    """What the server is started with."""
    path = os.pathsep.join([str(SITE), *filter(None, [base.get("PYTHONPATH")])])
    return {**base, **settings.to_env(), "PYTHONPATH": path}


def run(args: argparse.Namespace) -> int:
    """2: wrong options. 3: no such command. Otherwise this process becomes the server."""
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not command and args.print_env is None:
        print(
            "attach: no command\n  hint: dosimeter attach -- transformers serve …", file=sys.stderr
        )
        return 2
    try:
        settings = settings_of(args)
    except ValueError as error:
        print(f"attach: {error}", file=sys.stderr)
        return 2
    if args.print_env is not None:
        if command:
            print("attach: --print-env starts nothing; leave the command out", file=sys.stderr)
            return 2
        print(*(f"{k}={v}" for k, v in elsewhere(settings, args.print_env).items()), sep="\n")
        return 0
    name = engine(command)
    if name == "sglang" and settings.capture:
        print(
            f"attach: --allow-capture: no activations leave {ENGINES[name][0]}, for nobody\n"
            "  hint: capture from `transformers serve` or `vllm serve`, or leave it out",
            file=sys.stderr,
        )
        return 2
    if name is not None and settings.content_tenants:
        print(
            f"attach: --content-tenant: no text leaves {ENGINES[name][0]}, for nobody\n  hint: leave it out",
            file=sys.stderr,
        )
        return 2
    program = shutil.which(command[0])
    if program is None:
        print(f"attach: `{command[0]}` is not on PATH", file=sys.stderr)
        return 3
    whole, base = with_front(command) if name == "vllm" else command, dict(os.environ)
    env = environment(settings, base) if name is None else engine_environment(name, settings, base)
    try:
        os.execve(program, whole, env)  # does not return
    except OSError as error:
        print(f"attach: `{program}` cannot be started: {error.strerror}", file=sys.stderr)
    return 3
