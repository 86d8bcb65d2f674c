"""What is told to Apache Kafka's own tools."""

from __future__ import annotations

import base64

import pytest

from dosimeter.monitor.lab.apache_kafka import cluster_id


@pytest.mark.parametrize("first", range(256))
def test_a_cluster_id_is_sixteen_bytes_and_no_option_of_a_command(first: int) -> None:
    random = bytes([first]) + bytes(range(240, 255))
    found = cluster_id(random)
    assert not found.startswith("-")
    decoded = base64.urlsafe_b64decode(found + "==")
    assert len(decoded) == 16
    assert decoded[1:] == random[1:]
