"""What tests of sinks share: an Apache Kafka takes five seconds to come up, so one serves them all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.monitor.sinks.apache_scene import Guarded


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    scene = Guarded(tmp_path_factory.mktemp("apache"))
    with scene.kafka:
        yield scene
