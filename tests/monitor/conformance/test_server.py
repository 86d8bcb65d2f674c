"""What a server says of itself over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from dosimeter.monitor.conformance.server import Running

METRICS = b"""# HELP vllm:num_preemptions_total Cumulative number of preemption from the engine.
# TYPE vllm:num_preemptions_total counter
vllm:num_preemptions_total{engine="0",model_name="lab"} 3.0
vllm:num_preemptions_total{engine="1",model_name="lab"} 1.0
vllm:num_preemptions_created{engine="0",model_name="lab"} 1.76e+09
vllm:spec_decode_num_draft_tokens_total{engine="0",model_name="lab"} 9.0
vllm:spec_decode_num_accepted_tokens_total{engine="0",model_name="lab"} 0.0
vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="0",model_name="lab",position="0"} 7.0
"""


class Metrics(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(METRICS)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def port() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), Metrics) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_a_server_is_asked_how_many_requests_it_put_off(port: int) -> None:
    assert Running("127.0.0.1", port, "vllm", "lab", ()).put_off() == 4


def test_of_a_server_that_counts_none_nothing_is_asked() -> None:
    assert Running("127.0.0.1", 1, "transformers", "lab", ()).put_off() == 0


def test_a_server_is_asked_how_many_tokens_it_drafted_and_kept(port: int) -> None:
    """None kept is said as such: another counter's name begins like that of those that were."""
    assert Running("127.0.0.1", port, "vllm", "lab", ()).drafted() == (9, 0)
    assert Running("127.0.0.1", port, "transformers", "lab", ()).drafted() is None
