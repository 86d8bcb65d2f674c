"""How delivery ends in the scene of `chaos kill` and `bench emit`."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from dosimeter.monitor.bench.child import BenchError
from dosimeter.monitor.chaos.outward import Outward


class Ending:
    """A delivery that ends with this code; None: it does not."""

    def __init__(self, code: int | None) -> None:
        self._code = code

    def terminate(self) -> None: ...

    def wait(self, timeout: float) -> int:
        if self._code is None:
            raise subprocess.TimeoutExpired("deliver", timeout)
        return self._code


@pytest.mark.parametrize(
    ("code", "said"), [(1, "delivery ended with 1"), (None, "delivery has not ended after 60 s")]
)
def test_a_delivery_that_does_not_end_well_is_an_error_of_the_run(
    code: int | None, said: str
) -> None:
    nothing: Any = None
    deliver: Any = Ending(code)
    out = Outward(Path(), nothing, "", "", nothing, nothing, deliver)
    with pytest.raises(BenchError, match=said):
        out.end_deliver()
