"""The sidecar's configuration: strict YAML in, one frozen record out, with every default stated.

Owns the keys and their meaning. An unknown key is an error with its place and the nearest known
one, because a misspelt key that is ignored is a monitor that does not do what its owner believes.
Relative paths are taken from the folder of the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from dosimeter.detectors.findings import visible
from dosimeter.detectors.reader import Reader
from dosimeter.detectors.strict_yaml import Node, dump, load_file
from dosimeter.monitor.confirm.config import ConfirmerConfig
from dosimeter.monitor.sinks.config import KafkaConfig, OtlpConfig, SinkConfig, StdoutConfig
from dosimeter.rules.policy import CONFIRMER

VERSION = 1
HIDDEN = "(hidden)"
SAMPLE = re.compile(r"1 in ([1-9][0-9]{0,5})")
CALL = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
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
class Config:
    """All settings of a sidecar."""

    data_dir: Path = Path(".dosimeter")
    socket: Path | None = None  # None: `tap.sock` under data-dir
    rules: tuple[Path, ...] = ()  # files, or folders of *.yaml
    calibrations: tuple[Path, ...] = ()  # folders with a card.yaml
    sinks: tuple[SinkConfig, ...] = ()  # none: alerts are kept and not sent
    confirmers: tuple[ConfirmerConfig, ...] = ()  # by the names that rules ask for
    http: HttpConfig = field(default_factory=HttpConfig)
    telemetry: str | None = None  # OTLP/HTTP endpoint for metrics; None: only `/status`
    expect: int = 1  # model servers that have to be live
    archive: ArchiveConfig | None = None  # None: scores are not kept

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
    def archive_path(self) -> Path:
        return self.data_dir / "archive"

    def under(self, data_dir: Path) -> Config:
        """The same settings with another data-dir."""
        return replace(self, data_dir=data_dir)


KEYS = (
    "version",
    "data-dir",
    "socket",
    "rules",
    "calibrations",
    "sinks",
    "confirmers",
    "http",
    "telemetry",
    "expect",
    "archive",
)


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

    return Config(
        data_dir=given("data-dir", path, Config().data_dir),
        socket=path(top["socket"]) if "socket" in top else None,
        rules=given("rules", paths, ()),
        calibrations=given("calibrations", paths, ()),
        sinks=_sinks(top["sinks"], reader, path) if "sinks" in top else (),
        confirmers=_confirmers(top["confirmers"], reader) if "confirmers" in top else (),
        http=_http(top["http"], reader) if "http" in top else HttpConfig(),
        telemetry=_telemetry(top["telemetry"], reader) if "telemetry" in top else None,
        expect=given("expect", lambda node: reader.integer(node, 0, 1024), Config().expect),
        archive=_archive(top["archive"], reader) if "archive" in top else None,
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


def _telemetry(node: Node, reader: Reader) -> str | None:
    keys = reader.mapping(node, ("endpoint",), required=("endpoint",))
    return _url(keys["endpoint"], reader) if "endpoint" in keys else None


def _url(node: Node, reader: Reader) -> str | None:
    text = reader.text(node)
    if text is not None and not text.startswith(("http://", "https://")):
        reader.error(node, f"`{visible(text)}` is not a URL", "write `http://host:4318`")
    return text


def _sinks(
    node: Node, reader: Reader, path: Callable[[Node], Path | None]
) -> tuple[SinkConfig, ...]:
    readers = {"kafka": _kafka, "otlp": _otlp, "stdout": _stdout}
    found = reader.mapping(node, tuple(readers))
    return tuple(readers[name](value, reader, path) for name, value in found.items())


def _kafka(node: Node, reader: Reader, _: Callable[[Node], Path | None]) -> SinkConfig:
    keys = reader.mapping(node, ("bootstrap", "topic", "security"), required=("bootstrap",))
    changes: dict[str, Any] = {}
    if "bootstrap" in keys:
        one = keys["bootstrap"]
        nodes = reader.items(one) if one.kind == "list" else (one,)
        changes["bootstrap"] = tuple(text for item in nodes if (text := reader.text(item)))
    if "topic" in keys and (topic := reader.text(keys["topic"])):
        changes["topic"] = topic
    if "security" in keys:
        changes["security"] = _security(keys["security"], reader)
    return KafkaConfig(**changes)


def _otlp(node: Node, reader: Reader, _: Callable[[Node], Path | None]) -> SinkConfig:
    known = ("endpoint", "headers", "resource")
    keys = reader.mapping(node, known, required=("endpoint",))
    changes: dict[str, Any] = {}
    if "endpoint" in keys and (endpoint := _url(keys["endpoint"], reader)):
        changes["endpoint"] = endpoint
    for name in ("headers", "resource"):
        if name in keys:
            changes[name] = _texts(keys[name], reader)
    return OtlpConfig(**changes)


def _stdout(node: Node, reader: Reader, path: Callable[[Node], Path | None]) -> SinkConfig:
    keys = reader.mapping(node, ("path",))
    return StdoutConfig(path=path(keys["path"]) if "path" in keys else None)


def _confirmers(node: Node, reader: Reader) -> tuple[ConfirmerConfig, ...]:
    if node.kind != "map":
        hint = "write `second-look: {url: http://127.0.0.1:9000/confirm}`"
        reader.expected(node, "a mapping of names", hint)
    for name, entry in node.entries.items():
        if CONFIRMER.fullmatch(name) is None:
            hint = "lower-case letters, digits and `-`, at most 64"
            reader.error(entry.place, f"`{visible(name)[:80]}` is no name of a confirmer", hint)
    return tuple(_confirmer(name, entry.value, reader) for name, entry in node.entries.items())


def _confirmer(name: str, node: Node, reader: Reader) -> ConfirmerConfig:
    keys = reader.mapping(node, ("url", "call", "timeout", "headers"))
    if node.kind == "map" and ("url" in keys) == ("call" in keys):
        hint = "`url: http://host/path`, or `call: my_package.review:confirm`"
        reader.error(node, f"`{visible(name)[:80]}` needs one of `url` and `call`", hint)
    if "headers" in keys and "url" not in keys:
        reader.error(keys["headers"], "`headers` without `url`", "remove them: nothing is sent")
    call = reader.text(keys["call"]) if "call" in keys else None
    if call is not None and CALL.fullmatch(call) is None:
        hint = "module and function: `my_package.review:confirm`"
        reader.error(keys["call"], f"`{visible(call)[:80]}` is no function", hint)
    timeout = reader.integer(keys["timeout"], 1, 60) if "timeout" in keys else None
    return ConfirmerConfig(
        name=name,
        url=_url(keys["url"], reader) or "" if "url" in keys else "",
        call=call or "",
        timeout_s=timeout or ConfirmerConfig("").timeout_s,
        headers=_texts(keys["headers"], reader) if "headers" in keys else {},
    )


def _security(node: Node, reader: Reader) -> dict[str, Any]:
    """kafka-python's own settings, by their own names."""
    found = {}
    for name, value in _scalars(node, reader).items():
        if not name.startswith(("security_", "ssl_", "sasl_")):
            hint = "`security_protocol`, or a name that begins with `ssl_` or `sasl_`"
            place = node.entries[name].place
            reader.error(place, f"`{visible(name)}` is no security setting", hint, "unknown-key")
        found[name] = value.value
    return found


def _texts(node: Node, reader: Reader) -> dict[str, str]:
    """Headers and attributes: text on one line, a number as it is written."""
    found = {}
    for name, value in _scalars(node, reader).items():
        if value.kind == "null" or "\n" in name + value.written:
            reader.error(value, f"`{visible(name)}` is not one line of text", "write its value")
        found[name] = value.written
    return found


def _scalars(node: Node, reader: Reader) -> dict[str, Node]:
    """A mapping whose keys are someone else's."""
    if node.kind != "map":
        reader.expected(node, "a mapping")
    for name, entry in node.entries.items():
        if entry.value.kind in ("map", "list"):
            reader.error(
                entry.value, f"`{visible(name)}` is a {entry.value.kind}", "write one value"
            )
        elif reader.harmless(entry.place, name):
            reader.harmless(entry.value, entry.value.written)
    return {name: entry.value for name, entry in node.entries.items()}


def without_secrets(config: Config) -> Config:
    """The same settings with what may be a credential hidden: for people to read, not to run."""

    def hidden(sink: SinkConfig) -> SinkConfig:
        if isinstance(sink, KafkaConfig):
            return replace(sink, security=dict.fromkeys(sink.security, HIDDEN))
        if isinstance(sink, OtlpConfig):
            return replace(sink, headers=dict.fromkeys(sink.headers, HIDDEN))
        return sink

    return replace(
        config,
        sinks=tuple(hidden(sink) for sink in config.sinks),
        confirmers=tuple(
            replace(one, headers=dict.fromkeys(one.headers, HIDDEN)) for one in config.confirmers
        ),
    )


def as_yaml(config: Config) -> str:
    """Every setting with its value, as a file that reads back as the same configuration."""

    def sink(one: SinkConfig) -> tuple[str, Mapping[str, object]]:
        if isinstance(one, KafkaConfig):
            return "kafka", {
                "bootstrap": list(one.bootstrap),
                "topic": one.topic,
                "security": dict(one.security),
            }
        if isinstance(one, OtlpConfig):
            return "otlp", {
                "endpoint": one.endpoint,
                "headers": dict(one.headers),
                "resource": dict(one.resource),
            }
        return "stdout", {} if one.path is None else {"path": where(one.path)}

    def confirmer(one: ConfirmerConfig) -> dict[str, object]:
        if one.call:
            return {"call": one.call, "timeout": one.timeout_s}
        return {"url": one.url, "timeout": one.timeout_s, "headers": dict(one.headers)}

    def where(path: Path) -> str:
        """The same from whatever folder the printed file is read."""
        return str(path.absolute())

    def archive(one: ArchiveConfig) -> dict[str, str]:
        return {"sample": f"1 in {one.one_in}", "keep": f"{one.days} days"}

    return dump(
        {
            "version": VERSION,
            "data-dir": where(config.data_dir),
            "socket": where(config.socket_path),
            "rules": [where(path) for path in config.rules],
            "calibrations": [where(path) for path in config.calibrations],
            "sinks": dict(sink(one) for one in config.sinks),
            "http": {"host": config.http.host, "port": config.http.port},
            "expect": config.expect,
        }
        | ({"telemetry": {"endpoint": config.telemetry}} if config.telemetry else {})
        | ({"archive": archive(config.archive)} if config.archive else {})
        | (
            {"confirmers": {c.name: confirmer(c) for c in config.confirmers}}
            if config.confirmers
            else {}
        )
    ).decode()
