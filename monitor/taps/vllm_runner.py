"""The runner of vLLM's worker of rank 0, followed: methods of that object are wrapped, and of no class."""

from __future__ import annotations

import functools
from typing import Any

from dosimeter.monitor.taps import vllm_rows
from dosimeter.monitor.taps.settings import TapSettings
from dosimeter.monitor.taps.vllm_session import Session
from dosimeter.monitor.taps.vllm_worker import Watch
from dosimeter.monitor.taps.watch import first


def watch_runner(runner: Any, settings: TapSettings, session: Session, version: str) -> Watch:
    """Wrap one runner's methods, before it loads the model."""
    watch = Watch(settings, session, runner.vllm_config, version)
    load_model, execute_model = runner.load_model, runner.execute_model

    @functools.wraps(load_model)
    def loading(*args: Any, **kwargs: Any) -> Any:
        result = load_model(*args, **kwargs)
        watch.guarded(lambda: watch.loaded(runner.get_model()))
        return result

    @functools.wraps(execute_model)
    def executing(scheduler_output: Any, *args: Any, **kwargs: Any) -> Any:
        if not kwargs.get("dummy_run"):
            watch.guarded(lambda: watch.scheduled(scheduler_output))
        try:
            return execute_model(scheduler_output, *args, **kwargs)
        finally:
            watch.guarded(watch.step_over)

    runner.load_model, runner.execute_model = loading, executing
    first(runner, "reload_weights", lambda: watch.guarded(watch.reloaded))
    _follow_batches(runner, watch)
    if runner.vllm_config.speculative_config is not None:
        _follow_samples(runner, watch)
    return watch


def _follow_batches(runner: Any, watch: Watch) -> None:
    """When a batch is final: requests join and leave it, and are reordered, inside `execute_model`.

    V1 fills its persistent batch and then prepares the inputs from it; V2 makes a batch of each step, which
    is what its method returns. Neither is called in a dummy run.
    """
    if hasattr(runner, "_prepare_inputs"):
        prepare_v1 = runner._prepare_inputs

        @functools.wraps(prepare_v1)
        def _prepare_inputs(
            scheduler_output: Any, scheduled: Any, *args: Any, **kwargs: Any
        ) -> Any:
            result = prepare_v1(scheduler_output, scheduled, *args, **kwargs)
            watch.next_step(
                functools.partial(vllm_rows.v1_pieces, runner, scheduled),
                lambda: scheduler_output.scheduled_spec_decode_tokens,
            )
            return result

        runner._prepare_inputs = _prepare_inputs
        return
    prepare_v2 = runner.prepare_inputs

    @functools.wraps(prepare_v2)
    def prepare_inputs(*args: Any, **kwargs: Any) -> Any:
        batch = prepare_v2(*args, **kwargs)
        watch.next_step(functools.partial(vllm_rows.v2_pieces, batch))
        return batch

    runner.prepare_inputs = prepare_inputs


def _follow_samples(runner: Any, watch: Watch) -> None:
    """What came of a step with drafts: `execute_model` has ended by then."""
    sample_tokens = runner.sample_tokens

    @functools.wraps(sample_tokens)
    def sampling(*args: Any, **kwargs: Any) -> Any:
        output = sample_tokens(*args, **kwargs)
        watch.guarded(lambda: watch.sampled(output))
        return output

    runner.sample_tokens = sampling
