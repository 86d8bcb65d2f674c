"""Python runs this before the server's first line, if `dosimeter attach` put the folder on PYTHONPATH.

It installs one import finder and gets out of the way: a `sitecustomize` of the environment's own, which
this one shadows, is run right after. Nothing of ours is imported until the server imports its own parts.
"""

import importlib.abc
import importlib.util
import os
import sys

TARGETS = (
    "transformers.cli.serving.server",
    "transformers.cli.serving.model_manager",
    "transformers.cli.serving.utils",
    "transformers.cli.serving.chat_completion",
    "transformers.cli.serving.response",
)


def refuse(reason: str) -> None:
    """Say on stderr and to the sidecar that this server is not seen."""
    print(f"dosimeter: not attached to {reason}", file=sys.stderr, flush=True)
    try:
        from dosimeter.monitor.taps import refusal

        refusal.say(reason)
    except Exception as error:
        print(f"dosimeter: nor could the sidecar be told: {error!r}", file=sys.stderr, flush=True)


class AfterImport(importlib.abc.MetaPathFinder):
    """Finds the server's modules as usual, and has ours patch them once they are executed."""

    def find_spec(self, name, path, target=None):  # type: ignore[no-untyped-def]
        if name not in TARGETS or name in self.met:
            return None
        self.met.add(name)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module):  # type: ignore[no-untyped-def]
            execute(module)
            try:
                from dosimeter.monitor.taps import serve

                serve.patch(module)
            except Exception as error:  # the server must start, seen or unseen
                refuse(f"{name}: {error!r}")

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec

    def __init__(self) -> None:
        self.met: set[str] = set()


def _next_sitecustomize() -> None:
    """Run the sitecustomize that would have been found without this folder."""
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 (no pathlib this early)
    rest = [entry for entry in sys.path if os.path.abspath(entry or ".") != here]  # noqa: PTH100
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", rest)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


if os.environ.get("DOSIMETER_TAP"):
    sys.meta_path.insert(0, AfterImport())
_next_sitecustomize()
