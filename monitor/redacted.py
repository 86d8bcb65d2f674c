"""Configuration and status as strangers may read them: numbers stay, and of words only those that are known.

A word stays where its field is named here, because it is ours or a rule's or a feature's. All others may hold what
somebody said, or who they are, and are left out: errors of sinks quote records, those of rules quote tenants.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from dosimeter.detectors.strict_yaml import dump
from dosimeter.monitor.config import Config
from dosimeter.monitor.config_shown import HIDDEN, as_yaml, without_secrets
from dosimeter.monitor.sinks.http import origin

WORDS = frozenset(
    (
        "version",
        "taps[].epoch",
        "taps[].server.kind",
        "taps[].server.name",
        "taps[].server.version",
        "taps[].model.name",
        "taps[].model.digest",
        "taps[].features[]",
        "taps[].packs[]",
        "taps[].state",
        "alerts[].rule",
        "alerts[].severity",
        "alerts[].decision",
        "rules.programs[]",
        "rules.active[]",
        "rules.counts[].rule",
        "rules.shifts[].rule",
        "rules.digest",
        "rules.kernel",
        "ledger.held_by",
    )
)
CLASS = re.compile(r"[A-Z][A-Za-z]{2,60}(?:Error|Exception|Timeout)\b")
WITHIN = ("headers", "security", "resource", "roles")
"""Settings whose keys are somebody else's."""
LISTS = ("tenants", "routes")


def redacted_status(value: Any, path: str = "") -> Any:
    """The same with each word that is not known to be harmless left out, but for how long it was."""
    if isinstance(value, dict):
        return {k: redacted_status(v, f"{path}.{k}".lstrip(".")) for k, v in value.items()}
    if isinstance(value, list):
        return [redacted_status(one, f"{path}[]") for one in value]
    if not isinstance(value, str) or path in WORDS or path.startswith("rules.changed."):
        return value
    kind = CLASS.match(value)
    return f"({kind[0] + ', ' if kind else ''}{len(value)} characters left out)"


def redacted_config(config: Config) -> str:
    """YAML to be read, not to be run: hosts, ports and paths stay; credentials and names of tenants do not."""
    plain = yaml.safe_load(as_yaml(without_secrets(config)))
    return dump(_setting(plain, ())).decode()


def redacted_url(text: str) -> str:
    """No user information, no path, no query: each may be a credential."""
    if "://" in text:
        path = text.split("://", 1)[1].partition("/")[1]
        text = origin(text) + (f"/{HIDDEN}" if path else "")
    return re.sub(r"\S*@", f"{HIDDEN}@", text)


def _setting(value: Any, path: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        if path and path[-1] in WITHIN:
            return {f"{len(value)} settings": HIDDEN} if value else {}
        return {key: _setting(inner, (*path, key)) for key, inner in value.items()}
    if isinstance(value, list):
        if path[-1] in LISTS:
            return [HIDDEN] * len(value)
        return [_setting(one, path) for one in value]
    return redacted_url(value) if isinstance(value, str) else value
