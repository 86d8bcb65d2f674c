"""A persona vector: the mean difference of a model's reply activations under opposite system prompts.

Theory: Chen et al. 2025, "Persona Vectors" (arXiv:2507.21509). What comes out is a contrast of prompts; that
the replies show the trait is for a judge to say, and without one the card says that none did.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.examples import Example
from dosimeter.detectors.findings import InputError, Place
from dosimeter.detectors.frames import Scope
from dosimeter.detectors.pack import Pack, ProbeNote
from dosimeter.monitor.fitting.captures import capture_all
from dosimeter.monitor.fitting.consistency import agreement, gaps_of, measured
from dosimeter.monitor.fitting.contrast import (
    AGAINST,
    FOR,
    LEAST_QUESTIONS,
    NEITHER,
    Contrast,
    Key,
    Said,
    judge,
)
from dosimeter.monitor.fitting.decoder import Decoder
from dosimeter.monitor.fitting.library import candidate_layers
from dosimeter.monitor.fitting.packing import CANARY, known_answer
from dosimeter.monitor.fitting.replies import replies
from dosimeter.monitor.fitting.subject import Tell
from dosimeter.monitor.imports.direction import Imported, as_probe

KIND = "persona vector: mean reply activation under prompts for the trait minus under prompts against it"
UNJUDGED = "no judge read the replies: this is a contrast of prompts, not of behaviour"
JUDGED = "replies that a judge found not to show their side were left out"


@dataclass(frozen=True, slots=True, eq=False)
class Persona:
    """imported: the direction · benign float32 [M, 1, D]: tokens of the model's replies under no prompt

    said     every reply, as it was used
    figures  what the card says: consistency, layer, counts · nulls
    """

    imported: Imported
    benign: npt.NDArray[np.float32]
    said: tuple[Said, ...]
    figures: dict[str, Any]
    nulls: dict[str, Any]


def extract(
    subject: Decoder,
    contrast: Contrast,
    work: Path,
    *,
    samples: int = 1,
    reply_tokens: int = 64,
    temperature: float = 1.0,
    seed: int = 0,
    layer: int | None = None,
    judged: Mapping[Key, tuple[str, bool]] | None = None,
    tell: Callable[[str], Tell] = lambda _: lambda done, of: None,
) -> Persona:
    """Ask, answer, capture, subtract. work: where captures are kept; layer: None: the most consistent one.

    judged: labels of the replies. Raises InputError, FitError.
    """
    if layer is not None and not 0 <= layer < subject.blocks:
        raise InputError.at("layer", f"block {layer}, the model has {subject.blocks} from 0")
    keys, prompts = _asked(contrast, samples)
    answers = replies(
        subject, prompts, reply_tokens, tell("asking the model"), temperature=temperature, seed=seed
    )
    said = [Said(key, answer.text) for key, answer in zip(keys, answers, strict=True)]
    if judged is not None:
        said = [judge(one, judged) if one.key[0] != NEITHER else one for one in said]
    used = [
        (one.key, answer.tokens)
        for one, answer in zip(said, answers, strict=True)
        if one.kept and answer.tokens is not None
    ]
    of = _usable(contrast, [key for key, _ in used])
    used = [(key, tokens) for key, tokens in used if key[2] in of or key[0] == NEITHER]
    side = np.array([key[0] for key, _ in used])
    if not (side == NEITHER).any():
        raise InputError.at(contrast.place, "under no system prompt the model says nothing",
                            "its own replies are the scale")  # fmt: skip
    layers = candidate_layers(subject.blocks) if layer is None else (layer,)
    captured = capture_all(subject, [t for _, t in used], layers, work, tell("reading the replies"))
    question = np.array([key[2] for key, _ in used])
    gaps = gaps_of(captured.means.astype(np.float64), side, question, of)  # [Q, L, D]
    alike = [agreement(gaps[:, i]) for i in range(len(layers))]
    at = int(np.argmax([np.mean(a) for a in alike]))
    figures, found_nulls = measured(captured, side, question, of, gaps, at, seed)
    figures |= {
        "judged": judged is not None,
        "caveat": UNJUDGED if judged is None else JUDGED,
        "layer_chosen": layer is None,
        "prompts_for": len(contrast.for_prompts),
        "prompts_against": len(contrast.against_prompts),
        "questions": len(of),
        "replies_for": int((side == FOR).sum()),
        "replies_against": int((side == AGAINST).sum()),
        "replies_left_out": len(said) - len(used),
    }
    imported = Imported(
        feature=contrast.trait,
        layers=(layers[at],),
        weights=gaps[:, at].mean(axis=0)[None],
        bias=0.0,
        source=f"{subject.identity.name}, {Path(contrast.place).name}",
        kind=KIND,
        notes=(figures["caveat"],),
    )
    neither = np.flatnonzero(side == NEITHER)
    return Persona(
        imported, captured.sampled[np.isin(captured.of, neither)][:, [at]], tuple(said), figures,
        found_nulls,
    )  # fmt: skip


def persona_pack(subject: Decoder, name: str, persona: Persona, tier: str) -> Pack:
    """An uncalibrated pack of one probe, in sd of the model's replies under no prompt. Raises FitError."""
    probe, note = as_probe(persona.imported, persona.benign)
    scale = {
        f"{side}_sd": round((value - note.mean) / note.sd, 4)
        for side, value in persona.figures["projections"].items()
    }
    own = {key: value for key, value in persona.figures.items() if key != "projections"}
    note = ProbeNote(
        tier, note.mean, note.sd, note.benign_tokens,
        {**note.metrics, "imported": False, **own, **scale}, persona.nulls,
    )  # fmt: skip
    return Pack(
        name=name,
        recipe=f"{probe.feature}: {KIND}, block {probe.layers[0]}; {persona.figures['caveat']}",
        model=subject.identity,
        probes=(probe,),
        notes=(note,),
        fingerprint=known_answer(subject, (probe,), subject.tokens(CANARY, Scope.ANSWER)),
    )


def _asked(contrast: Contrast, samples: int) -> tuple[list[Key], list[Example]]:
    keys, prompts = [], []
    for side in (FOR, AGAINST, NEITHER):
        for p, system in enumerate(contrast.prompts(side)):
            before = ({"role": "system", "content": system},) if system else ()
            for q, question in enumerate(contrast.questions):
                for sample in range(samples):
                    keys.append((side, p, q, sample))
                    prompts.append(
                        Example(
                            None, str(q), None, (*before, {"role": "user", "content": question}),
                            place=Place(f"{contrast.place}: question {q + 1} under `{side}`"),
                        )
                    )  # fmt: skip
    return keys, prompts


def _usable(contrast: Contrast, keys: Sequence[Key]) -> list[int]:
    """Questions that were answered on both sides."""
    answered = {(key[0], key[2]) for key in keys}
    found = [
        q for q in range(len(contrast.questions)) if {(FOR, q), (AGAINST, q)} <= answered
    ]  # fmt: skip
    if len(found) < LEAST_QUESTIONS:
        raise InputError.at(
            contrast.place,
            f"{len(found)} questions have a reply of both sides, at least {LEAST_QUESTIONS} are needed",
            "ask more questions, or sample more replies",
        )
    return found
