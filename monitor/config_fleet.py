"""Counting for a fleet, as a configuration says it: which topics, and in which group.

It owns the keys under `fleet`; the rest of the file is `config.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from dosimeter.detectors.reader import Reader
from dosimeter.detectors.strict_yaml import Node
from dosimeter.monitor.config_history import FEED
from dosimeter.monitor.config_kafka import read_kafka
from dosimeter.monitor.sinks.config import KafkaConfig

HITS = "dosimeter.hits"
GROUP = "dosimeter-fleet"


@dataclass(frozen=True, slots=True)
class FleetConfig:
    """kafka: its topic is the one that sidecars send to for history. hits: the topic between the two stages."""

    kafka: KafkaConfig = field(default_factory=lambda: FEED)
    hits: str = HITS
    group: str = GROUP

    @property
    def hits_kafka(self) -> KafkaConfig:
        return replace(self.kafka, topic=self.hits)


def read_fleet(node: Node, reader: Reader, path: Callable[[Node], Path | None]) -> FleetConfig:
    keys = reader.mapping(node, ("kafka", "hits", "group"), required=("kafka",))
    found = FleetConfig()
    if "kafka" in keys:
        found = replace(found, kafka=read_kafka(keys["kafka"], reader, path, FEED))
    if "hits" in keys and (hits := reader.text(keys["hits"], 200)):
        found = replace(found, hits=hits)
    if "group" in keys and (group := reader.text(keys["group"], 200)):
        found = replace(found, group=group)
    if found.hits == found.kafka.topic:
        hint = f"leave it out, or `{HITS}`: hits are of another form than what history is sent"
        reader.error(keys.get("hits", node), f"`hits` is the topic `{found.hits}` itself", hint)
    return found
