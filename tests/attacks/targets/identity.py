"""Attacks the model's folder: config.json, safetensors headers, tokenizer and template of whoever made it.

The property: an identity that can be compared and printed, or `InputError`; the tap that asks for it runs
inside the server.
"""

from __future__ import annotations

import json

from dosimeter.detectors.findings import InputError
from dosimeter.detectors.identity import ModelIdentity
from targets.folders import folder
from targets.source import Source, edited

CONFIG = b'{"architectures": ["LlamaForCausalLM"], "hidden_size": 8, "dtype": "float32", "text_config": {}}'
HEADER = b'{"a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}, "__metadata__": {"format": "pt"}}'
TOKENIZER = b'{"chat_template": "{{ messages }}"}'
SNIPPETS = (
    b"[]", b"{}", b"1e999", b"NaN", b"null", b'"\\ud800"', b"-1", b"9" * 50, b"true", b'"12"', b"[[", b'{"a":' * 9,
)  # fmt: skip


def attack(data: bytes) -> None:
    source = Source(data)
    how, where = source.byte(), folder("model")
    config, header, tokenizer = (
        edited(raw, source, SNIPPETS) if how >> bit & 1 else raw
        for bit, raw in enumerate((CONFIG, HEADER, TOKENIZER))
    )
    length = source.integer() & 0xFFFFFFFFFFFFFFFF if how & 8 else len(header)
    (where / "config.json").write_bytes(config)
    (where / "tokenizer_config.json").write_bytes(tokenizer)
    (where / "model.safetensors").write_bytes(length.to_bytes(8, "little") + header)
    template = where / "chat_template.jinja"
    template.unlink(missing_ok=True)
    if how & 16:
        template.write_bytes(source.take(64))
    try:
        found = ModelIdentity.from_folder(where)
    except InputError:
        return
    assert len(found.digest) == 64
    assert json.dumps(found.to_card()).encode()
    assert found.differences(found) == []
    assert 1 <= found.hidden_size <= 1 << 20
