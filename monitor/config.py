"""The sidecar's configuration: strict YAML in, one frozen record out, with every default stated.

Owns the keys and their meaning. An unknown key is an error with its place and the nearest known
one, because a misspelt key that is ignored is a monitor that does not do what its owner believes.
Relative paths are taken from the folder of the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from dosimeter.detectors.findings import visible
from dosimeter.detectors.reader import Reader
from dosimeter.detectors.strict_yaml import Node, load_file
from dosimeter.monitor.config_fleet import FleetConfig, read_fleet
from dosimeter.monitor.config_history import HistoryConfig, read_history
from dosimeter.monitor.config_outward import read_confirmers, read_otlp, read_sinks
from dosimeter.monitor.config_peers import PeersConfig, read_peers
from dosimeter.monitor.confirm.config import ConfirmerConfig
from dosimeter.monitor.sinks.config import KafkaConfig, OtlpConfig, SinkConfig
from dosimeter.monitor.sinks.http import origin

VERSION = 1
SAMPLE = re.compile(r"1 in ([1-9][0-9]{0,5})")
LEAST_DAYS = 2
"""Of the ledger: two of the longest windows whose digest may be owed after a restart."""
QUOTA = re.compile(r"([1-9][0-9]{0,5}) GiB")
KEEP = re.compile(r"([1-9][0-9]{0,3}) days?")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """Where `/livez` and `/status` answer. port 0: any free one, named in the log."""

    host: str = "127.0.0.1"
    port: int = 9464


@dataclass(frozen=True, slots=True)
class ArchiveConfig:
    """Scores of past requests. one_in: of those that no rule came near to, one request in so many is kept."""

    one_in: int = 20
    days: int = 30


@dataclass(frozen=True, slots=True)
class LedgerConfig:
    """How long alerts stay in the ledger, once everyone who reads it has them. quota: of its file, in bytes."""

    days: int = 30
    quota: int | None = None  # the end of the disk


@dataclass(frozen=True, slots=True)
class Config:
    """All settings of a sidecar."""

    data_dir: Path = Path(".dosimeter")
    socket: Path | None = None  # None: `tap.sock` under data-dir
    peers: PeersConfig = field(default_factory=PeersConfig)  # who may connect there
    rules: tuple[Path, ...] = ()  # files, or folders of *.yaml
    calibrations: tuple[Path, ...] = ()  # folders with a card.yaml
    sinks: tuple[SinkConfig, ...] = ()  # none: alerts are kept and not sent
    confirmers: tuple[ConfirmerConfig, ...] = ()  # by the names that rules ask for
    http: HttpConfig = field(default_factory=HttpConfig)
    telemetry: OtlpConfig | None = None  # where metrics go; None: only `/status`
    expect: int = 1  # model servers that have to be live
    archive: ArchiveConfig | None = None  # None: scores are not kept
    ledger: LedgerConfig = field(default_factory=LedgerConfig)
    history: HistoryConfig | None = None  # None: kept nowhere but in the ledger
    counted_by: str = "sidecar"  # or `fleet`: then no `count` rule runs here
    fleet: FleetConfig | None = None  # of `dosimeter fleet`

    @property
    def socket_path(self) -> Path:
        return self.socket if self.socket is not None else self.data_dir / "tap.sock"

    @property
    def ledger_path(self) -> Path:
        return self.data_dir / "ledger.db"

    @property
    def deliver_path(self) -> Path:
        return self.data_dir / "deliver.db"

    @property
    def history_cursor_path(self) -> Path:
        return self.data_dir / "history.cursor"

    @property
    def archive_path(self) -> Path:
        return self.data_dir / "archive"

    @property
    def scores(self) -> KafkaConfig | None:
        """Where kept scores are sent."""
        kafka = (sink for sink in self.sinks if isinstance(sink, KafkaConfig) and sink.scores)
        return next(kafka, None)

    @property
    def history_path(self) -> Path:
        return self.data_dir / "history"

    def under(self, data_dir: Path) -> Config:
        """The same settings with another data-dir."""
        return replace(self, data_dir=data_dir)


KEYS = (
    "version",
    "data-dir",
    "socket",
    "peers",
    "rules",
    "calibrations",
    "sinks",
    "confirmers",
    "http",
    "telemetry",
    "expect",
    "archive",
    "ledger",
    "history",
    "counted-by",
    "fleet",
)
COUNTED_BY = ("sidecar", "fleet")


def load_config(path: Path) -> Config:
    """Read a file. Raises InputError with everything that is wrong in it, each with its place."""
    reader = Reader()
    root = load_file(path)
    config = _config(root, reader, path.parent)
    reader.refuse_if_wrong()
    return config


def _config(root: Node, reader: Reader, base: Path) -> Config:
    top = reader.mapping(root, KEYS, required=("version",))
    version = top.get("version")
    if version is not None and (version.kind, version.value) != ("int", VERSION):
        message = f"configuration version `{version.written}`"
        reader.error(version, message, f"this release reads `version: {VERSION}`")

    def path(node: Node) -> Path | None:
        text = reader.text(node)
        try:
            return None if text is None else base / Path(text).expanduser()
        except RuntimeError:  # `~name` where there is no such user
            reader.error(
                node, f"`{visible(text or '')}` is nobody's folder", "write the whole path"
            )
            return None

    def paths(node: Node) -> tuple[Path, ...]:
        return tuple(found for item in reader.items(node) if (found := path(item)) is not None)

    def given(name: str, read: Callable[[Node], T | None], default: T) -> T:
        found = read(top[name]) if name in top else None
        return default if found is None else found

    sinks = read_sinks(top["sinks"], reader, path) if "sinks" in top else ()
    if "archive" not in top and any(isinstance(s, KafkaConfig) and s.scores for s in sinks):
        reader.error(
            top["sinks"], "`scores` without `archive`", "write `archive: {}`: they are its own"
        )
    return Config(
        data_dir=given("data-dir", path, Config().data_dir),
        socket=path(top["socket"]) if "socket" in top else None,
        peers=given("peers", lambda node: read_peers(node, reader), PeersConfig()),
        rules=given("rules", paths, ()),
        calibrations=given("calibrations", paths, ()),
        sinks=sinks,
        confirmers=given("confirmers", lambda node: read_confirmers(node, reader, path), ()),
        http=_http(top["http"], reader) if "http" in top else HttpConfig(),
        telemetry=_telemetry(top["telemetry"], reader, path, sinks) if "telemetry" in top else None,
        expect=given("expect", lambda node: reader.integer(node, 0, 1024), Config().expect),
        archive=_archive(top["archive"], reader) if "archive" in top else None,
        ledger=_ledger(top["ledger"], reader) if "ledger" in top else LedgerConfig(),
        history=read_history(top["history"], reader, path) if "history" in top else None,
        counted_by=given(
            "counted-by", lambda node: reader.one_of(node, COUNTED_BY, "counted-by"), "sidecar"
        ),
        fleet=read_fleet(top["fleet"], reader, path) if "fleet" in top else None,
    )


def _http(node: Node, reader: Reader) -> HttpConfig:
    keys = reader.mapping(node, ("host", "port"))
    host = reader.text(keys["host"]) if "host" in keys else None
    port = reader.integer(keys["port"], 0, 65535) if "port" in keys else None
    default = HttpConfig()
    return HttpConfig(host or default.host, default.port if port is None else port)


def _archive(node: Node, reader: Reader) -> ArchiveConfig:
    keys = reader.mapping(node, ("sample", "keep"))
    default = ArchiveConfig()

    def number(name: str, pattern: re.Pattern[str], example: str, otherwise: int) -> int:
        text = reader.text(keys[name]) if name in keys else None
        if text is None:
            return otherwise
        found = pattern.fullmatch(text)
        if found is None:
            reader.error(
                keys[name], f"`{visible(text)}` is no value of `{name}`", f"write `{example}`"
            )
            return otherwise
        return int(found[1])

    return ArchiveConfig(
        one_in=number("sample", SAMPLE, f"1 in {default.one_in}", default.one_in),
        days=number("keep", KEEP, f"{default.days} days", default.days),
    )


def _ledger(node: Node, reader: Reader) -> LedgerConfig:
    keys, default = reader.mapping(node, ("keep", "quota")), LedgerConfig()

    def number(name: str, pattern: re.Pattern[str], example: str) -> int | None:
        text = reader.text(keys[name]) if name in keys else None
        found = None if text is None else pattern.fullmatch(text)
        if text is not None and found is None:
            message = f"`{visible(text)}` is no value of `{name}`"
            reader.error(keys[name], message, f"write `{example}`")
        return None if found is None else int(found[1])

    days, gib = number("keep", KEEP, f"{default.days} days"), number("quota", QUOTA, "20 GiB")
    if days is not None and days < LEAST_DAYS:
        written = visible(keys["keep"].written)
        message = f"`{written}` is too short: a restart reads back further than that"
        reader.error(keys["keep"], message, f"write `{LEAST_DAYS} days` or more")
    return LedgerConfig(days or default.days, None if gib is None else gib << 30)


def _telemetry(
    node: Node,
    reader: Reader,
    path: Callable[[Node], Path | None],
    sinks: Sequence[SinkConfig],
) -> OtlpConfig:
    """An endpoint alone, on the host and port of the OTLP sink's, has all else that is set up there."""
    found = read_otlp(node, reader, path)
    alike = (
        one
        for one in sinks
        if isinstance(one, OtlpConfig) and origin(one.endpoint) == origin(found.endpoint)
    )
    if found != OtlpConfig(endpoint=found.endpoint):
        return found
    return replace(next(alike, found), endpoint=found.endpoint)
