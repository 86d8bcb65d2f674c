"""Private names of transformers that its tap wraps, with the parameters they have in the supported release."""

from __future__ import annotations

_SERVING = "transformers.cli.serving"
_BATCHING = "transformers.generation.continuous_batching"

TRANSFORMERS: dict[str, tuple[str, ...]] = {
    f"{_SERVING}.server:build_server": (),
    f"{_SERVING}.model_manager:ModelManager._load_model": ("self", "model_id_and_revision"),
    f"{_SERVING}.utils:GenerateManager.generate_streaming": ("self", "model", "processor"),
    f"{_SERVING}.utils:GenerateManager.generate_non_streaming": ("self", "model", "processor"),
    f"{_SERVING}.utils:CBGenerateManager.generate_streaming": ("self", "model", "processor"),
    f"{_SERVING}.utils:CBGenerateManager.generate_non_streaming": ("self", "model", "processor"),
    f"{_SERVING}.utils:InferenceThread.submit": ("self", "fn"),
    f"{_SERVING}.utils:InferenceThread.async_submit": ("self", "fn"),
    f"{_SERVING}.utils:BaseHandler.get_processor_inputs_from_messages": ("messages", "modality"),
    f"{_SERVING}.chat_completion:ChatCompletionHandler.handle_request": (
        "self",
        "body",
        "request_id",
    ),
    f"{_SERVING}.response:ResponseHandler.handle_request": ("self", "body", "request_id"),
    f"{_BATCHING}.requests:RequestState.__post_init__": ("self",),
    f"{_BATCHING}.requests:RequestState.fork": ("self", "new_request_id"),
    f"{_BATCHING}.requests:RequestState.create_equivalent_initial_request": ("self",),
    f"{_BATCHING}.requests:RequestState.update_and_check_completion": (
        "self",
        "token_id",
        "logprob",
    ),
    f"{_BATCHING}.scheduler:Scheduler.clear_cancelled_requests": ("self",),
    f"{_BATCHING}.continuous_api:OutputRouter.fail_and_deliver": ("self", "state", "error"),
    f"{_BATCHING}.model_runner:ModelRunner.compute_batch": ("self", "model", "batch_data"),
    f"{_BATCHING}.model_runner:ModelRunner.warmup": ("self",),
    "transformers.generation.utils:GenerationMixin._sample": ("self", "input_ids"),
    "transformers.generation.utils:GenerationMixin.generate": ("self",),
}
