"""A server our tap does not fit starts as ever, and the sidecar learns that nothing of it is seen."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dosimeter.monitor.cli.attach import SITE
from dosimeter.monitor.taps.settings import TapSettings

from .test_serve import Listener

# A release whose seams have other names: here the patch for one module is missing.
SERVER = """
from dosimeter.monitor.taps import serve
serve.PATCHES.clear()
import transformers.cli.serving.server
print("the server runs", flush=True)
input()
"""


@pytest.mark.parts
def test_a_seam_that_does_not_fit_is_a_blind_tap_and_a_running_server(tmp_path: Path) -> None:
    listener = Listener(tmp_path / "tap.sock")
    settings = TapSettings(socket=str(listener.path))
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        env={**os.environ, **settings.to_env(), "PYTHONPATH": str(SITE)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with listener.changed:
        assert listener.changed.wait_for(lambda: bool(listener.hellos), 60)
    said, complained = process.communicate("\n", timeout=60)
    assert "the server runs" in said
    assert "not attached to transformers.cli.serving" in complained
    hello = listener.hellos[0]
    assert hello["state"] == "blind"
    assert "transformers.cli.serving" in hello["reason"]
