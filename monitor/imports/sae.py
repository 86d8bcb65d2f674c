"""One latent of a sparse autoencoder, in the layout of SAELens (`cfg.json`, `sae_weights.safetensors`), as a direction.

What is imported is the affine pre-activation, `(h - b_dec) @ W_enc[:, i] + b_enc[i]`: above the latent's own
threshold it orders tokens as the latent does, below it the latent is off. Only the header of the weights and what
belongs to the one latent are read, however large the file. Formula and keys: SAELens 6, `saes/standard_sae.py`,
`saes/jumprelu_sae.py`, `loading/pretrained_sae_loaders.py` (older keys).
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from dosimeter.detectors.files import open_file
from dosimeter.detectors.findings import InputError
from dosimeter.monitor.imports.direction import MAX_WIDTH, Doubles, Imported, printable
from dosimeter.monitor.imports.reading import MAX_JSON_BYTES, SIZES, doubles, parse_json, read_json

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
MAX_CONFIG_BYTES = 1 << 20
MAX_HEADER_BYTES = 1 << 20
MAX_LATENTS = 1 << 24

READ = ("standard", "jumprelu")
REFUSED = {
    "topk": "the latent depends on the other latents of the token, so no single dot product decides it",
    "batchtopk": "the latent depends on the other latents and tokens of its batch, so no single dot "
    "product decides it",
    "gated": "a gated latent has two thresholds on one direction, and a probe has one bias",
}
HOOK = re.compile(r"blocks\.(\d{1,3})\.hook_resid_(pre|post)")
OFF = (
    "the affine pre-activation is imported: above the floor it orders tokens as the latent does, "
    "up to the floor the latent is off and says nothing"
)


@dataclass(frozen=True, slots=True)
class SaeConfig:
    """What of `cfg.json` enters a latent. block: whose output is read."""

    width: int
    latents: int
    architecture: str
    centred: bool  # b_dec is taken from the input first
    block: int
    hook: str
    model: str


def read_latent(folder: Path, latent: int, feature: str, labels: Path | None = None) -> Imported:
    """Latent number `latent` of the autoencoder in a folder; its label if the file has one. Raises InputError."""
    config = read_config(folder / CONFIG)
    path = folder / WEIGHTS
    if not 0 <= latent < config.latents:
        raise InputError.at(
            path, f"latent {latent} is not there", f"latents 0 to {config.latents - 1} are"
        )
    width, latents = config.width, config.latents
    with open_file(path, follow=True) as file:
        tensors = _Tensors(file, path)
        weights = tensors.every("W_enc", (width, latents), latent, latents)  # a column
        bias = float(tensors.every("b_enc", (latents,), latent, latents)[0])
        if config.centred:
            with np.errstate(
                over="ignore", invalid="ignore"
            ):  # `Imported` refuses what comes of it
                bias -= float(tensors.every("b_dec", (width,), 0, 1) @ weights)
        threshold = 0.0
        if config.architecture == "jumprelu":  # relu(x) where x > threshold
            stored = float(tensors.every("threshold", (latents,), latent, latents)[0])
            threshold = max(stored, threshold)
    label = None if labels is None else label_of(labels, latent)
    return Imported(
        feature=feature,
        layers=(config.block,),
        weights=weights[None, :],
        bias=bias,
        source=f"{folder.name}: latent {latent} of {latents}, {config.hook} of {config.model}",
        kind=f"latent of a {config.architecture} sparse autoencoder",
        notes=(*((f"its maker's label: {label}",) if label else ()), OFF),
        floor=threshold,
    )


def label_of(path: Path, latent: int) -> str | None:
    """The label of a latent in a JSON file `{index: label}`, fit to be shown. Raises InputError."""
    data = read_json(path, MAX_JSON_BYTES)
    if not isinstance(data, dict):
        raise InputError.at(path, "is not an object", 'write `{"17": "label"}`')
    label = data.get(str(latent))
    if label is not None and not isinstance(label, str):
        raise InputError.at(path, f"label of {latent} is not text")
    return printable(label) if label else None


def read_config(path: Path) -> SaeConfig:
    """`cfg.json` of SAELens 6 or older. Raises InputError with the reason where a latent is no dot product."""
    data = read_json(path, MAX_CONFIG_BYTES)
    if not isinstance(data, dict):
        raise InputError.at(path, "is not an object")
    config = _Config(data, str(path))
    architecture = config.text("architecture", "standard")
    activation = config.text("activation_fn", "relu", "activation_fn_str")
    if architecture not in READ or activation != "relu":
        name = activation if architecture in READ else architecture
        reason = REFUSED.get(
            name, "it is not known that a single dot product decides a latent of it"
        )
        raise InputError.at(
            path,
            f"`{printable(name)}` is not read: {reason}",
            f"read are {', '.join(READ)} with relu",
        )
    scaling = config.get("normalize_activations")
    if scaling not in (None, False, "none"):
        raise InputError.at(
            path,
            f"`normalize_activations` is `{printable(str(scaling))}`: it scales every token by a number that "
            "no probe has",
            "SAELens can fold a constant factor into the weights; the others cannot be read",
        )
    if config.get("reshape_activations") not in (None, "none"):
        raise InputError.at(
            path, "`reshape_activations` is set: not the residual stream as it stands"
        )
    if config.get("hook_head_index", "hook_point_head_index") is not None:
        raise InputError.at(path, "reads one attention head, not the residual stream")
    changed = config.get("model_from_pretrained_kwargs")
    if isinstance(changed, dict) and changed.get("center_writing_weights"):
        raise InputError.at(
            path, "made on a residual stream whose mean had been taken out (`center_writing_weights`)",
            "a server's model does not do that",
        )  # fmt: skip
    hook = config.text("hook_name", "", "hook_point")
    return SaeConfig(
        width=config.integer("d_in", MAX_WIDTH),
        latents=config.integer("d_sae", MAX_LATENTS),
        architecture=architecture,
        centred=config.flag("apply_b_dec_to_input", True),
        block=_block(path, hook),
        hook=hook,
        model=config.text("model_name", "an unnamed model"),
    )


def _block(path: Path, hook: str) -> int:
    """The block whose output the hook sees; what enters block N left block N - 1."""
    found = HOOK.fullmatch(hook)
    block = -1 if found is None else int(found[1]) - (found[2] == "pre")
    if block < 0:
        raise InputError.at(
            path, f"hook `{printable(hook)}` is not the output of a block",
            "`blocks.N.hook_resid_post`, or `hook_resid_pre` of N above 0",
        )  # fmt: skip
    return block


class _Config:
    """Values by name: at the top (before 6) or under `metadata`; one that stands twice must agree."""

    def __init__(self, data: Mapping[str, Any], name: str) -> None:
        inner = [data.get(key) for key in ("metadata", "meta")]
        self._parts = [data, *(part for part in inner if isinstance(part, dict))]
        self._name = name

    def get(self, *names: str) -> Any:
        found = [part[name] for part in self._parts for name in names if part.get(name) is not None]
        if any(other != found[0] for other in found):
            raise InputError.at(self._name, f"`{names[0]}` stands twice with two values")
        return found[0] if found else None

    def text(self, name: str, default: str, *older: str) -> str:
        value = self.get(name, *older)
        if value is not None and not isinstance(value, str):
            raise InputError.at(self._name, f"`{name}` is not text")
        return default if value is None else value

    def flag(self, name: str, default: bool) -> bool:
        value = self.get(name)
        if value is not None and not isinstance(value, bool):
            raise InputError.at(self._name, f"`{name}` is neither true nor false")
        return default if value is None else value

    def integer(self, name: str, most: int) -> int:
        value = self.get(name)
        if type(value) is not int or not 1 <= value <= most:
            raise InputError.at(self._name, f"`{name}` is `{value!r:.40}`, 1 to {most}")
        return value


class _Tensors:
    """Numbers out of an open safetensors file, each fetched from its place. Raises InputError."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._fd, self._path = file.fileno(), path
        size = os.fstat(self._fd).st_size
        length = int.from_bytes(os.pread(self._fd, 8, 0), "little")
        if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
            raise InputError.at(path, f"not a safetensors file: header of {length} bytes")
        header = parse_json(os.pread(self._fd, length, 8), str(path))
        self._header: Mapping[str, Any] = header if isinstance(header, dict) else {}
        self._data, self._size = 8 + length, size - 8 - length

    def every(self, name: str, shape: tuple[int, ...], first: int, step: int) -> Doubles:
        """float64: numbers `first`, `first + step` … of a tensor of this shape."""
        entry = self._header.get(name)
        if not isinstance(entry, dict):
            raise InputError.at(self._path, f"tensor `{name}` is missing, {list(shape)} expected")
        kind, found, ends = (entry.get(key) for key in ("dtype", "shape", "data_offsets"))
        if not isinstance(kind, str) or kind not in SIZES or found != list(shape):
            told = f"{kind!s:.20} {found!s:.60}"
            raise InputError.at(
                self._path, f"tensor `{name}` is {told}, not {list(shape)} of {', '.join(SIZES)}"
            )
        size, numel = SIZES[kind], math.prod(shape)
        start = ends[0] if isinstance(ends, list) and ends else None
        if type(start) is not int or ends != [start, start + size * numel]:
            raise InputError.at(self._path, f"tensor `{name}` has data at {ends!s:.60}")
        if not 0 <= start <= start + size * numel <= self._size:
            raise InputError.at(self._path, f"tensor `{name}` reaches beyond the file")
        at = self._data + start
        if step == 1:
            raw = os.pread(self._fd, size * (numel - first), at + size * first)
        else:
            places = range(first, numel, step)
            raw = b"".join(os.pread(self._fd, size, at + size * place) for place in places)
        if len(raw) != size * len(range(first, numel, step)):
            raise InputError.at(self._path, "became shorter while it was read")
        numbers = doubles(raw, kind)
        if not np.isfinite(numbers).all():
            raise InputError.at(self._path, f"tensor `{name}` holds NaN or infinity")
        return numbers
