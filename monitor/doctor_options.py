"""What an engine makes of its own command line, asked of the engine itself: only it knows what its options come to.

Imports the engine, in whose environment it must run. What of the answer is refused is written beside the taps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from dosimeter.monitor.taps import sglang_modes, vllm_modes
from dosimeter.monitor.taps.vllm_modes import Refused, refusals

EXAMPLES = {"vllm": "vllm serve MODEL …", "sglang": "sglang serve --model-path MODEL …"}
"""An engine's own command, for a hint."""


def options(server: str, command: Sequence[str]) -> tuple[list[Refused], str]:
    """What of an engine's command is refused, and the type that its weights will have.

    Raises what the engine raises, SystemExit among it.
    """
    after = next((word for word in ("serve", "-m") if word in command), None)
    words = list(command if after is None else command[command.index(after) + 1 :])
    if after == "-m":
        del words[:1]  # the module
    configured, table = _ASKED[server]
    config, dtype = configured(words)
    return refusals(config, table), str(dtype).removeprefix("torch.")


def _vllm(words: list[str]) -> tuple[Any, Any]:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    args = make_arg_parser(FlexibleArgumentParser()).parse_args(words)
    if getattr(args, "model_tag", None) is not None:
        args.model = args.model_tag
    config = AsyncEngineArgs.from_cli_args(args).create_engine_config()
    return config, config.model_config.dtype


def _sglang(words: list[str]) -> tuple[Any, Any]:
    """As the tap sees them when the model loads (`taps/sglang.py`)."""
    from sglang.srt.arg_groups.overrides import model_config_of, resolved_view
    from sglang.srt.server_args import prepare_server_args

    if words and not words[0].startswith("-"):  # `sglang serve MODEL`
        words = ["--model-path", *words]
    args = prepare_server_args(words)
    args.resolve_once()
    config = SimpleNamespace(args=resolved_view(args), model=model_config_of(args))
    return config, config.model.dtype


_ASKED: dict[str, tuple[Callable[[list[str]], tuple[Any, Any]], Sequence[Refused]]] = {
    "vllm": (_vllm, vllm_modes.REFUSED),
    "sglang": (_sglang, sglang_modes.REFUSED),
}
