"""Processes of a pool end with whoever asked them, however it ended: they had waited for work for ever."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

PATIENCE_S = 60.0
ASK = """
import multiprocessing, os, signal
from concurrent.futures import ProcessPoolExecutor
from {module} import _begin

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, _begin, {arguments}) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        signal.pause()
"""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("dosimeter.monitor.backtest_work", "(context.Value('q', 0), os.getpid())"),
        ("dosimeter.monitor.chaos.audit_all", "(os.getpid(),)"),
    ],
    ids=["rules backtest", "audit attack"],
)
def test_no_process_of_a_pool_is_left(how: signal.Signals, module: str, arguments: str) -> None:
    program = ASK.format(module=module, arguments=arguments)
    asking = [sys.executable, "-c", program]
    with subprocess.Popen(asking, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        worker = os.pidfd_open(int(process.stdout.readline()))
        try:
            process.send_signal(how)
            ended, _, _ = select.select([worker], [], [], PATIENCE_S)
            assert ended
        finally:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(worker, signal.SIGKILL)
            os.close(worker)
