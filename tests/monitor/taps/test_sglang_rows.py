"""Row maps of SGLang on structures as its scheduler holds them, with every number worked out by hand."""

from __future__ import annotations

from array import array
from types import SimpleNamespace
from typing import Any

import pytest

from dosimeter.monitor.taps.requests import Request
from dosimeter.monitor.taps.sglang_rows import (
    ATTRIBUTE,
    NoRowMap,
    Running,
    known,
    pieces,
    rows,
    salt,
)


def mode(name: str) -> SimpleNamespace:
    return SimpleNamespace(name=name)


def req(rid: str, key: int | None = None, **how: Any) -> SimpleNamespace:
    """key: of the request that the tap knows it as; None: it knows nothing of it."""
    found = SimpleNamespace(
        rid=rid,
        origin_input_ids=array("q", [5, 6, 7]),
        output_ids=array("q", [8, 9]),
        extra_key=None,
        cache_salt=None,
    )
    if key is not None:
        setattr(found, ATTRIBUTE, Running(Request(key, 3, None, [], False, 0, None), **how))
    return found


def test_a_prompt_begins_where_the_cache_ends_and_decodes_stand_behind_it() -> None:
    """MIXED: a chunk of a prompt whose first 32 tokens are in, and two decodes at 9 and 4."""
    batch = SimpleNamespace(
        forward_mode=mode("MIXED"),
        rids=["p", "d", "e"],
        extend_prefix_lens_cpu=[32, 9, 4],
        extend_seq_lens_cpu=[8, 1, 1],
    )
    assert pieces(batch) == (["p", "d", "e"], [32, 9, 4], [8, 1, 1])


def test_a_decode_runs_the_last_token_of_each_length() -> None:
    """Rows of beams, which SGLang adds behind the requests, are left out."""
    batch = SimpleNamespace(forward_mode=mode("DECODE"), rids=["a", "b"], seq_lens_cpu=[5, 12, 12])
    assert pieces(batch) == (["a", "b"], [4, 11], [1, 1])


def test_an_idle_forward_has_no_rows() -> None:
    assert pieces(SimpleNamespace(forward_mode=mode("IDLE"), rids=[])) == ([], [], [])


@pytest.mark.parametrize(
    "name", ["TARGET_VERIFY", "DRAFT_EXTEND_V2", "SPLIT_PREFILL", "DLLM_EXTEND", "PREBUILT"]
)
def test_a_mode_without_a_row_map_is_refused_by_name(name: str) -> None:
    with pytest.raises(NoRowMap, match=f"mode `{name}`"):
        pieces(SimpleNamespace(forward_mode=mode(name), rids=["a"]))


def test_lengths_that_are_on_the_device_alone_are_no_row_map() -> None:
    decode = SimpleNamespace(forward_mode=mode("DECODE"), rids=["a"], seq_lens_cpu=None)
    prompt = SimpleNamespace(
        forward_mode=mode("EXTEND"),
        rids=["a"],
        extend_prefix_lens_cpu=None,
        extend_seq_lens_cpu=None,
    )
    for batch in (decode, prompt):
        with pytest.raises(NoRowMap, match="lengths on the host"):
            pieces(batch)


def test_two_requests_of_one_id_keep_their_rows_apart() -> None:
    """A client that goes and asks again under its id: for a step both are there. Rows follow the object."""
    found, select = rows((["a", "a"], [7, 0], [1, 3]), [req("a", 1), req("a", 2)])
    assert [(one.key, start, n) for one, start, n in found] == [(1, 7, 1), (2, 0, 3)]
    assert select is None


def test_rows_that_are_nobodys_are_left_out_and_the_others_found_behind_them() -> None:
    """Unknown, ended a step ago, and one whose rows are not scored: rows 0, 1 to 2 and 4 to 6."""
    over = req("o", 2)
    getattr(over, ATTRIBUTE).over = True
    found, select = rows(
        ([*"uoknl"], [3, 4, 9, 0, 0], [1, 2, 1, 3, 2]),
        [req("u"), over, req("k", 3), req("n", 4, scored=False), req("l", 5)],
    )
    assert [(one.key, n) for one, _, n in found] == [(3, 1), (5, 2)]
    assert select is not None
    assert select.tolist() == [3, 7, 8]


def test_the_canarys_rows_stand_last() -> None:
    found, select = rows((["c", "a"], [0, 0], [2, 3]), [req("c", 0, canary=True), req("a", 1)])
    assert [one.key for one in found.requests] == [1, 0]
    assert select is not None
    assert select.tolist() == [2, 3, 4, 0, 1]


def test_a_batch_of_other_requests_is_refused() -> None:
    with pytest.raises(NoRowMap, match="not those of its batch"):
        rows((["a"], [0], [1]), [req("b", 1)])


def test_ids_run_from_the_prompt_into_the_answer_and_end_with_what_is_known() -> None:
    one = req("a")
    assert known(lambda: one, 0, 2) == [5, 6]
    assert known(lambda: one, 2, 4) == [7, 8]
    assert known(lambda: one, 3, 9) == [8, 9]
    assert known(lambda: None, 0, 2) == []  # the scheduler has dropped it


def test_prefixes_are_shared_only_where_the_servers_own_keys_are_equal() -> None:
    keys = [(None, None), ("x", None), (None, "x"), ("None", None)]
    salts = {salt(SimpleNamespace(extra_key=a, cache_salt=b)) for a, b in keys}
    assert len(salts) == 4
