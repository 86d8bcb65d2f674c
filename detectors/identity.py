"""`ModelIdentity`: what a pack is bound to, read from a model's folder in seconds even at 140 GB.

Parameter names, shapes and dtypes come from the safetensors headers; contents from a fixed
pseudo-random sample of blocks of every weights file; tokenizer and chat template from their own
files. It reads the disk once and never learns about torch. What the sample cannot see, the pack's
fingerprint is there to catch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dosimeter.detectors.artefact import canonical
from dosimeter.detectors.fields import HEX64, Fields
from dosimeter.detectors.files import open_file, read_file
from dosimeter.detectors.findings import InputError, visible

BLOCK_BYTES = 64 * 1024
BLOCKS_PER_FILE = 64
MAX_HEADER_BYTES = 100 * 1000 * 1000
MAX_JSON_BYTES = 64 * 1024 * 1024
MAX_TEXT = 200  # characters
MAX_WIDTH = 1 << 20
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt", "vocab.txt")
_WIDTHS = ("hidden_size", "n_embd", "d_model")
_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Digests are sha256, hex. `name` is for people and is never compared.

    header: names, dtypes and shapes of all parameters · blocks: sampled contents of the weights
    files · tokenizer, template: empty where the folder has none · dtype: what the model runs in
    (`float32`, …).
    """

    name: str
    architecture: str
    hidden_size: int
    dtype: str
    header: str
    blocks: str
    tokenizer: str
    template: str

    @classmethod
    def from_folder(cls, folder: Path) -> ModelIdentity:
        """Raises InputError if there is no config.json or no safetensors file."""
        config = _json(folder / "config.json")
        nested = config.get("text_config")
        text: dict[str, Any] = nested if isinstance(nested, dict) else {}
        sizes = (section.get(key) for section in (config, text) for key in _WIDTHS)
        size = next((n for n in sizes if n is not None), None)
        if type(size) is not int or not 1 <= size <= MAX_WIDTH:
            raise InputError.at(folder / "config.json", f"`hidden_size` is `{size!r:.40}`")
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            raise InputError.at(
                folder, "holds no safetensors file", "save the model as safetensors first"
            )
        parameters = [entry for file in files for entry in _parameters(file)]
        stated = config.get("dtype", config.get("torch_dtype", text.get("dtype")))
        architectures = config.get("architectures")
        first = architectures[0] if isinstance(architectures, list) and architectures else "unknown"
        dtype = stated if isinstance(stated, str) else _stored_dtype(parameters)
        for what, said in (("architectures", first), ("dtype", dtype)):
            if not (isinstance(said, str) and said.isprintable() and len(said) <= MAX_TEXT):
                raise InputError.at(folder / "config.json", f"`{what}` is not a name")
        return cls(
            name=visible(folder.resolve().name),
            architecture=first,
            hidden_size=size,
            dtype=dtype,
            header=hashlib.sha256(canonical(sorted(parameters))).hexdigest(),
            blocks=_blocks_digest(files),
            tokenizer=_tokenizer_digest(folder),
            template=_template_digest(folder),
        )

    @classmethod
    def from_fields(cls, fields: Fields) -> ModelIdentity:
        """From the `model` section of a card."""
        identity = cls(
            name=fields.text("name", most=MAX_TEXT),
            architecture=fields.text("architecture", most=MAX_TEXT),
            hidden_size=fields.integer("hidden_size", 1, MAX_WIDTH),
            dtype=fields.text("dtype", most=20),
            header=fields.text("header", pattern=HEX64),
            blocks=fields.text("blocks", pattern=HEX64),
            tokenizer=fields.text("tokenizer", pattern=HEX64)
            if fields.optional("tokenizer")
            else "",
            template=fields.text("template", pattern=HEX64) if fields.optional("template") else "",
        )
        fields.done()
        return identity

    def to_card(self) -> dict[str, Any]:
        return {key: value if value != "" else None for key, value in asdict(self).items()}

    @property
    def digest(self) -> str:
        """One digest over everything that is compared (all but the name)."""
        return hashlib.sha256(canonical({**asdict(self), "name": ""})).hexdigest()

    def differences(self, other: ModelIdentity) -> list[str]:
        """In words, what differs between this identity (a pack's) and a model's; [] if nothing."""
        mine, theirs = asdict(self), asdict(other)
        return [
            f"{key} is `{mine[key] or 'none'}` in the pack, `{theirs[key] or 'none'}` in the model"
            for key in mine
            if key != "name" and mine[key] != theirs[key]
        ]


def _json(path: Path) -> dict[str, Any]:
    raw = read_file(path, MAX_JSON_BYTES, follow=True)
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError):
        raise InputError.at(path, "is not JSON") from None
    if not isinstance(data, dict):
        raise InputError.at(path, "is not a JSON object")
    return data


def _parameters(path: Path) -> Iterator[tuple[str, str, list[int]]]:
    """(name, dtype, shape) of every tensor, from the header alone."""
    with open_file(path, follow=True) as file:
        length = int.from_bytes(file.read(8), "little")
        if length > MAX_HEADER_BYTES:
            raise InputError.at(path, f"safetensors header of {length} bytes")
        try:
            header = json.loads(file.read(length))
            found = [
                (name, entry["dtype"], list(entry["shape"]))
                for name, entry in header.items()
                if name != "__metadata__"
            ]
            canonical(found)  # text and numbers that a digest can be made of
            right = all(
                isinstance(dtype, str) and all(type(n) is int for n in shape)
                for _, dtype, shape in found
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            right = False
    if not right:
        raise InputError.at(path, "has no readable safetensors header")
    yield from found


def _stored_dtype(parameters: list[tuple[str, str, list[int]]]) -> str:
    kinds = [kind for _, kind, _ in parameters]
    most = max(sorted(set(kinds)), key=kinds.count, default="unknown")
    return _DTYPES.get(most, most.lower())


def sampled_offsets(name: str, size: int) -> list[int]:
    """Which blocks of a file are read: all of a small one, else a sample fixed by name and size."""
    blocks = -(-size // BLOCK_BYTES)
    if blocks <= BLOCKS_PER_FILE:
        return [i * BLOCK_BYTES for i in range(blocks)]
    chosen = {0, blocks - 1}
    counter = 0
    while len(chosen) < BLOCKS_PER_FILE:
        draw = hashlib.sha256(f"{name}\n{size}\n{counter}".encode()).digest()
        chosen.add(int.from_bytes(draw[:8], "little") % blocks)
        counter += 1
    return [i * BLOCK_BYTES for i in sorted(chosen)]


def _blocks_digest(files: list[Path]) -> str:
    sha = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        sha.update(f"{path.name}\n{size}\n".encode())
        with path.open("rb") as file:
            for offset in sampled_offsets(path.name, size):
                file.seek(offset)
                sha.update(file.read(BLOCK_BYTES))
    return sha.hexdigest()


def _tokenizer_digest(folder: Path) -> str:
    """Over tokenizer.json, or over the older files where there is none."""
    present = [folder / name for name in _TOKENIZERS if (folder / name).is_file()]
    if not present:
        return ""
    sha = hashlib.sha256()
    for path in present[:1] if present[0].name == "tokenizer.json" else present:
        sha.update(f"{path.name}\n{path.stat().st_size}\n".encode())
        with open_file(path, follow=True) as file:
            while block := file.read(1 << 20):
                sha.update(block)
    return sha.hexdigest()


def _template_digest(folder: Path) -> str:
    """chat_template.jinja where it stands alone, else the one inside tokenizer_config.json."""
    alone = folder / "chat_template.jinja"
    path = alone if alone.is_file() else folder / "tokenizer_config.json"
    if not path.is_file():
        return ""
    template: object = (
        read_file(path, MAX_JSON_BYTES, follow=True)
        if path is alone
        else _json(path).get("chat_template")
    )
    try:
        found = canonical(template.decode() if isinstance(template, bytes) else template)
    except (ValueError, RecursionError):
        raise InputError.at(path, "holds a template that is not text") from None
    return hashlib.sha256(found).hexdigest() if template or path is alone else ""
