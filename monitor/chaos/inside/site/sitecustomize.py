"""Python runs this in the processes of a stage that `dosimeter chaos` has made, and nowhere else.

It stands behind the tap's own file of this name, which runs it afterwards. It gives the process a clock that
can be set (a fake: its own `time`, not the machine's) and a hand inside the model server.
"""

import importlib.abc
import importlib.util
import mmap
import pathlib
import struct
import sys
import time

from dosimeter.monitor.chaos.inside import hand


def _fake_clock(path):  # type: ignore[no-untyped-def]
    """`time.time` and `time.time_ns` of this process are off by the seconds that stand in the file."""
    with pathlib.Path(path).open("rb") as file:
        offset = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
    read, true, true_ns = struct.Struct("<d").unpack_from, time.time, time.time_ns
    time.time = lambda: true() + read(offset)[0]
    time.time_ns = lambda: true_ns() + int(read(offset)[0] * 1e9)


class AfterModels(importlib.abc.MetaPathFinder):
    """Once the server has transformers' base class of models, the hand goes in."""

    met = False

    def find_spec(self, name, path, target=None):  # type: ignore[no-untyped-def]
        if name != "transformers.modeling_utils" or self.met:
            return None
        self.met = True
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module):  # type: ignore[no-untyped-def]
            execute(module)
            from dosimeter.monitor.chaos.inside.faults import arm

            arm(module, _settings["hand"], _settings["fault"])

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


_settings = hand.settings()
if _settings:
    _fake_clock(_settings["clock"])  # type: ignore[no-untyped-call]
    sys.meta_path.insert(0, AfterModels())
