"""Two versions of a model on the same texts: by how much each feature moved, beside what any direction moved.

Here alone a pack reads a model that it is not bound to: the old model's probes stay the ruler, and the new
model is laid against it. A fine-tune moves every direction of the residual stream a little, so a shift counts
only where random directions through the same layers do not move as far. What a shift means is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dosimeter.detectors.bank import BankError, ProbeBank
from dosimeter.detectors.evaluate import LEAST_GROUPS, Bools
from dosimeter.detectors.examples import Example
from dosimeter.detectors.findings import InputError
from dosimeter.detectors.frames import Scope
from dosimeter.detectors.pack import Pack, bind
from dosimeter.monitor.fitting.decoder import Decoder
from dosimeter.monitor.fitting.replies import replies
from dosimeter.monitor.fitting.shift import SHIFTED, Doubles, Ruler, Shift, shifts
from dosimeter.monitor.fitting.subject import Subject, Tell, Tokens, statistic

VERSION = 1
EACH = 40
"""Random directions for each shift that is told: with fewer than 20, Holm could not let any through."""
ALL, CONTRAST = "all", "risky less benign"
MOST_FEATURES = 256


@dataclass(frozen=True, slots=True)
class Comparison:
    """shifts: of every feature and part of the texts, worst first.

    on: `texts` or `replies` · texts: pairs compared · silent: pairs of which one model has no reply
    · directions: random ones through each set of layers · notes: what the reader should know
    """

    old: dict[str, str]
    new: dict[str, str]
    on: str
    texts: int
    groups: int
    silent: int
    directions: int
    seed: int
    shifts: tuple[Shift, ...]
    notes: tuple[str, ...]

    @property
    def shifted(self) -> bool:
        return any(shift.outcome == SHIFTED for shift in self.shifts)

    def as_json(self) -> dict[str, Any]:
        rows = [{**asdict(one), "outcome": one.outcome} for one in self.shifts]
        return {"version": VERSION, **asdict(self), "shifts": rows}


def compare(
    old: Subject,
    new: Subject,
    packs: Sequence[Pack],
    examples: Sequence[Example],
    control_directions: int = 200,
    seed: int = 0,
    *,
    scope: Scope = Scope.ANSWER,
    reply_tokens: int | None = None,
    tell: Callable[[str], Tell] = lambda _: lambda done, of: None,
) -> Comparison:
    """Every example through both models, scored by the packs of the old one, paired.

    scope: whose words a plain text is. reply_tokens: read instead what each model itself answers, greedily,
    up to so many tokens. Raises InputError.
    """
    try:
        bank = ProbeBank.from_packs(packs)
    except BankError as error:
        raise InputError.at("the packs", str(error)) from None
    notes = _comparable(old, new, packs, bank)
    kept = list(examples)
    if reply_tokens is None:
        mine = [old.tokens(one, scope) for one in kept]
        theirs = _same(mine, kept, old, new, scope)
        on = "texts"
    else:
        mine, theirs, kept = _replied(old, new, kept, reply_tokens, tell)
        notes.append(
            "each model is read over its own replies: what it says differs, and how it says it"
        )
        on = "replies"
    groups = np.array([one.group for one in kept])
    if len(np.unique(groups)) < LEAST_GROUPS:
        raise InputError.at(
            "the suite",
            f"{len(np.unique(groups))} groups of texts can be compared, at least {LEAST_GROUPS} are needed",
            "an interval over fewer says nothing; add texts",
        )
    parts = _parts(kept, notes)
    directions = max(control_directions, EACH * len(bank.features) * len(parts))
    ruler = Ruler(packs, bank, directions, seed)
    benign = [one.label is False for one in kept]
    if not any(benign):
        benign = [one.label is not True for one in kept]
        notes.append("no text is labelled benign: the control is scaled on all that have no label")
    if not any(benign):
        benign = [True] * len(kept)
        notes.append("every text is labelled risky: the control is scaled on them")
    before, sd = _read(old, mine, kept, ruler, tell("reading with the old model"), benign)
    after, _ = _read(new, theirs, kept, ruler, tell("reading with the new model"), benign)
    flat = [f for f, s in zip(bank.features, sd, strict=False) if s <= 0]
    if flat or not (sd > 0).all():
        what = f"scores of `{flat[0]}`" if flat else "the activations"
        raise InputError.at("the suite", f"{what} do not vary on it: there is no scale")
    return Comparison(
        _named(old), _named(new), on, len(kept), len(np.unique(groups)), len(examples) - len(kept),
        directions, seed, shifts(bank, ruler, after - before, sd, groups, parts, seed), tuple(notes),
    )  # fmt: skip


def _parts(examples: Sequence[Example], notes: list[str]) -> dict[str, tuple[Bools, Bools | None]]:
    """All texts; and where both labels stand, the risky ones less the benign: no offset of everything."""
    labels = np.array([-1 if one.label is None else int(one.label) for one in examples])
    groups = np.array([one.group for one in examples])
    parts: dict[str, tuple[Bools, Bools | None]] = {ALL: (np.ones(len(labels), np.bool_), None)}
    if all(len(np.unique(groups[labels == label])) >= LEAST_GROUPS for label in (0, 1)):
        parts[CONTRAST] = (labels == 1, labels == 0)
    else:
        notes.append("an offset of every text cannot be told from the feature: label texts 0 and 1")
    return parts


def _read(
    subject: Subject,
    tokens: Sequence[Tokens],
    examples: Sequence[Example],
    ruler: Ruler,
    tell: Tell,
    benign: Sequence[bool],
) -> tuple[Doubles, Doubles]:
    """(float64 [N, F + K] a text, float64 [F + K] sd over the tokens of the benign texts)."""
    found: dict[int, Doubles] = {}
    count, total, squares = 0, 0.0, 0.0
    for index, rows in subject.activations(tokens, ruler.layers, tell):
        read = tokens[index].read
        if not np.isfinite(rows[read]).all():
            raise InputError.at(
                examples[index].place,
                f"model `{subject.identity.name}` leaves NaN or infinity here",
                "a model that overflows cannot be compared; load it in a wider type",
            )
        scores = ruler(np.where(read[:, None, None], rows, 0))
        found[index] = statistic(scores, read, subject.window)
        if benign[index]:
            kept = scores[read].astype(np.float64)
            count += len(kept)
            total = total + kept.sum(axis=0)
            squares = squares + (kept**2).sum(axis=0)
    mean = total / count
    variance = squares / count - mean**2
    # What is left of a difference of equal numbers is rounding.
    sd = np.sqrt(np.where(variance > 1e-12 * squares / count, variance, 0.0))
    return np.stack([found[i] for i in range(len(tokens))]), np.asarray(sd)


def _comparable(old: Subject, new: Subject, packs: Sequence[Pack], bank: ProbeBank) -> list[str]:
    """What the reader should know; raises InputError where the probes of one cannot read the other."""
    if not 1 <= len(bank.features) <= MOST_FEATURES:
        raise InputError.at("the packs", f"{len(bank.features)} features, 1 to {MOST_FEATURES}")
    for pack in packs:
        if found := bind(pack, old.identity):
            raise InputError.at(
                f"pack {pack.name}", f"is not bound to the old model: {found[0]}",
                "give packs that were made on the old model",
            )  # fmt: skip
    mine, theirs = old.identity, new.identity
    for what, one, other in (
        ("the architecture", mine.architecture, theirs.architecture),
        ("the width", old.width, new.width),
        ("the number of blocks", old.blocks, new.blocks),
        ("the tokenizer", mine.tokenizer[:12] or "none", theirs.tokenizer[:12] or "none"),
        ("what is read", old.reads, new.reads),
    ):
        if one != other:
            raise InputError.at(
                f"model {theirs.name}", f"{what} is `{one}` in the old model, `{other}` here",
                "only versions of one model can be compared by the old one's probes",
            )  # fmt: skip
    if not mine.tokenizer:
        raise InputError.at(
            f"model {mine.name}", "has no tokenizer file that can be compared", "save it as tokenizer.json"
        )  # fmt: skip
    notes = []
    if mine.template != theirs.template:
        notes.append(
            "the chat templates differ: texts are rendered by the old one, replies by each its own"
        )
    if mine.dtype != theirs.dtype:
        notes.append(f"the old model runs in {mine.dtype}, the new one in {theirs.dtype}")
    if mine.digest == theirs.digest:
        notes.append("both folders hold the same model")
    return notes


def _same(
    mine: Sequence[Tokens], examples: Sequence[Example], old: Subject, new: Subject, scope: Scope
) -> Sequence[Tokens]:
    """The old model's tokens, for both; raises InputError where the new one would cut a text otherwise."""
    if old.identity.template == new.identity.template:
        for tokens, example in zip(mine, examples, strict=True):
            if new.tokens(example, scope).ids != tokens.ids:
                raise InputError.at(
                    example.place, "the two models cut this into different tokens",
                    "their tokenizers or their numbers of positions differ",
                )  # fmt: skip
    return mine


def _replied(
    old: Subject,
    new: Subject,
    examples: Sequence[Example],
    most: int,
    tell: Callable[[str], Tell],
) -> tuple[list[Tokens], list[Tokens], list[Example]]:
    """Each model's replies to the prompts of the suite, and the examples that both answered."""
    if not (isinstance(old, Decoder) and isinstance(new, Decoder)):
        raise InputError.at(f"model {old.identity.name}", "a reader does not reply")
    asked = [prompt_of(one) for one in examples]
    first = replies(old, asked, most, tell("the old model replies"))
    second = replies(new, asked, most, tell("the new model replies"))
    both = [
        (one.tokens, other.tokens, example)
        for one, other, example in zip(first, second, examples, strict=True)
        if one.tokens is not None and other.tokens is not None
    ]
    return [a for a, _, _ in both], [b for _, b, _ in both], [c for _, _, c in both]


def prompt_of(example: Example) -> Example:
    """A conversation without its last reply; a plain text is what the user says."""
    if not example.messages or example.messages[-1]["role"] != "assistant":
        return example
    if len(example.messages) == 1:
        raise InputError.at(example.place, "holds a reply and nothing that it answers")
    return Example(
        example.label, example.group, None, example.messages[:-1], example.kind, example.place
    )


def _named(subject: Subject) -> dict[str, str]:
    return {"name": subject.identity.name, "digest": subject.identity.digest}
