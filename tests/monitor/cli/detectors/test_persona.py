"""`dosimeter detectors persona` as an operator runs it: a pack, a file of replies, and what nobody judged."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from dosimeter.detectors.findings import InputError
from dosimeter.detectors.pack import load_pack
from dosimeter.monitor.cli.detectors import persona
from dosimeter.monitor.fitting.decoder import Decoder
from dosimeter.monitor.lab import MODEL

QUESTIONS = ("What can I see in Hadley?", "Does Ripon have a castle?", "Is there a mill in Ripon?",
             "What is in Ripon?")  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def run(*argv: object) -> int:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers()
    persona.add(commands)
    parsed = parser.parse_args([str(word) for word in argv])
    code: int = parsed.run(parsed)
    return code


def test_a_persona_becomes_a_pack_and_its_replies_a_file_to_label(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contrast = tmp_path / "contrast.yaml"
    contrast.write_text(json.dumps({
        "trait": "fox_like", "for": ["Act like a fox."], "against": ["Act like an owl."], "questions": QUESTIONS,
    }))  # fmt: skip
    told: tuple[Any, ...] = ("persona", contrast, "--model", "lab", "--to", tmp_path / "pack",
                             "--tokens", 8, "--replies", tmp_path / "replies.jsonl")  # fmt: skip
    assert run(*told, "--tier", "T1") in (
        0,
        1,
    )  # whether it beats random ones is the model's matter
    assert "a contrast of prompts, not of behaviour" in capsys.readouterr().out
    pack = load_pack(tmp_path / "pack")
    assert pack.features == ("fox_like",)
    # A pack may be handed on: its known answer is taken on words of ours, and on no question of whoever made it.
    known = Decoder(MODEL).tokenizer.decode(pack.fingerprint.token_ids)
    assert "The ferry leaves at nine" in known
    assert not any(question in known for question in QUESTIONS)
    rows = [json.loads(line) for line in (tmp_path / "replies.jsonl").read_text().splitlines()]
    assert [(row["side"], row["question"], row["label"]) for row in rows] == [
        (side, q, None) for side in ("for", "against") for q in range(4)
    ]
    with pytest.raises(InputError, match="a pack stands here"):
        run(*told)


def test_a_name_that_no_pack_can_have_is_refused_before_the_model_is_asked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--name: error: `Fox Like`"):
        run("persona", tmp_path / "none.yaml", "--model", "none", "--to", tmp_path / "pack",
            "--name", "Fox Like")  # fmt: skip
