"""Row maps of vLLM on structures as its runners hold them, with every number worked out by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from dosimeter.monitor.taps.requests import Request
from dosimeter.monitor.taps.vllm_rows import (
    UNKNOWN,
    Alive,
    Pieces,
    Running,
    laid_out,
    v1_pieces,
    v2_pieces,
)


def request(key: int, prompt_len: int = 4) -> Request:
    return Request(key, prompt_len, None, [], False, 0, None)


def step(*pieces: tuple[str, int, int]) -> Pieces:
    names, starts, counts = zip(*pieces, strict=True)
    return names, [*starts], [*counts]


def alive(**prompts: list[int]) -> Alive:
    """Requests under the engine's ids, keys counted from 1."""
    running = {
        name: Running(request(key, len(ids)), list(ids))
        for key, (name, ids) in enumerate(prompts.items(), 1)
    }
    return Alive(running)


def test_runner_v1_packs_its_persistent_batch_in_order() -> None:
    """Two decodes and a chunk of a prompt: places of the batch beyond its requests hold what was there before."""
    batch = SimpleNamespace(
        req_ids=["b", "a", "c"], num_computed_tokens_cpu=np.array([9, 4, 32, 77, 77], np.int32)
    )
    pieces = v1_pieces(SimpleNamespace(input_batch=batch), np.array([1, 1, 8], np.int32))
    assert pieces == (["b", "a", "c"], [9, 4, 32], [1, 1, 8])


def test_runner_v2_gives_bounds_and_pads_behind_them() -> None:
    """Its batch is sorted decodes first; bounds are repeated up to a graph's number of requests."""
    batch = SimpleNamespace(
        req_ids=["d", "p"],
        num_computed_tokens_np=np.array([12, 16]),
        query_start_loc_np=np.array([0, 1, 17, 17, 17]),
        num_tokens=17,
        num_tokens_after_padding=32,
    )
    assert v2_pieces(batch) == (["d", "p"], [12, 16], [1, 16])


def test_rows_go_to_the_whole_id_and_never_to_a_part_of_it() -> None:
    """The inner id is the client's, a hyphen and eight characters: `a` must not claim the rows of `a-1`."""
    here = alive(**{"a-00000000": [1, 2], "a-1-00000000": [3, 4, 5]})
    rows, select = here.rows(step(("a-1-00000000", 0, 3), ("a-00000000", 0, 2)), [3, 4, 5, 1, 2])
    assert [(request.key, start, n) for request, start, n in rows] == [(2, 0, 3), (1, 0, 2)]
    assert select is None


def test_rows_of_a_request_that_nobody_knows_are_left_out_and_the_others_found_behind_them() -> (
    None
):
    here = alive(a=[1, 2], c=[5])
    rows, select = here.rows(step(("a", 0, 2), ("b", 0, 3), ("c", 0, 1)), [1, 2, 0, 0, 0, 5])
    assert [(request.key, n) for request, _, n in rows] == [(1, 2), (2, 1)]
    assert select is not None
    assert select.tolist() == [0, 1, 5]


def test_the_canary_stands_last_wherever_the_step_has_it() -> None:
    """What leaves for the sidecar is then the head of the step, and a partial send keeps its meaning."""
    here = alive(a=[1], canary=[7, 8], b=[2])
    here.canary = "canary"
    rows, select = here.rows(step(("a", 0, 1), ("canary", 0, 2), ("b", 0, 1)), [1, 7, 8, 2])
    assert [request.key for request in rows.requests] == [1, 3, 2]
    assert select is not None
    assert select.tolist() == [0, 3, 1, 2]


def test_ids_of_the_answer_are_learned_from_what_ran() -> None:
    """With async scheduling the host's structures hold -1 for them; the step's own input has the number."""
    here = alive(a=[1, 2, 3])
    here.rows(step(("a", 0, 3)), [1, 2, 3])
    here.rows(step(("a", 3, 1)), [44])
    here.rows(step(("a", 4, 1)), [55])
    one = here.running["a"]
    assert one.known(2, 5) == [3, 44, 55]
    assert one.known(4, 9) == [55]  # shorter where nothing is known


def test_a_gap_in_what_is_known_stays_a_gap() -> None:
    one = Running(request(1), [1, 2])
    one.learn(4, [9])
    assert one.ids == [1, 2, UNKNOWN, UNKNOWN, 9]


def test_rows_that_run_again_after_a_preemption_are_told_with_their_old_positions() -> None:
    here = alive(a=[1, 2, 3])
    here.rows(step(("a", 0, 3)), [1, 2, 3])
    here.rows(step(("a", 3, 1)), [4])
    rows, _ = here.rows(step(("a", 0, 4)), [1, 2, 3, 4])
    assert (rows.start, rows.n) == ([0], [4])
    assert here.running["a"].ids == [1, 2, 3, 4]


def test_lists_of_different_lengths_are_no_row_map() -> None:
    """Taken as they are, rows would be noted in some requests and then lost without a reason."""
    with pytest.raises(ValueError, match="1 requests, 2 starts, 1 counts"):
        laid_out([request(1)], [0, 1], [1])
