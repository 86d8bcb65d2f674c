"""What has nothing to show must be refused: models that learned nothing, labels that mean nothing, style.

Twenty cases through the same `learn` as a user's model, on a part of our scam texts; and one that must not be
refused, since a judge that refuses everything shows nothing either.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dosimeter.detectors.examples import Example
from dosimeter.detectors.registry import load_features
from dosimeter.monitor.bench.figures import Figure
from dosimeter.monitor.fitting.build import learn
from dosimeter.monitor.fitting.decoder import Decoder
from dosimeter.monitor.fitting.lesson import Lesson, own_texts
from dosimeter.monitor.fitting.subject import Subject
from dosimeter.monitor.lab import MODEL
from dosimeter.monitor.sources.reader import Reader, reader_folder

PAIRS, NEGATIVES = 60, 60
RANDOM_DECODERS, RANDOM_READERS, SHUFFLED = 6, 3, 6


def figures(data: Path | None) -> list[Figure]:
    rows = texts()
    outcomes: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as work:
        for name, subject, lesson in cases(rows):
            (found,) = learn(subject, [lesson], Path(work), _Quiet(name))
            outcomes[name] = found.evidence["verdict"]
        (control,) = learn(Reader(reader_folder()), [_lesson(rows)], Path(work), _Quiet("control"))
    wrong = [name for name, outcome in outcomes.items() if outcome != "refused"]
    for name in wrong:
        print(f"bench detectors: not refused: {name}", file=sys.stderr)
    return [
        Figure("refusals: cases with nothing to show", len(outcomes), "cases", "== 20"),
        Figure("refusals: refused", len(outcomes) - len(wrong), "cases", "== 20"),
        Figure(
            "refusals: the control with something to show was not",
            int(control.evidence["verdict"] != "refused"), "", "== 1",
        ),
    ]  # fmt: skip


def texts(seed: int = 0) -> list[Example]:
    """Some pairs whole, and some hard negatives."""
    r = random.Random(seed)
    rows = own_texts(load_features()["scam"])
    groups = sorted({row.group for row in rows if row.label})
    kept = set(r.sample(groups, PAIRS))
    pairs = [row for row in rows if row.group in kept]
    others = [row for row in rows if row.group not in set(groups)]
    return pairs + r.sample(others, NEGATIVES)


def cases(rows: list[Example]) -> Iterator[tuple[str, Subject, Lesson]]:
    for seed in range(RANDOM_DECODERS):
        yield f"decoder of random weights, seed {seed}", _random_decoder(seed), _lesson(rows)
    for seed in range(RANDOM_READERS):
        yield f"reader of random weights, seed {seed}", _random_reader(seed), _lesson(rows)
    reader = Reader(reader_folder())
    for seed in range(SHUFFLED):
        yield f"labels shuffled, seed {seed}", reader, _lesson(shuffled(rows, seed))
    for name, style in STYLES.items():
        yield f"only style differs: {name}", reader, _lesson(styled(rows, style))


STYLES: dict[str, Callable[[str], str]] = {
    "capitals": str.upper,
    "a greeting": lambda text: f"Dear colleague, {text}",
    "exclamation marks": lambda text: text.replace(".", "!!!") + "!!!",
    "said twice": lambda text: f"{text}\n{text}",
    "speaker tags": lambda text: f"[[SPEAKER ONE]] {text} [[END]]",
}


def styled(rows: list[Example], style: Callable[[str], str]) -> list[Example]:
    """Benign texts alone, half of them under a style and called risky."""
    benign = [row for row in rows if not row.label]
    return [
        replace(
            row, label=i % 2 == 0, text=style(row.words) if i % 2 == 0 else row.words, messages=()
        )
        for i, row in enumerate(benign)
    ]


def shuffled(rows: list[Example], seed: int) -> list[Example]:
    labels = [row.label for row in rows]
    random.Random(seed).shuffle(labels)
    return [replace(row, label=label) for row, label in zip(rows, labels, strict=True)]


def _lesson(rows: list[Example]) -> Lesson:
    return Lesson(load_features()["scam"], tuple(rows), (), {}, (), (), {})


def _random_decoder(seed: int) -> Subject:
    """The lab's shape and tokenizer, and weights that nobody trained."""
    subject = Decoder(MODEL)
    torch.manual_seed(seed)
    _redraw(subject.model)
    # Activations kept on disk are found by the model's digest.
    subject.identity = replace(subject.identity, blocks=f"{seed:064x}")
    return subject


def _random_reader(seed: int) -> Subject:
    subject = Reader(reader_folder())
    torch.manual_seed(seed)
    _redraw(subject.model)
    subject.identity = replace(subject.identity, blocks=f"{seed:064x}")
    return subject


def _redraw(model: Any) -> None:
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1:
                weight.normal_(0.0, weight.shape[-1] ** -0.5)
            elif name.endswith("bias"):
                weight.zero_()


class _Quiet:
    """Says which case runs, and not how far it is."""

    def __init__(self, name: str) -> None:
        print(f"bench detectors: {name}", file=sys.stderr, flush=True)

    def __call__(self, what: str) -> Callable[[int, int], None]:
        return lambda done, of: None
