"""`dosimeter doctor --config`, the way out: who is told, who confirms, and whether somebody listens there.

It reaches as far as a connection, which it closes at once: nothing is sent, and credentials are for delivery to try.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from dosimeter.detectors.findings import visible
from dosimeter.monitor.config import Config
from dosimeter.monitor.config_kafka import peer
from dosimeter.monitor.confirm.config import ConfirmerConfig
from dosimeter.monitor.doctor import OK, WRONG, Finding
from dosimeter.monitor.sinks.client_pair import ClientPair, PairError
from dosimeter.monitor.sinks.config import (
    KafkaConfig,
    OtlpConfig,
    OverHttp,
    SinkConfig,
    StdoutConfig,
    is_unnamed,
)
from dosimeter.rules.policy import Policy

REACH_S = 2.0
DAY_S = 86_400
SOON_S = 7 * DAY_S
"""Of the end of a certificate."""


def examine_outward(config: Config, policies: Sequence[Policy]) -> Iterator[Finding]:
    """policies: of the rules that load."""
    yield from _confirmers(config, policies)
    yield from _told(config)
    for sink in config.sinks:
        yield from _sink(sink.name, sink)
    if config.telemetry is not None:
        yield from _sink("telemetry", config.telemetry)


def _confirmers(config: Config, policies: Sequence[Policy]) -> Iterator[Finding]:
    asked = {one.confirm for one in policies if one.confirm}
    for name in sorted(asked.difference(one.name for one in config.confirmers)):
        fix = f"set it up: `confirmers: {{{name}: {{url: …}}}}`"
        yield Finding("confirm", WRONG, f"rules ask `{name}`, whom nobody set up", fix)
    for one in config.confirmers:
        if one.url:
            yield from _own_files(f"confirm {one.name}", one)
            yield _reached(f"confirm {one.name}", *_host(one.url))
        elif not _is_module(one.call.partition(":")[0]):
            fix = "install it where the sidecar runs"
            yield Finding("confirm", WRONG, f"`{one.call}`: there is no such module here", fix)


def _is_module(name: str) -> bool:
    """Asked of its outermost package alone: what is inside would be run to look further."""
    return importlib.util.find_spec(name.partition(".")[0]) is not None


def _told(config: Config) -> Iterator[Finding]:
    """Somebody has to be told, and hits have to be counted."""
    if not config.sinks and config.history is None:
        fix = "set up one under `sinks`, or `history`"
        yield Finding("sinks", WRONG, "no sink and no history: nobody is ever told", fix)
    if config.counted_by == "fleet" and (config.history is None or config.history.ship is None):
        fix = "`history: {ship: {bootstrap: …}}`, or leave `counted-by` out"
        yield Finding("fleet", WRONG, "`counted-by: fleet`, and no hit is sent to a fleet", fix)


def _sink(check: str, sink: SinkConfig) -> Iterator[Finding]:
    """The files that it needs, and whether somebody listens where it goes."""
    yield from _own_files(check, sink)
    if isinstance(sink, StdoutConfig):
        folder = None if sink.path is None else sink.path.absolute().parent
        if folder is not None and not os.access(folder, os.W_OK | os.X_OK):
            fix = f"make it, writable by uid {os.geteuid()}"
            yield Finding(check, WRONG, f"{folder}: no folder that may be written to", fix)
    elif isinstance(sink, KafkaConfig):
        if is_unnamed(sink.security):
            fix = "write each broker by a name that stands in its certificate, and take it out"
            found = "`ssl_check_hostname: false`: any certificate of the authority passes for a broker's"
            yield Finding(check, WRONG, found, fix)
        each = [_reached(check, *peer(server)) for server in sink.bootstrap]
        # One of the cluster is enough for the client to find the others.
        yield next((one for one in each if one.state == OK), each[0])
    else:
        url = sink.endpoint if isinstance(sink, OtlpConfig) else sink.url
        yield _reached(check, *_host(url))


def _own_files(check: str, of: SinkConfig | ConfirmerConfig) -> Iterator[Finding]:
    for path in (missing := [one for one in _files(of) if not _is_readable(one)]):
        fix = f"put it there, readable by uid {os.geteuid()}"
        yield Finding(check, WRONG, f"{path}: cannot be read", fix)
    if isinstance(of, OverHttp) and of.pair is not None and not missing:
        yield _shown(check, of.pair)


def _shown(check: str, pair: ClientPair) -> Finding:
    """The certificate that we show: whether it and its key will do, and for how long."""
    try:
        left_s = pair.ends_s() - time.time()
    except PairError as error:
        found, _, fix = str(error).partition("\n  hint: ")
        return Finding(check, WRONG, found, fix)
    if left_s < SOON_S:
        fix = "have it issued anew: it is read again for each connection, without a restart"
        return Finding(check, WRONG, f"{pair.cert}: ends in {left_s / DAY_S:.1f} days", fix)
    return Finding(check, OK, f"{pair.cert}: good for {left_s / DAY_S:.0f} days more")


def _is_readable(path: Path) -> bool:
    return os.access(path, os.R_OK) and path.is_file()


def _files(of: SinkConfig | ConfirmerConfig) -> list[Path]:
    named = list(of.files.values()) if isinstance(of, OverHttp) else []
    named.append(getattr(of, "secret", None))
    if isinstance(of, KafkaConfig):
        named += [
            Path(str(value))
            for name, value in of.security.items()
            if name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_crlfile")
        ]
    return [path for path in named if path is not None]


def _host(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _reached(check: str, host: str, port: int) -> Finding:
    """A connection, closed at once."""
    where = visible(f"{host}:{port}")
    try:
        socket.create_connection((host, port), REACH_S).close()
    except (OSError, ValueError, OverflowError) as error:
        words = getattr(error, "strerror", None) or str(error)
        fix = "start what listens there, or mend the address; alerts wait in the ledger meanwhile"
        return Finding(check, WRONG, f"{where}: {words.lower()}", fix)
    return Finding(check, OK, f"{where} takes connections")
