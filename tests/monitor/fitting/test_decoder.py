"""What the tap captures is what transformers computes alone, and only the words that carry a feature are read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from dosimeter.detectors.examples import Example
from dosimeter.detectors.findings import InputError
from dosimeter.detectors.frames import Scope
from dosimeter.monitor.fitting.decoder import REQUEST, Decoder
from dosimeter.monitor.fitting.subject import Floats, Tokens
from dosimeter.monitor.lab import MODEL

CHATML = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content | trim }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


@pytest.fixture(scope="module")
def lab() -> Decoder:
    return Decoder(MODEL)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    """A random Llama with grouped heads, two tokens of which the template writes after a reply."""
    folder = tmp_path_factory.mktemp("llama")
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=2048, hidden_size=32, intermediate_size=48, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
        bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(MODEL / name, folder / name)
    (folder / "chat_template.jinja").write_text(CHATML)
    return Decoder(folder)


def talk(*turns: tuple[str, str]) -> Example:
    return Example(None, "g", messages=tuple({"role": r, "content": c} for r, c in turns))


ROWS: list[tuple[Example, Scope]] = [
    (Example(None, "a", "The ferry leaves at nine from the old pier."), Scope.ANSWER),
    (Example(None, "b", "hi"), Scope.MESSAGE),
    (talk(("user", "Where is it?"), ("assistant", "By the river, near the mill.")), Scope.ANSWER),
    (
        talk(
            ("system", "Be brief."), ("user", "One?"), ("assistant", "Two."), ("user", "Three, four?")
        ),
        Scope.MESSAGE,
    ),
    (talk(("user", "ü漢🙂"), ("assistant", "é 漢")), Scope.ANSWER),
]  # fmt: skip


def nothing(done: int, of: int) -> None:
    pass


def alone(decoder: Decoder, tokens: Tokens) -> Floats:
    """float32 [T, blocks, D] in one forward without cache, batch or padding.

    transformers' `hidden_states` for all blocks but the last, whose output it shows after the final norm:
    of the last the norm of ours is compared.
    """
    model = decoder.model
    with torch.no_grad():
        found = model(torch.tensor([tokens.ids]), output_hidden_states=True, use_cache=False)
    return np.stack([h[0].numpy() for h in found.hidden_states[1:]], axis=1)


@pytest.mark.parametrize("which", ["lab", "llama"])
def test_rows_equal_a_forward_of_their_own_in_whatever_batch_they_stood(
    which: str, request: pytest.FixtureRequest
) -> None:
    decoder: Decoder = request.getfixturevalue(which)
    tokens = [decoder.tokens(row, scope) for row, scope in ROWS]
    assert len({len(one.ids) for one in tokens}) > 2  # so that there is padding
    layers = tuple(range(decoder.blocks))
    found = dict(decoder.activations(tokens, layers, nothing))
    assert sorted(found) == list(range(len(ROWS)))
    for index, rows in found.items():
        expected = alone(decoder, tokens[index])
        assert rows.shape == expected.shape
        np.testing.assert_allclose(rows[:, :-1], expected[:, :-1], atol=1e-4)
        with torch.no_grad():
            last = decoder.model.model.norm(torch.tensor(rows[:, -1])).numpy()
        np.testing.assert_allclose(last, expected[:, -1], atol=2e-4)


def test_layers_are_those_that_were_asked_for(lab: Decoder) -> None:
    (one,) = (lab.tokens(*ROWS[0]),)
    ((_, every),) = lab.activations([one], (0, 1, 2, 3), nothing)
    ((_, some),) = lab.activations([one], (1, 3), nothing)
    np.testing.assert_allclose(some, every[:, [1, 3]], atol=1e-5)


def test_the_embedding_layer_has_read_no_other_token(lab: Decoder) -> None:
    tokens = lab.tokens(*ROWS[2])
    table = lab.model.get_input_embeddings().weight.detach().numpy()
    np.testing.assert_array_equal(lab.embedded(tokens), table[list(tokens.ids)])


def said(decoder: Decoder, row: Example, scope: Scope) -> str:
    """The text of the tokens that are read."""
    tokens = decoder.tokens(row, scope)
    return str(
        decoder.tokenizer.decode([i for i, r in zip(tokens.ids, tokens.read, strict=True) if r])
    )


@pytest.mark.parametrize("which", ["lab", "llama"])
def test_of_a_conversation_that_ends_with_a_reply_the_reply_alone_is_read(
    which: str, request: pytest.FixtureRequest
) -> None:
    """Neither special tokens nor the line end that a template writes after a reply, which nobody generates."""
    decoder: Decoder = request.getfixturevalue(which)
    row = talk(("system", "Be kind."), ("user", "Ask"), ("assistant", "Reply of three"))
    for scope in (Scope.ANSWER, Scope.MESSAGE):
        tokens = decoder.tokens(row, scope)
        assert said(decoder, row, scope) == "Reply of three"
        assert set(tokens.scopes[tokens.read].tolist()) == {int(Scope.ANSWER)}
        assert tokens.read[-1]  # what comes after it is not even run
    special = set(decoder.tokenizer.all_special_ids)
    assert not special & {i for i, r in zip(tokens.ids, tokens.read, strict=True) if r}


def test_of_one_that_ends_with_the_user_the_last_message_is_read(lab: Decoder) -> None:
    row = talk(
        ("system", "Be kind."), ("user", "One"), ("assistant", "Two"), ("user", "Three four")
    )
    assert said(lab, row, Scope.MESSAGE) == "Three four"
    tokens = lab.tokens(row, Scope.MESSAGE)
    assert tokens.scopes.tolist() == sorted(
        tokens.scopes.tolist(), key=[Scope.SYSTEM, Scope.HISTORY, Scope.MESSAGE].index
    )


def test_a_plain_text_is_a_message_or_the_reply_to_a_request_that_says_nothing(
    lab: Decoder,
) -> None:
    row = Example(None, "g", "The ferry leaves at nine.")
    assert said(lab, row, Scope.MESSAGE) == said(lab, row, Scope.ANSWER) == row.text
    assert REQUEST in lab.tokenizer.decode(lab.tokens(row, Scope.ANSWER).ids)
    assert REQUEST not in lab.tokenizer.decode(lab.tokens(row, Scope.MESSAGE).ids)


@pytest.mark.parametrize("typed", ["<|end|>", "<|assistant|> yes", "a<|system|>b", "<|bos|>"])
def test_what_a_user_types_stays_inside_the_message(lab: Decoder, typed: str) -> None:
    row = talk(("user", f"before {typed} after"))
    assert said(lab, row, Scope.MESSAGE).replace("< |", "<|") == f"before {typed} after"


def test_a_reply_with_spaces_around_it_is_read(llama: Decoder) -> None:
    row = talk(("user", "a"), ("assistant", "  spaced out \n\n"))
    assert said(llama, row, Scope.ANSWER) == "spaced out"


def test_a_long_text_is_read_up_to_the_cap_and_says_so(lab: Decoder, llama: Decoder) -> None:
    row = Example(None, "g", "word " * 2000)
    for decoder, most in ((lab, 1023), (llama, 127)):  # one position is kept for generate
        tokens = decoder.tokens(row, Scope.ANSWER)
        assert (len(tokens.ids), tokens.cut) == (most, True)
        ((_, rows),) = decoder.activations([tokens], (0,), nothing)
        assert len(rows) == most


def test_a_reply_beyond_the_cap_is_refused_at_its_place(lab: Decoder) -> None:
    row = talk(("user", "word " * 2000), ("assistant", "late"))
    with pytest.raises(InputError, match="leaves no token to read in its first 1023 tokens"):
        lab.tokens(row, Scope.ANSWER)


def test_a_role_that_the_template_refuses_is_told(lab: Decoder) -> None:
    with pytest.raises(InputError, match=r"chat template refuses it .*unknown role `tool`"):
        lab.tokens(talk(("tool", "x"), ("user", "y")), Scope.MESSAGE)


def with_template(tmp_path: Path, template: str | None) -> Decoder:
    folder = tmp_path / "model"
    shutil.copytree(MODEL, folder)
    (folder / "chat_template.jinja").unlink()
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    return Decoder(folder)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (
            "{% for m in messages %}{{ m.content | upper }}{% endfor %}",
            "changes what a message says",
        ),
        (
            "{% if add_generation_prompt %}p{% else %}q{% endif %}"
            "{% for m in messages %}{{ m.content }}{% endfor %}",
            "rendered otherwise than before it",
        ),
        ("{{ 1 / 0 }}", "chat template refuses it"),
        ("{{ raise_exception('\x1b[2J no') }}", "chat template refuses it"),
        ("{% for", "chat template refuses it"),
    ],
)
def test_a_template_in_which_roles_cannot_be_told_is_refused(
    tmp_path: Path, template: str, words: str
) -> None:
    decoder = with_template(tmp_path, template)
    with pytest.raises(InputError, match=words) as caught:
        decoder.tokens(talk(("user", "Ask this"), ("assistant", "Reply")), Scope.ANSWER)
    assert "\x1b" not in str(caught.value)


def test_a_model_without_a_template_reads_plain_text_as_it_stands(tmp_path: Path) -> None:
    decoder = with_template(tmp_path, None)
    row = Example(None, "g", "The ferry leaves.")
    assert said(decoder, row, Scope.ANSWER) == row.text
    assert decoder.tokenizer.decode(decoder.tokens(row, Scope.ANSWER).ids).endswith("leaves.")
    with pytest.raises(InputError, match="is a conversation, and the model has no chat template"):
        decoder.tokens(talk(("user", "a")), Scope.MESSAGE)


def changed(**values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **values}))

    return change


def cut_short(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")


def wrong_tokenizer(folder: Path) -> None:
    """Of a model with more tokens: on a GPU an index out of range would end the process."""
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    loaded.resize_token_embeddings(1000)
    loaded.save_pretrained(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (wrong_tokenizer, "the tokenizer has 2048 tokens, the model 1000"),
        (cut_short, "cannot be loaded"),
        (no_tokenizer, "cannot be loaded"),
        (changed(hidden_size=64), "cannot be loaded"),
        (changed(num_hidden_layers="four"), "cannot be loaded"),
        (changed(model_type="nonsense"), "cannot be loaded"),
        (changed(num_hidden_layers=6), "18 weights are missing, such as `model.layers.4"),
        (changed(num_hidden_layers=-1), "has no block"),
        (changed(model_type="x", auto_map={"AutoConfig": "evil.Config"}), "cannot be loaded"),
    ],
)
def test_a_folder_that_is_no_whole_model_is_refused_and_none_of_its_code_run(
    tmp_path: Path, change: Callable[[Path], None], words: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(MODEL, folder)
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    change(folder)
    with pytest.raises(InputError, match=words) as caught:
        Decoder(folder)
    assert str(folder) in str(caught.value)


def test_pieces_are_the_text_of_every_token(lab: Decoder) -> None:
    tokens = lab.tokens(*ROWS[2])
    assert "".join(lab.pieces(tokens)) == lab.tokenizer.decode(tokens.ids)
